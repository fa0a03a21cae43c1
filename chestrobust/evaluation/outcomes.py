"""How a model scores on a split, clean and under attack: streamed, so that only one batch is ever a float copy."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from chestrobust import devices, interruption, models
from chestrobust.attacks import aim, storage
from chestrobust.attacks.named import CLEAN
from chestrobust.data.splits import as_floats
from chestrobust.evaluation import metrics
from chestrobust.evaluation.measured import Measured
from chestrobust.models import graph, twin

# Pixels attacked at once: 256 images of 28 x 28. The first convolution's output alone takes 128 bytes per pixel.
PIXELS_PER_BATCH = 256 * 28 * 28
ROUNDS = 5  # of choosing anew which attack is worst for an image; the score hardly falls after two


def evaluate(classifier, splits, suite, **settings):
    """Attack a whole split and score the answers; the `settings` are those of `judged`.

    Returns:
        A dictionary per attack, as `results.json` holds it: see `Measured.record`. After the clean images, attacked
        ones have a `difference` from them, see `Measured.minus`.
    """
    return [row for row, _ in judged(classifier, splits, suite, **settings)]


def judged(classifier, splits, suite, *, thresholds=0.5, part="test", seed=0, progress=True, known=None):
    """Attack a whole split and score the answers.

    Args:
        classifier: A `keras.Model` with a layer named `logits`.
        splits: The `Splits`.
        suite: `Attack`s.
        thresholds: Of probabilities, `(num_labels,)` or one for all; see `thresholds`.
        part: Which split: `"train"`, `"val"` or `"test"`.
        seed: Of the resamples for intervals.
        progress: Whether to show a progress bar per attack.
        known: Dictionary that gets the `Outcome` of each attack; attacks aimed by one in it don't find it again.

    Returns:
        For each attack what `evaluate` returns of it, and the `Measured` answers.
    """
    model, split, found, before = models.logits(classifier), splits.parts[part], [], None
    known = {} if known is None else known
    for attack in suite:
        outcome = known[attack] = run(model, splits.task, split, attack, progress=progress, known=known)
        scores = measured(splits, outcome.logits, thresholds, part=part, seed=seed)
        row = {**attack.record(), **scores.record(), "max_perturbation": outcome.largest}
        clean = next((other.logits for attack, other in known.items() if attack.attack == "clean"), None)
        if attack.attack == "clean":
            before = scores
        elif clean is not None:
            before = before or measured(splits, clean, thresholds, part=part, seed=seed)
            row["difference"] = scores.minus(before)
        found.append((row, scores))
    return found


def measured(splits, logits, thresholds, *, part="test", seed=0):
    """The `Measured` answers to a split, by patient where patients are known."""
    split = splits.parts[part]
    return Measured(
        *(splits.task, splits.label_names, split.labels, logits, thresholds), seed=seed, patients=split.patients
    )


@dataclass(frozen=True)
class Outcome:
    """What a model answered to a split under an attack, and what the attack did to the pixels, measured from outside.

    Attributes:
        logits: Float32, `(count, num_labels)`.
        largest: Largest change of a pixel.
        low, high: Smallest and largest pixel; NaN if any pixel is NaN.
        kept: Logits of the images as a file of 8 bits holds them, or None if nobody asked.
        levels: By how many grey levels a pixel of these differs at most, or None.
    """

    logits: np.ndarray
    largest: float
    low: float
    high: float
    kept: np.ndarray | None = None
    levels: int | None = None


def run(model, task, split, attack, *, source=None, progress=False, known=None, stored=False):
    """The `Outcome` of attacking a split, the same on every worker. Each attacks a share of it, on all of its devices.

    Args:
        model: Callable returning logits.
        task: The `Splits.task`.
        split: A `Split`.
        attack: An `Attack`, or any callable with its signature and a `title`.
        source: Another model, on which the adversarial images are made instead.
        progress: Whether to show a progress bar.
        known: Dictionary from `Attack`s to the `Outcome`s of the attacked model on this split, which needn't be run
            again if the attack is aimed by them.
        stored: Whether to ask for the images as a file of 8 bits holds them too.
    """
    settings = {"source": source or model, "progress": progress, "known": known, "stored": stored}
    (outcome,) = run_on_all([model], task, split, attack, **settings)
    return outcome


def run_on_all(models, task, split, attack, *, source, progress=False, known=None, stored=False):
    """The `Outcome` for each of several models of the same attacked images; other arguments as in `run`.

    Args:
        models: Callables returning logits.
        source: The model that is attacked, which may be one of them.
    """
    epsilon, attack = attack.epsilon if stored else None, aimed(attack, source, task, split, known or {})
    parts, mine = pieces(models, split)
    logits, kept = np.zeros((2, len(models), *split.labels.shape), np.float32)
    pixels = np.zeros((len(parts), 4), np.float32)

    def answer(piece, source, *models):
        indices = parts[piece]
        images = as_floats(split.images[indices])
        labels = split.labels[indices].astype(np.float32)
        adversarial = attack(source, images, labels, task=task, indices=indices)
        for number, model in enumerate(models):
            logits[number, indices] = answers(model, adversarial)
        pixels[piece, :3] = np.abs(adversarial - images).max(), adversarial.min(), adversarial.max()
        if stored:
            whole = storage.stored(adversarial, images, epsilon)
            pixels[piece, 3] = storage.changed_levels(whole, images)
            rounded = as_floats(whole)
            same = np.array_equal(rounded, adversarial)  # such as clean images: what was answered holds
            for number, model in enumerate(models):
                kept[number, indices] = logits[number, indices] if same else answers(model, rounded)
        bar.update(len(indices))

    with tqdm(
        total=sum(len(parts[piece]) for piece in mine),
        desc=attack.title,
        unit=" images",
        leave=False,
        **(devices.bars() if progress else {"disable": True}),
    ) as bar:
        devices.spread(answer, mine, source, *models)
    # What other workers answered is zero here, so the sum is exact.
    logits, pixels = devices.total(logits), devices.total(pixels)
    extremes = float(pixels[:, 0].max()), float(pixels[:, 1].min()), float(pixels[:, 2].max())
    if not stored:
        return [Outcome(answers, *extremes) for answers in logits]
    kept, levels = devices.total(kept), int(pixels[:, 3].max())
    return [Outcome(answers, *extremes, whole, levels) for answers, whole in zip(logits, kept, strict=True)]


def pieces(models, split, share=1):
    """What is computed at once: a list of the indices of each piece of a split, and the numbers of this worker's.

    Args:
        models: Callables that images are given to.
        split: A `Split`.
        share: How many times as much memory an image takes as for an answer.
    """
    size = max(8, PIXELS_PER_BATCH // share // max(_pixels(model, split.images.shape) for model in models))
    size = min(size, -(-len(split) // devices.replicas()))
    worker, workers = devices.worker()
    parts = [np.arange(begin, min(begin + size, len(split))) for begin in range(0, len(split), size)]
    return parts, range(worker, len(parts), workers)


def aimed(attack, source, task, split, known):
    """The attack with what it must know of the whole split, from other attacks on it."""
    reference = getattr(attack, "reference", None)
    if reference is None:
        return attack
    found = known.get(reference) or run(source, task, split, reference, known=known)
    return attack.aimed(split.labels, found.logits)


def _pixels(model, shape):
    """Pixels of an image as the model sees it, which may enlarge it first."""
    layers = graph.layers(model) if isinstance(model, keras.Model) else ()
    sizes = [layer.height * layer.width for layer in layers if isinstance(layer, keras.layers.Resizing)]
    return max(shape[1] * shape[2], *sizes, 1)


def answers(model, images):
    """Logits of a batch, `(batch, num_labels)`, through a graph that is traced once per model."""
    interruption.check()
    return _forward(model, images.shape[1:])(images).numpy()


def retraced(model, images):
    """As `answers`, through a graph that is traced anew."""
    return _forward.__wrapped__(model, images.shape[1:])(images).numpy()


@functools.lru_cache(maxsize=32)
def _forward(model, image_shape):
    images = tf.TensorSpec((None, *image_shape))
    return tf.function(
        lambda images: model(images, training=False), input_signature=[images], autograph=not twin.known(model)
    )


def thresholds(model, splits, choose=metrics.best_thresholds):
    """Thresholds of the probabilities with the best F1 on clean validation images; to be kept, never re-tuned.

    Args:
        model: Callable returning logits.
        splits: The `Splits`.
        choose: `metrics.best_thresholds` or `metrics.grid_thresholds`.

    Returns:
        Float64, `(num_labels,)`.
    """
    logits = run(model, splits.task, splits.val, CLEAN).logits
    return choose(splits.val.labels, splits.task.probabilities(logits))


def joint(task, labels, candidates, clean):
    """One candidate per image for all its labels, chosen for a low macro AUC: never above that of any candidate.

    Of independent labels, the one with the highest weighted margin, then, as long as the score falls, the one with
    which each image spoils most pairs with the others' present answers. Of classes, that with the highest
    cross-entropy. If all images' answers to one attack score lower, these.

    Args:
        task: The `Splits.task`.
        labels: 0 or 1, `(count, num_labels)`.
        candidates: Logits, `(num_candidates, count, num_labels)`.
        clean: Logits of the clean images, `(count, num_labels)`.

    Returns:
        Logits, `(count, num_labels)`.
    """

    def score(logits):
        auc = metrics.macro(metrics.auc(labels, task.ranks(logits)))
        return np.inf if np.isnan(auc) else auc

    if task.exclusive:
        harm = [task.loss(labels.astype(np.float32), logits) for logits in candidates]
    else:
        harm = (aim.weights(labels, clean) * candidates).sum(axis=-1)
    best = min([_chosen(candidates, harm), *candidates], key=score)
    for _ in range(0 if task.exclusive else ROUNDS):
        mixed = _chosen(candidates, aim.wrong_pairs(labels, best, candidates))
        if not score(mixed) < score(best):
            break
        best = mixed
    return best


def _chosen(candidates, harm):
    worst = np.argmax(harm, axis=0)
    return np.take_along_axis(candidates, worst[None, :, None], axis=0)[0]


def robust_accuracy(task, labels, candidates):
    """Share of images that no candidate gets wrong, at probability 0.5 or as the likeliest class; as in `joint`."""
    right = [task.predicted(logits, np.full(labels.shape[1], 0.5)) == labels for logits in candidates]
    return float(np.all(right, axis=(0, 2)).mean())


def floor(task, labels, candidates):
    """Per image and label, the worst logit over all candidates: each label's AUC can't be lower under any of them.

    Every label is taken for itself, one label against the rest if multi-class. No single image need have all of them.

    Returns:
        Logits of independent labels, `(count, num_labels)`; arguments as in `joint`.
    """
    logits = task.ranks(candidates)
    return np.where(labels == 1, logits.min(axis=0), logits.max(axis=0))
