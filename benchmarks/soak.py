"""Kill each script again and again, give the same command again, and see whether it ends as if nothing had happened.

    python benchmarks/soak.py               30 kills, each of another script, in another way and at another time
    python benchmarks/soak.py --kills 100 --minutes 30   no kill after half an hour, but all comparisons

Every script is killed in five ways: by SIGKILL, SIGTERM and SIGINT at a random moment, and by the last two inside a
callback of the garbage collector, as in a destructor, from which Python lets no exception out. All work on small
phantom data (made-up data); checkpoints are made five times a second instead of every minute so that they are hit too.
What has ended is compared with what was left alone: weights by hash, scores, history and figures as they are, and the
names of the files. A signal is lost if the script ends as if none had come, or as if it were an error. Prints a
Markdown row per kill and a verdict; exits with 1 if a signal was lost or anything differs.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DATA = ["--data", "phantom", "--limit", "200", "--steps", "2"]
TRAINING = [*DATA, "--epochs", "3", "--patience", "2", "--batch-size", "32", "--resume"]
TRIALS = 3
# What follows the script's name in a folder beside `base`, which holds a finished `run`; some take a copy of that.
COMMANDS = {
    "diagnosis": [*TRAINING, "--run", "run"],
    "diagnosis_adv": [*TRAINING, "--train-steps", "2", "--run", "run"],
    "evaluate": ["run", "--epsilons", "0.01", "0.03", "--steps", "3", "--resamples", "20"],
    "explain": ["run", "--show", "similarity", "metrics", "curves", "--resamples", "20"],
    "tune": [*DATA, "--epochs", "2", "--batch-size", "32", "--trials", str(TRIALS), "--run", "run"],
    "ensemble": ["../base/run", "../base/run", "--run", "run", "--steps", "3", "--resamples", "20"],
}
OF_A_RUN = ("evaluate", "explain")
PROGRAM = """
import gc, signal, sys, threading, time
from chestrobust import startup
from chestrobust.training import checkpoints
checkpoints.SAVE_EVERY, checkpoints.SHARE = float(sys.argv.pop(1)), 1
delay, number = float(sys.argv.pop(1)), int(sys.argv.pop(1))
sent = []
def collecting(phase, info):
    ready = delay and not sent and time.monotonic() - begun > delay
    if ready and threading.current_thread() is threading.main_thread() and startup.interruption._handler:
        sent.append(number)
        open("sent", "w").close()  # not to standard error, which is closed while TensorFlow starts
        signal.raise_signal(number)
