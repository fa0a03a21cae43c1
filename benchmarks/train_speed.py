"""Images per second of clean and PGD-10 adversarial training of the default `cnn`, ours against PyTorch.

    python benchmarks/train_speed.py
    python benchmarks/train_speed.py --pixels 28 --rounds 2 --precisions bfloat16

Ours is `training.train` itself, with its input pipeline, metrics and callbacks; it is held between two steps while
another contestant has its turn. PyTorch's is in pytorch.py: the same network, recipe, optimizer and schedule, tuned as
far as we could, uint8 images picked at random and no metrics. In each round everyone trains for the same number of
steps, in random order; a ratio is the median over rounds of PyTorch's time divided by ours, with the least and the
largest.

The last table says whether our pipeline starves the step: training against the same with one batch held in memory.
"""

import contextlib
import functools
import io
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measure
import numpy as np

from chestrobust import commandline, config, devices, runs, startup
from chestrobust.data import batching
from chestrobust.data.splits import CHEST_LABELS, Split, Splits

BATCHES = {28: 256, 128: 64, 224: 16}  # images per batch at each image size
STEPS = {"clean": {28: 10, 128: 6, 224: 4}, "adversarial": {28: 3, 128: 2, 224: 2}}  # per round
LENGTH = 400  # steps of an epoch, which no contestant finishes


def main(arguments=None):
    """Measure every image size."""
    options = parse(arguments)
    if not options.system_memory:
        measure.keep_memory()
    devices.import_tensorflow()
    print(measure.machine())
    with held():
        for pixels in () if options.pipeline else options.pixels:
            print_speed(pixels, options)
        print_pipeline(options)


def print_speed(pixels, options):
    """The table of one image size."""
    count = BATCHES[pixels]
    splits = made_up(pixels, LENGTH * count)
    print(
        f"\n{pixels} px, batch {count}\n",
        "| Training | Precision | Contestant | Images/s | Time / ours |",
        "| --- | --- | --- | ---: | ---: |",
        sep="\n",
    )
    for kind in options.kinds:
        for precision in options.precisions:
            steps, title = STEPS[kind][pixels], f"{pixels} px, {kind}, {precision}"
            with Ours(splits, settings(pixels, precision), kind) as ours:
                contestants = {"ours": ours} | pytorch(ours, kind, precision)
                times = measure.rounds(
                    {name: functools.partial(go, steps) for name, go in contestants.items()},
                    options.rounds,
                    title=title,
                )
            for name, seconds in times.items():
                speed = steps * count / np.median(seconds)
                ratio = measure.ratio(seconds, times["ours"])
                print(f"| {kind} | {precision} | {name} | {speed:.1f} | {ratio} |", flush=True)


def print_pipeline(options):
    """Step times of ours, fed by the pipeline and with one batch."""
    print(
        "\n| Images | Training | Step with the pipeline / step with one batch |",
        "| --- | --- | ---: |",
        sep="\n",
    )
    with tempfile.TemporaryDirectory() as folder:
        for pixels in [*options.pixels, 224]:
            file = Path(folder) / "images.npy" if pixels == 224 else None
            splits = made_up(pixels, LENGTH * BATCHES[pixels], file)
            for kind in options.kinds if file is None else ["clean"]:
                chosen, steps = settings(pixels, "auto"), 3 * STEPS[kind][pixels]
                with Ours(splits, chosen, kind) as fed, Ours(splits, chosen, kind, one_batch=True) as cached:
                    turns = {"fed": functools.partial(fed, steps), "cached": functools.partial(cached, steps)}
                    times = measure.rounds(turns, options.rounds, title=f"{pixels} px, pipeline")
                where = f"{pixels} px, " + ("in memory" if file is None else "memory-mapped file")
                print(f"| {where} | {kind} | {measure.ratio(times['fed'], times['cached'])} |", flush=True)


