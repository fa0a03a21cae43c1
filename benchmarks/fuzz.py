"""Feed broken files to the readers of data and of runs: each must load to what is valid or raise an `ExpectedError`.

    python benchmarks/fuzz.py                            300,000 files, some minutes
    python benchmarks/fuzz.py --seed 1 --inputs 1000
    python benchmarks/fuzz.py --first 150000             the second half of them
    python benchmarks/fuzz.py --only 4711                one of them, with its traceback

A file is a function of the seed and its number. Readers run in child processes whose address space may grow by 256 MB;
a child that dies or hangs is replaced, and what it was reading counts as a violation. So does any other exception, more
than a second of processor time, and data that aren't what the reader promises. Prints a table, keeps the files of
violations in a folder, and exits with 1 if there are any.
"""

import argparse
import collections
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mutations
import run_mutations

from chestrobust import config, data, runs
from chestrobust.data.sources import csvfile, images, npz
from chestrobust.errors import ExpectedError
from chestrobust.reporting import tables
from chestrobust.runs import arrays, modelfile, saved

SECONDS, MEMORY, PATIENCE = 1.0, 256 << 20, 300  # hangs, even on a machine that is busy with other work
NOWHERE = Path("/dev/null/nowhere")  # A data folder that can't be made: nothing is remembered from file to file.
PIXELS = 1 << 20


def load_npz(path, rng):
    """Every eighth file is read as if its arrays were too large for memory: mapped, or unpacked first."""
    npz.MAPPED = 1 if rng.random() < 1 / 8 else 1 << 26
    splits = data.load(str(path), data_dir=path.parent if npz.MAPPED == 1 else NOWHERE)
    shapes = set()
    for split in splits.parts.values():
        assert split.images.dtype == split.labels.dtype == np.uint8
        assert split.images.ndim == 4 and split.images.shape[3] == 1 and split.images.size
        assert split.labels.shape == (len(split.images), 14) and split.labels.max() <= 1
        split.images.sum()
        shapes.add(split.images.shape[1:])
    assert len(shapes) == 1


def load_csv(path, rng):
    """Read a table with columns that it must have."""
    rows = csvfile.read(path, ["name", "label"])
    assert rows
    for row in rows:
        assert list(row) == ["name", "label"]
        assert all(isinstance(cell, str) and cell.isprintable() for cell in row.values())


def load_image(path, rng):
    """Read an image, as it is or scaled, gray or not; it must come out in the shape that was asked for."""
    size, gray = rng.choice((None, 5)), rng.random() < 0.5
    pixels = images.read(path, size, gray, max_pixels=PIXELS)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == (1 if gray else 3)
    assert 0 < pixels.shape[0] * pixels.shape[1] <= PIXELS and size in (None, pixels.shape[0])


def load_state(path, rng):
    """Read the arrays of a checkpoint; none may hold objects."""
    found = arrays.load(path)
    assert all(not array.dtype.hasobject for array in found.values())


def load_results(path, rng):
    """Read the results of a run, and what is shown of them."""
    run, path = runs.Run(path.parent), path.rename(path.with_name("results.json"))
    content = run.read(path.name, "schema")
    assert isinstance(content, dict) and "schema" in content
    with runs.read_back(run):
        assert isinstance(tables.table(content), str)


def load_options(path, rng):
    """Those of a run, which choose data and an attack."""
    path = path.rename(path.with_name("config.json"))
    options = saved.own_options(runs.Run(path.parent), "data")
    assert isinstance(options["data"], str) and options.get("data_dir", config.DATA_DIR) == config.DATA_DIR


def load_model(path, rng):
    """Look through a `.keras` file, which must tell its size."""
    assert modelfile.check(path) >= 0


def load_whole(path, rng):
    """Look through an `.h5` file of a whole model."""
    assert modelfile.check(path.rename(path.with_name("model.h5"))) >= 0


def load_weights(path, rng):
    """Look through an `.h5` file of weights."""
    modelfile.check_weights(path)


READERS = {
    "npz": (mutations.npz, load_npz),
    "CSV": (mutations.csv, load_csv),
    "image": (mutations.image, load_image),
    "state.npz": (run_mutations.state, load_state),
    "results.json": (run_mutations.results, load_results),
    "config.json": (run_mutations.options, load_options),
    ".keras": (run_mutations.model, load_model),
    "model.h5": (run_mutations.whole, load_whole),
    "weights.h5": (run_mutations.weights, load_weights),
}
KINDS = ("npz", "npz", "CSV", "image", "state.npz", "results.json", ".keras", "model.h5")
KINDS += ("npz", "config.json", *KINDS[2:-1], "weights.h5")


def content(seed, number):
    """The kind of a file, its bytes, and what further random choices are taken from."""
    rng, kind = random.Random(f"{seed} {number}"), KINDS[number % len(KINDS)]
    return kind, READERS[kind][0](rng), rng


