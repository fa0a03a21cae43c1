"""Kill adversarial training again and again, resume it each time, and see whether it ends as if nothing had happened.

    python benchmarks/soak.py               25 kills: SIGKILL, SIGTERM and SIGINT in turn, each at a random time

Runs `diagnosis_adv.py` on small phantom data (made-up data), with the baseline it trains on the way and the attacks at
the end, and checkpoints every second instead of every minute so that they are hit too. A run that has ended is compared
with one that was left alone: its weights by hash, its evaluations and its history as they are. If kills are left,
another run is begun. Prints a Markdown row per kill and a verdict; exits with 1 if anything differs.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OPTIONS = ["--data", "phantom", "--limit", "400", "--epochs", "4", "--patience", "2", "--batch-size", "32"]
OPTIONS += ["--steps", "3", "--train-steps", "2"]
PROGRAM = """
import sys
from chestrobust import startup
from chestrobust.training import checkpoints
checkpoints.SAVE_EVERY = float(sys.argv.pop(1))
import diagnosis_adv
sys.exit(startup.run_script(diagnosis_adv.main))
"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EARLIEST = 2.0  # seconds; before, Python is still loading


def main():
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="of the times")
    options = parser.parse_args()
    # Else a shell that runs this in the background would have its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), options.kills, random.Random(options.seed))


def soak(folder, kills, random):
    """Kill, resume and compare in a folder."""
    begun = time.monotonic()
    if start(folder, "whole", save_every=60).wait() != 0:
        sys.exit((folder / "log.txt").read_text())
    seconds = time.monotonic() - begun
    wanted = outcome(folder / "whole")
    print(f"Left alone: {seconds:.0f} s; {cost(folder / 'whole')}\n")
    print(
        "| Kill | Run | Signal | After | Last checkpoint | Exit code |",
        "| ---: | ---: | --- | ---: | --- | ---: |",
        sep="\n",
    )
    signals, failures, ended, number = itertools.cycle(SIGNALS), 0, 0, 0
    while number < kills or (folder / f"run{ended}").exists():
        run = folder / f"run{ended}"
        new, begun = not run.exists(), time.monotonic()
        process = start(folder, run.name, save_every=1)
        if number < kills:
            delay = random.uniform(EARLIEST, seconds)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                number, name = number + 1, next(signals)
                process.send_signal(name)
                code = process.wait()
                failures += code not in (-name, 128 + name)  # 0 is a signal that was lost
                print(f"| {number} | {ended + 1} | {name.name} | {delay:.1f} s | {where(run)} | {code} |", flush=True)
        if process.wait() == 0:
            if new:  # It was faster than its kill would have been; so aim earlier.
                seconds = min(seconds, time.monotonic() - begun)
            failures += report_end(ended + 1, outcome(run), wanted)
            ended += 1
        elif process.returncode in (1, 2):
            sys.exit((folder / "log.txt").read_text())
    print(f"\n{number} kills, {ended} runs, {failures} failures")
    return 1 if failures else 0


def start(folder, run, *, save_every):
    """A process that begins or resumes a run."""
    log = (folder / "log.txt").open("w")
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(save_every), *OPTIONS, "--run", run, "--resume"],
        **{"cwd": folder, "stdout": log, "stderr": log, "env": {**os.environ, "PYTHONPATH": str(ROOT)}},
    )


def where(run):
    """What the last checkpoint of a run is."""
    import numpy as np

    for part in (run, run / "baseline"):
        name = "baseline" if part.name == "baseline" else "robust"
        if (part / "results.json").exists():
            return f"{name}: finished"
        if (part / "state.npz").exists():
            state = json.loads(str(np.load(part / "state.npz")["state"]))
            return f"{name}: epoch {state['epoch'] + 1}, step {state['step']}"
    return "none"


def outcome(run):
    """What must be equal, by name."""
    results = json.loads((run / "results.json").read_text())
    return {
        "baseline's weights": digest(run / "baseline" / "model.keras"),
        "weights": digest(run / "model.keras"),
        "evaluations": [results["evaluations"], results["baseline"]["evaluations"], results["thresholds"]],
        "best epoch": [results["training"][key] for key in ("epochs", "best_epoch", "best_val_auc")],
        "history": [(part / "history.csv").read_text() for part in (run, run / "baseline")],
        "leftovers": sorted(path.name for path in run.rglob("*") if "logs" not in path.parts),
    }


def digest(path):
    """SHA-256 of a model's weight arrays."""
    from chestrobust import devices

    devices.import_tensorflow()
    import keras

    model = keras.models.load_model(path, compile=False)
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def report_end(number, found, wanted):
    """Print how a run ended; returns whether it differs."""
    different = [name for name in wanted if found[name] != wanted[name]]
    verdict = f"DIFFERS in {', '.join(different)}" if different else f"equal, weights {found['weights'][:12]}"
    print(f"| | {number} | | | ended: {verdict} | 0 |", flush=True)
    return bool(different)


def cost(run):
    """What checkpoints take of the time of training."""
    parts = [json.loads((part / "results.json").read_text())["training"] for part in (run / "baseline", run)]
    share = sum(part["checkpoint_seconds"] for part in parts) / sum(part["seconds"] for part in parts)
    return f"checkpoints took {share:.1%} of training"


if __name__ == "__main__":
    sys.exit(main())