def made_up(pixels, count, file=None):
    """Splits of random pixels, whose training images lie in memory or in a memory-mapped file."""
    rng, shape = np.random.default_rng(0), (count, pixels, pixels, 1)
    images = np.empty(shape, np.uint8) if file is None else np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    for begin in range(0, count, 1000):
        images[begin : begin + 1000] = rng.integers(0, 256, images[begin : begin + 1000].shape, np.uint8)
    labels = (rng.random((count, len(CHEST_LABELS))) < 0.1).astype(np.uint8)
    train = Split(images if file is None else np.load(file, mmap_mode="r"), labels)
    return Splits(
        "random pixels", "multi-label", CHEST_LABELS, train, train[:32], train[:32], sha256="", synthetic=True
    )


def settings(pixels, precision):
    """The configuration of every contestant: the defaults, but for the size of a batch and ten steps of PGD."""
    return config.AdversarialConfig(batch_size=BATCHES[pixels], train_steps=10, precision=precision)


class Ours(threading.Thread):
    """`training.train` in a thread of its own: called with a number of steps, it lets them happen and waits."""

    def __init__(self, splits, options, kind, *, one_batch=False):
        from chestrobust import models

        super().__init__(daemon=True)
        self.splits, self.options, self.kind, self.one_batch = splits, options, kind, one_batch
        self.classifier = models.build_cnn(splits.image_shape, len(splits.label_names), dropout=options.dropout)
        self.left, self.stopped, self.error = 0, False, None
        self.go, self.done = threading.Event(), threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.go.set()
        self.join()

    def __call__(self, steps):
        self.left = steps
        self.done.clear()
        self.go.set()
        with contextlib.redirect_stdout(io.StringIO()):  # the progress bar
            self.done.wait()
        if self.error:
            raise self.error

    def run(self):
        """The thread."""
        from chestrobust.training import examples, experiment, loop, methods

        self.go.wait()
        make = examples.clean_examples
        try:
            if self.kind == "adversarial":
                make = methods.examples_of(self.options, self.splits, self.classifier)
            with tempfile.TemporaryDirectory() as folder:
                loop.train(
                    self.classifier, self.splits, experiment.recipe(self.options), runs.Run(Path(folder)), examples=make
                )
        except Stopped:
            pass
        except BaseException as error:
            self.error = error
            self.done.set()

    def step_done(self):
        """Wait for the next turn once this one's steps are done."""
        self.left -= 1
        if self.left == 0:
            self.go.clear()
            self.done.set()
            self.go.wait()
        if self.stopped:
            raise Stopped


class Stopped(BaseException):
    """Ends a training from within."""


@contextlib.contextmanager
def held():
    """Let instances of `Ours` see the end of each of their steps, and their batches."""
    import keras

    class Callbacks(keras.callbacks.CallbackList):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            threading.current_thread().step_done()

    pipeline = batching.batches

    def batches(*arguments, **settings):
        dataset = pipeline(*arguments, **settings)
        return dataset.take(1).cache().repeat() if threading.current_thread().one_batch else dataset

    with mock.patch.object(keras.callbacks, "CallbackList", Callbacks), mock.patch.object(batching, "batches", batches):
        yield


def pytorch(ours, kind, precision):
    """PyTorch's contestants, with the weights that ours starts from; none where it isn't installed."""
    if not measure.installed("torch"):
        print("PyTorch left out: it is not installed.")
        return {}
    import pytorch

    return {
        f"PyTorch{', compiled' if compiled else ''}": pytorch.trainer(
            ours.classifier,
            ours.splits.train,
            ours.options,
            dtype=precision,
            adversarial=kind == "adversarial",
            compiled=compiled,
        )
        for compiled in (False, True)
    }


def parse(arguments):
    """The options."""
    parser = commandline.OneLineParser(description=__doc__.partition("\n")[0])
    pixels, precisions = [28, 128], ["float32", "bfloat16"]
    parser.add_argument("--pixels", type=int, nargs="+", choices=pixels, default=pixels, help="image sizes")
    parser.add_argument("--rounds", type=commandline.number(int, 1), default=5, help="rounds")
    parser.add_argument("--kinds", nargs="+", choices=STEPS, default=list(STEPS), help="kinds of training")
    parser.add_argument("--precisions", nargs="+", choices=precisions, default=precisions, help="of both contestants")
    parser.add_argument("--pipeline", action="store_true", help="show nothing but the effect of the pipeline")
    parser.add_argument("--system-memory", action="store_true", help="leave the C library's memory handling as it is")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
