"""Images per second of PGD-10 on the default `cnn`, ours against other libraries and PyTorch: Markdown tables.

    python benchmarks/attack_speed.py
    python benchmarks/attack_speed.py --pixels 28 --rounds 2 --only ours pytorch
    python benchmarks/attack_speed.py --run runs/baseline --data chestmnist --epsilon 4/255 --step-size 1/255

Every contestant attacks the same batch of made-up images once per round, in random order; a ratio is the median over
rounds of its time divided by ours, with the least and the largest. All maximize the BCE of 14 labels from a random
start in the same ball; the last columns check that they do, evaluated in float32. Libraries that aren't installed are
left out; the environment of `make peers` and a PyTorch give all rows.

With --run nothing is timed: it attacks the test split of a finished run in every precision and compares the scores.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import measure
import numpy as np
import peers

from chestrobust import commandline, data, devices, runs, startup, titles
from chestrobust.data.sources import phantom
from chestrobust.data.splits import as_floats

STEPS = peers.SHORT
BATCHES = {28: 256, 128: 64}  # images per batch at each image size
ROUNDS = {28: 7, 128: 5}
TOLERANCE = 0.002  # of the macro AUC under a fast attack


def main(arguments=None):
    """Measure speed, or with --run strength."""
    options = parse(arguments)
    if options.run:
        run, splits = runs.finished(options.run), data.load(options.data, limit=options.limit)
        runs.check_fits(run, splits)
    if not options.system_memory:
        measure.keep_memory()
    devices.import_tensorflow()
    print(measure.machine())
    if options.run:
        print_strength(run, splits, options)
        return
    peaks = measure.peaks()
    print(
        "Matrix products, GFLOP/s:",
        ", ".join(f"{library} {dtype} {peak:.0f}" for (library, dtype), peak in peaks.items()),
    )
    for pixels in options.pixels:
        print_speed(pixels, peaks, options)


def print_speed(pixels, peaks, options):
    """The table of one image size."""
    import tensorflow as tf

    from chestrobust import losses
    from chestrobust.models import graph

    count = BATCHES[pixels]
    model, splits = subject(pixels, count)
    images, labels = as_floats(splits.test.images), splits.test.labels.astype(np.float32)
    contestants = {}
    for name in options.only:
        try:
            contestants |= LIBRARIES[name](model, splits, options)
        except ModuleNotFoundError as error:
            print(f"{name} left out: {error.name} is not installed.")
    results = {}

    def timed(name):
        results[name] = np.asarray(contestants[name][1](images, labels))

    times = measure.rounds(
        {name: functools.partial(timed, name) for name in contestants},
        options.rounds or ROUNDS[pixels],
        title=f"{pixels} px",
    )

    def mean_loss(attacked):
        return float(tf.reduce_mean(losses.binary_cross_entropy(labels, model(attacked)))) / labels.shape[1]

    # Each step goes forward, and backward to the images.
    flops = 2 * STEPS * count * measure.forward_flops(graph.layers(model))
    print(
        f"\n{pixels} px, batch {count}, {flops / count / 1e9:.3f} GFLOP per image, clean BCE {mean_loss(images):.4f}\n",
        f"| Contestant | Images/s | Time / {BASES[0]} | Time / {BASES[1]} | Share of peak | BCE | Max change |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        sep="\n",
    )
    for name, (dtype, _) in contestants.items():
        median = float(np.median(times[name]))
        ratios = [measure.ratio(times[name], times[base]) if base in times else "" for base in BASES]
        peak = peaks.get(("torch" if name.startswith("PyTorch") else "tensorflow", dtype))
        change = np.abs(results[name] - images).max()
        outside = change > options.epsilon + 1e-6 or results[name].min() < 0 or results[name].max() > 1
        print(
            f"| {name} | {count / median:.1f} | {' | '.join(ratios)} | {flops / median / 1e9 / peak:.0%} of {dtype} "
            f"| {mean_loss(results[name]):.4f} | {change:.4f}{' OUTSIDE' if outside else ''} |",
            flush=True,
        )


def subject(pixels, count):
    """The default `cnn` for 14 labels, shortly trained, and splits with `count` test images, all made up.

    Trained at 28 pixels: the weights fit any size.
    """
    import keras

    from chestrobust import models

    keras.utils.set_random_seed(0)
    small = phantom.load(size=28, counts={"train": 1280, "val": 1, "test": 1})
    trainer = models.build_cnn(small.image_shape, len(small.label_names))
    trainer.compile("adam", "binary_crossentropy")
    trainer.fit(as_floats(small.train.images), small.train.labels, batch_size=64, epochs=3, verbose=0)
    splits = phantom.load(size=pixels, counts={"train": 1, "val": 1, "test": count})
    classifier = models.build_cnn(splits.image_shape, len(splits.label_names))
    classifier.set_weights(trainer.get_weights())
    return models.logits(classifier), splits


# "float32" attacks the model as it is, "float32, twin" is what "auto" does on hardware that has nothing faster.
OURS = ("ours, auto", "ours, float32", "ours, float32, twin")
BASES = OURS[0], OURS[2]


def ours(model, splits, options):
    """`{name: (dtype whose peak it is compared with, attack(images, labels))}`, as the functions below."""
    from chestrobust import attacks
    from chestrobust.models import twin

    budget = {
        "epsilon": options.epsilon,
        "step_size": options.step_size,
        "steps": STEPS,
        "batch_size": len(splits.test),
    }
    variants = ((model, "auto"), (model, "float32"), (twin.of(model, "float32"), "float32"))
    return {
        name: (twin.dtype(precision), functools.partial(attacks.pgd, subject, **budget, precision=precision))
        for name, (subject, precision) in zip(OURS, variants, strict=True)
    }


def naive(model, splits, options):
    """What tutorials show: an eager loop around `GradientTape`, Keras's loss on sigmoids."""
    import keras
    import tensorflow as tf

    classifier = keras.Model(model.input, keras.layers.Activation("sigmoid")(model.output))
    loss = keras.losses.BinaryCrossentropy()

    def attack(images, labels):
        clean, labels = tf.constant(images), tf.constant(labels)
        adversarial = clean + tf.random.uniform(clean.shape, -options.epsilon, options.epsilon)
        adversarial = tf.clip_by_value(adversarial, 0, 1)
        for _ in range(STEPS):
            with tf.GradientTape() as tape:
                tape.watch(adversarial)
                value = loss(labels, classifier(adversarial, training=False))
            adversarial += options.step_size * tf.sign(tape.gradient(value, adversarial))
            adversarial = tf.clip_by_value(adversarial, clean - options.epsilon, clean + options.epsilon)
            adversarial = tf.clip_by_value(adversarial, 0, 1)
        return adversarial

    return {"naive eager loop": ("float32", attack)}


