"""Show that memory doesn't grow with the number of images: a Markdown table.

    python benchmarks/memory.py                  about 7 minutes on two cores, 6 GB of disk
    python benchmarks/memory.py --compressed     the large file compressed as well: 10 GB and 5 minutes more
    python benchmarks/memory.py --adversarial    diagnosis_adv.py, which trains both models, instead of diagnosis.py

Makes two files in ChestMNIST-224's format, one of 2,000 images and one as large as the real one (112,120 images,
5.6 GB), from a few hundred phantoms (made-up data) shifted again and again. The script then runs from start to end on
each, twice, each time in a fresh process that finds nothing of the files in the page cache. A full epoch would take an
hour, so training takes a fixed number of steps at the start of the epoch's own order, which jumps about in the whole
file; validation and test use the first images of their splits, which stay mapped as a whole.

Anonymous memory is what the process has taken for itself (RssAnon in /proc/self/status, read a hundred times a second);
resident memory (VmHWM) includes the pages of mapped files, which the system takes back when it needs them. The first
batch counts from the start of the process to the moment the training step gets it, the first step to its end. Linux
only.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from chestrobust import devices
from chestrobust.data import batching, loading
from chestrobust.data.sources import phantom

SIZE, SMALL, PATTERNS = 224, 2000, 300
COUNTS = {"train": 78_468, "val": 11_219, "test": 22_433}
LIMIT_MB, LIMIT_SECONDS = 300, 10
EVALUATED = 64  # images of the validation and of the test split
HEADER = ("Images", "File", "Start", "Anonymous memory", "Resident memory", "First batch", "First step done")


def main():
    """Make the files, run the script on them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to make the files (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="don't remove the files; a later run in --folder uses them")
    parser.add_argument("--images", type=int, default=sum(COUNTS.values()), help="images in the large file")
    parser.add_argument("--steps", type=int, default=15, help="training steps per run")
    parser.add_argument("--batch-size", type=int, default=64, help="images per training step")
    parser.add_argument("--compressed", action="store_true", help="run on the large file compressed as well")
    parser.add_argument("--adversarial", action="store_true", help="diagnosis_adv.py instead of diagnosis.py")
    options = parser.parse_args()
    script = "diagnosis_adv" if options.adversarial else "diagnosis"
    cases = [(SMALL, "stored"), (options.images, "stored")]
    cases += [(options.images, "compressed")] if options.compressed else []

    print(f"{script}.py, {SIZE} px, {options.steps} steps of {options.batch_size} images, {os.cpu_count()} cores\n")
    print("| " + " | ".join(HEADER) + " |", "| ---: | --- | --- | ---: | ---: | ---: | ---: |", sep="\n", flush=True)
    anonymous, second = {}, {}
    for images, kind in cases:
        with workspace(options) as folder:
            path = folder / f"chestmnist_{SIZE}_{kind}_{images}.npz"
            if not path.exists():
                make(path, images, zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                for start in ("first", "second"):
                    empty_page_cache(folder)
                    arguments = (script, path, Path(scratch), start, options.steps, options.batch_size)
                    seen = in_fresh_process(observe, *arguments)
                    anonymous[images, kind, start], second[images, kind] = seen["anonymous"], seen["first_batch"]
                    print(
                        f"| {images:,} | {path.stat().st_size / 1e9:.1f} GB, {kind} | {start} "
                        f"| {seen['anonymous']:.0f} MB | {seen['resident']:.0f} MB "
                        f"| {seen['first_batch']:.1f} s | {seen['first_step']:.1f} s |",
                        flush=True,
                    )
    for images, kind in cases[1:]:
        more = max(anonymous[images, kind, start] - anonymous[SMALL, "stored", start] for start in ("first", "second"))
        print(
            f"\n{images:,} images, {kind}: {more:+.0f} MB of anonymous memory against {SMALL:,} images "
            f"(limit {LIMIT_MB} MB); first batch of the second start after {second[images, kind]:.1f} s "
            f"(limit {LIMIT_SECONDS} s)"
        )


@contextlib.contextmanager
def workspace(options):
    """The folder of one file, removed afterwards unless it is to be kept."""
    if options.folder:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    if options.keep and options.folder:
        yield Path(options.folder)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            yield Path(folder)


def make(path, images, compression):
    """Write a made-up file with `images` images in bounded memory, split as ChestMNIST is."""
    labels = phantom.labels(PATTERNS)
    patterns = phantom.render(np.arange(PATTERNS), labels, size=SIZE)[..., 0]
    total = sum(COUNTS.values())
    with (
        tqdm(total=images, desc=f"Making {path.name}", unit=" images", leave=False, disable=None) as bar,
        zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive,
    ):
        for part, share in COUNTS.items():
            count = round(images * share / total)
            with member(archive, f"{part}_images", (count, SIZE, SIZE)) as file:
                for begin in range(0, count, PATTERNS):
                    shift = begin // PATTERNS
                    shifted = np.roll(patterns[: count - begin], (shift, 3 * shift), axis=(1, 2))
                    file.write(shifted)
                    bar.update(len(shifted))
            with member(archive, f"{part}_labels", (count, labels.shape[1])) as file:
                file.write(np.ascontiguousarray(labels[np.arange(count) % PATTERNS]))


@contextlib.contextmanager
def member(archive, key, shape):
    """A uint8 array of an npz file to write to, its header written."""
    with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        yield file


def empty_page_cache(folder):
    """Make the system forget the files in a folder, as after a restart."""
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_fresh_process(function, *arguments):
    """Call a function in a new Python."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def observe(script, path, scratch, start, steps, batch_size):
    """Run a script's `main` in this process; returns megabytes at the peak and seconds since the process started."""
    load, shuffled = loading.load, batching.shuffled

    def load_and_cut(*arguments, **settings):
        splits = load(*arguments, **settings)
        return dataclasses.replace(splits, val=splits.val[:EVALUATED], test=splits.test[:EVALUATED])

    loading.load = load_and_cut
    batching.shuffled = lambda *arguments, **settings: shuffled(*arguments, **settings)[: steps * batch_size]

    arguments = ["--data", path, "--data-dir", scratch / "data", "--run", scratch / start]
    arguments += ["--epochs", 1, "--batch-size", batch_size]
    with contextlib.redirect_stdout(sys.stderr), anonymous_memory() as seen:
        devices.import_tensorflow()
        note_first_step(seen)
        __import__(script).main(list(map(str, arguments)))
    return {**seen, "resident": status("VmHWM")}


@contextlib.contextmanager
def anonymous_memory():
    """A dict whose `anonymous` becomes the largest anonymous memory while the block runs, in megabytes."""
    seen, done = {"anonymous": 0.0}, threading.Event()

    def watch():
        while not done.wait(0.01):
            seen["anonymous"] = max(seen["anonymous"], status("RssAnon"))

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield seen
    finally:
        done.set()


def note_first_step(seen):
    """Write down when Keras's callbacks hear of the first batch and of the end of its step."""
    import keras

    callbacks = keras.callbacks.CallbackList

    def note(name, key):
        original = getattr(callbacks, name)

        def noting(*arguments, **settings):
            seen.setdefault(key, seconds_since_start())
            return original(*arguments, **settings)

        setattr(callbacks, name, noting)

    note("on_train_batch_begin", "first_batch")
    note("on_train_batch_end", "first_step")


def status(field):
    """A field of /proc/self/status in megabytes (10^6 bytes)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / 1e6


def seconds_since_start():
    """How long this process has been running."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