def judge(seed, number, folder):
    """The kind of a file and what became of it: `"loaded"`, `"refused"`, or how it went wrong; and the seconds."""
    kind, made, rng = content(seed, number)
    path = folder / "file.npz"
    path.write_bytes(made)
    start = time.process_time()
    try:
        READERS[kind][1](path, rng)
        outcome = "loaded"
    except ExpectedError as error:
        outcome = "refused" if str(error).isprintable() and len(str(error)) < 1000 else "refused in many words"
    except Exception as error:
        outcome = f"raised {type(error).__name__}"
    seconds = time.process_time() - start
    if seconds > SECONDS:
        outcome = "took too long"
    return kind, outcome, seconds


def work(seed, numbers, current, results):
    """Judge files one after another; `current` is the number of the one at hand."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        done = []
        for number in numbers:
            current.value = number
            done.append((number, *judge(seed, number, Path(folder))))
            if len(done) == 50:
                results.send(done)
                done = []
        results.send([*done, None])


class Worker:
    """A child process and the numbers it has yet to judge."""

    def __init__(self, seed, numbers):
        self.seed, self.numbers = seed, numbers
        self.start()

    def start(self):
        """Begin the process that judges the numbers which are left."""
        self.current = multiprocessing.Value("q", -1, lock=False)
        self.results, sender = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=work, args=(self.seed, self.numbers, self.current, sender))
        self.process.start()
        sender.close()
        self.seen, self.since = None, time.monotonic()

    def collect(self):
        """What was judged since the last call; None once all has been."""
        done = []
        try:
            while self.results.poll(0.02):
                done += self.results.recv()
        except EOFError:
            pass
        finished = bool(done) and done[-1] is None
        done = [one for one in done if one is not None]
        if done:
            self.numbers = self.numbers[self.numbers.index(done[-1][0]) + 1 :]
        if self.current.value != self.seen:
            self.seen, self.since = self.current.value, time.monotonic()
        if finished:
            self.process.join()
            return done, True
        hangs = time.monotonic() - self.since > PATIENCE
        if hangs or not self.process.is_alive():
            self.process.kill()
            self.process.join()
            guilty = self.current.value
            kind = KINDS[guilty % len(KINDS)]
            # Those before it in the same batch are judged again.
            before = self.numbers[: self.numbers.index(guilty)]
            self.numbers = before + self.numbers[len(before) + 1 :]
            done.append((guilty, kind, "hung" if hangs else f"died ({self.process.exitcode})", 0.0))
            self.start()
        return done, False


def fuzz(seed, inputs, workers, keep, first=0):
    """Judge files `first` to `inputs` and print the table; returns the number of violations."""
    from tqdm import tqdm

    start = time.monotonic()
    running = [Worker(seed, list(range(first + worker, inputs, workers))) for worker in range(workers)]
    counts, slowest, violations = collections.Counter(), collections.Counter(), 0
    with tqdm(total=inputs - first, unit="file", disable=None) as bar:
        while running:
            for worker in list(running):
                done, finished = worker.collect()
                bar.update(len(done))
                for number, kind, outcome, seconds in done:
                    counts[kind, outcome] += 1
                    slowest[kind] = max(slowest[kind], seconds)
                    if outcome not in ("loaded", "refused"):
                        violations += 1
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{seed}-{number}.{kind}").write_bytes(content(seed, number)[1])
                        print(f"File {number} of seed {seed} ({kind}) {outcome}; kept in {keep}", file=sys.stderr)
                if finished:
                    running.remove(worker)
    print(
        "| Reader | Files | Loaded | Refused | Violations | Slowest, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for kind in READERS:
        total = sum(count for (other, _), count in counts.items() if other == kind)
        loaded, refused = counts[kind, "loaded"], counts[kind, "refused"]
        wrong = total - loaded - refused
        print(f"| {kind} | {total} | {loaded} | {refused} | {wrong} | {1000 * slowest[kind]:.0f} |")
    seconds = time.monotonic() - start
    print(
        f"\n{sum(counts.values())} files from number {first}, seed {seed}, {seconds:.0f} seconds, {workers} processes."
    )
    return violations


def main():
    """Run the fuzzing; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=300_000, help="number of files (default: 300000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to go on with a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for files of violations")
    parser.add_argument("--only", type=int, help="read this file alone, and show what comes of it")
    options = parser.parse_args()
    if options.only is not None:
        kind, made, rng = content(options.seed, options.only)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.npz"
            path.write_bytes(made)
            print(f"{kind}, {len(made)} bytes: {made[:200]!r}")
            try:
                READERS[kind][1](path, rng)
                print("loaded")
            except Exception:
                traceback.print_exc()
        return 0
    return 1 if fuzz(options.seed, options.inputs, options.workers, options.keep, options.first) else 0


if __name__ == "__main__":
    sys.exit(main())