def library(rows):
    """The PGD with our loss among the rows of peers.py."""

    def contestants(model, splits, options):
        row = next(row for row in rows(model, splits, options) if row.name == f"PGD-{STEPS}, BCE")
        return {row.library: ("float32", lambda images, labels: row.generate(images, labels, None))}

    return contestants


def pytorch(model, splits, options):
    """See pytorch.py."""
    import pytorch

    budget = {"epsilon": options.epsilon, "step_size": options.step_size, "steps": STEPS}
    return {
        f"PyTorch, {dtype}{', compiled' if compiled else ''}": (
            dtype,
            pytorch.pgd(model, **budget, dtype=dtype, compiled=compiled),
        )
        for dtype in ("float32", "bfloat16")
        for compiled in (False, True)
    }


LIBRARIES = {
    "ours": ours,
    "naive": naive,
    "cleverhans": library(peers.cleverhans),
    "art": library(peers.art),
    "foolbox": library(peers.foolbox),
    "pytorch": pytorch,
}


def print_strength(run, splits, options):
    """Macro AUC under PGD in each precision, on the test split and evaluated in float32."""
    from chestrobust import attacks, models
    from chestrobust.evaluation import metrics, outcomes

    model = models.logits(models.load(run.path / "model.keras"))
    budget = {"epsilon": options.epsilon, "step_size": options.step_size, "steps": STEPS}
    print(
        f"\n{titles.data_title(splits.summary())}: {len(splits.test)} test images; PGD-{STEPS}, epsilon "
        f"{titles.length(options.epsilon)}, step size {titles.length(options.step_size)}\n",
        f"| Precision | Macro AUC | Difference | Within {TOLERANCE} | Mean BCE |",
        "| --- | ---: | ---: | --- | ---: |",
        sep="\n",
    )
    reference = None
    for precision in ("float32", "auto", "bfloat16", "float16"):

        def generate(images, labels, indices, precision=precision):
            settings = {"loss": splits.task.loss, "indices": indices, "precision": precision}
            return attacks.pgd(model, images, labels, **budget, **settings)

        attack = peers.Attack("ours", precision, generate)
        logits = outcomes.run(model, splits.task, splits.test, attack, progress=True).logits
        auc = metrics.macro(metrics.auc(splits.test.labels, splits.task.ranks(logits)))
        bce = np.mean(splits.task.training_loss("bce")(splits.test.labels.astype(np.float32), logits))
        reference = auc if reference is None else reference
        close = "yes" if abs(auc - reference) <= TOLERANCE else "NO"
        print(f"| {precision} | {auc:.4f} | {auc - reference:+.4f} | {close} | {bce:.4f} |", flush=True)


def parse(arguments):
    """The options; lengths are written as in the scripts, e.g. 4/255."""
    parser = commandline.OneLineParser(description=__doc__.partition("\n")[0])
    count = commandline.number(int, 1)
    parser.add_argument("--pixels", type=int, nargs="+", choices=BATCHES, default=list(BATCHES), help="image sizes")
    parser.add_argument("--rounds", type=count, help="rounds (default: 7 at 28 pixels, 5 at 128)")
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=list(LIBRARIES), help="contestants")
    parser.add_argument("--epsilon", type=commandline.length, default=0.05, help="radius in pixel units of [0, 1]")
    parser.add_argument("--step-size", type=commandline.length, default=0.01, help="length of a PGD step, same units")
    parser.add_argument("--system-memory", action="store_true", help="leave the C library's memory handling as it is")
    parser.add_argument("--run", help="finished run whose strength is compared instead")
    parser.add_argument("--data", default="phantom", help="as in diagnosis.py, with --run")
    parser.add_argument("--limit", type=count, help="largest number of test images")
    parser.set_defaults(restarts=1)  # which peers.py reads
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