gc.callbacks.append(collecting)
sys.argv[0] = sys.argv.pop(1)
main = __import__(sys.argv[0]).main
begun = time.monotonic()
open("ready", "w").close()
sys.exit(startup.run_script(main))
"""
WAYS = [(number, inside) for number in (signal.SIGTERM, signal.SIGINT) for inside in (False, True)]
WAYS = [(signal.SIGKILL, False), *WAYS]
EARLIEST = 0.1  # seconds after a script could have been told to stop


def main():
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=len(COMMANDS) * len(WAYS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which nothing is killed any more")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the times")
    options = parser.parse_args()
    # Else a shell that runs this in the background would have its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), options.kills, options.minutes, random.Random(options.seed))


def soak(folder, kills, minutes, random):
    """Kill, repeat and compare in a folder."""
    seconds, wanted, end = {}, {}, time.monotonic() + 60 * minutes
    for script in COMMANDS:
        place = folder / ("base" if script == "diagnosis" else script)
        finish(place, script)
        seconds[script] = time.time() - (place / "ready").stat().st_mtime
        wanted[script] = outcome(place, script)
        print(f"{script}.py left alone: {seconds[script]:.0f} s", flush=True)
    print("\n| Kill | Script | Signal | After | Exit code |", "| ---: | --- | --- | ---: | ---: |", sep="\n")
    pairs = list(itertools.product(COMMANDS, WAYS))
    random.shuffle(pairs)
    number, lost, different, ended, begun = 0, 0, 0, 0, {}

    def compare(script):
        nonlocal different, ended
        names = differences(outcome(begun.pop(script), script), wanted[script])
        different, ended = different + bool(names), ended + 1
        print(f"| | {script}.py | | | ended: {'DIFFERS in ' + ', '.join(names) if names else 'equal'} |", flush=True)

    for script, (signum, inside) in itertools.cycle(pairs):
        if number == kills or time.monotonic() > end:
            break
        place = begun.setdefault(script, folder / f"{script}-{ended}")
        delay = random.uniform(EARLIEST, seconds[script])
        code, sent = kill(place, script, signum, delay, inside)
        if sent:
            number += 1
            where = " in the garbage collector" if inside else ""
            print(f"| {number} | {script}.py | {signum.name}{where} | {delay:.1f} s | {code} |", flush=True)
            if code not in (-signum, 128 + signum):
                lost += 1
                print((place / "log.txt").read_text(), file=sys.stderr)
        elif code == 0 or has_ended(place, script):  # It was faster than its kill would have been; so aim earlier.
            seconds[script] = max(EARLIEST, 0.8 * seconds[script])
            compare(script)
        else:
            sys.exit((place / "log.txt").read_text())
    for script, place in list(begun.items()):
        finish(place, script)
        compare(script)
    print(f"\n{number} kills, {ended} repeated to their end, {lost} lost signals, {different} differences")
    return 1 if lost or different else 0


def start(place, script, *, save_every=0.2, delay=0, number=0):
    """A process that begins a command in a folder or gives it again; it sends itself a signal if there is a delay."""
    place.mkdir(exist_ok=True)
    (place / "ready").unlink(missing_ok=True)
    if script in OF_A_RUN and not (place / "run").exists():
        shutil.copytree(place.parent / "base" / "run", place / "run")
    with (place / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(save_every), str(delay), str(int(number)), script, *COMMANDS[script]],
            **{"cwd": place, "stdout": log, "stderr": log, "env": {**os.environ, "PYTHONPATH": str(ROOT)}},
        )


def kill(place, script, number, delay, inside):
    """The exit code of a process that is killed, and whether it still ran when the signal was to come."""
    if inside:
        (place / "sent").unlink(missing_ok=True)
        code = start(place, script, delay=delay, number=number).wait()
        return code, (place / "sent").exists()
    process = start(place, script)
    while process.poll() is None and not (place / "ready").exists():
        time.sleep(0.01)
    try:
        return process.wait(delay), False
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        return process.wait(), True


def finish(place, script):
    """Give a command again and leave it alone."""
    if not has_ended(place, script) and start(place, script, save_every=60).wait() != 0:
        sys.exit((place / "log.txt").read_text())


def has_ended(place, script):
    """Whether `ensemble.py` was killed after its last step: it then refuses to begin anew."""
    return script == "ensemble" and (place / "run" / "results.json").exists()


def outcome(place, script):
    """What must be equal, by name."""
    paths = [path for path in sorted((place / "run").rglob("*")) if not {"logs", "trials"} & {*path.parts}]
    found = {"names of files": [str(path.relative_to(place)) for path in paths]}
    if script == "tune":  # Trials that were killed have been replaced by others, with other values.
        counts = re.search(r"(\d+) trials complete, (\d+) pruned", (place / "log.txt").read_text()).groups()
        return {**found, "trials": sum(map(int, counts)) >= TRIALS}
    models = {sha256(path): path.relative_to(place).as_posix() for path in paths if path.suffix == ".keras"}
    for path in paths:
        name = str(path.relative_to(place))
        if path.suffix == ".keras":
            found[name] = weights(path)
        elif path.suffix == ".json":
            found[name] = lasting(json.loads(path.read_text()), models)
        elif path.suffix in (".csv", ".png"):
            found[name] = sha256(path)
    return found


def lasting(content, models):
    """JSON without times and the commit, and with a model's name for the hash of its file, which knows its time too."""
    if isinstance(content, dict):
        passing = ("seconds", "checkpoint_seconds", "images_per_second", "commit")
        return {key: lasting(part, models) for key, part in content.items() if key not in passing}
    if isinstance(content, list):
        return [lasting(part, models) for part in content]
    return models.get(content, content) if isinstance(content, str) else content


def sha256(path):
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(path):
    """SHA-256 of a model's weight arrays."""
    from chestrobust import devices

    devices.import_tensorflow()
    import keras

    model = keras.models.load_model(path, compile=False)
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def differences(found, wanted):
    """Names of what isn't equal."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


if __name__ == "__main__":
    sys.exit(main())
