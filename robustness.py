"""How a model scores on a split, clean and under attack: streamed, so that only one batch is ever a float copy."""

import functools
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

import attacks
import blackbox
import devices
import losses
import metrics
import models
import report
import twin

# Pixels attacked at once: 256 images of 28 x 28. The first convolution's output alone takes 128 bytes per pixel.
PIXELS_PER_BATCH = 256 * 28 * 28
WITHOUT_GRADIENT = ("clean", "noise", "square", "square-margin", "one-pixel")


@dataclass(frozen=True)
class Attack:
    """An attack with its parameters, as results record it; None where a parameter doesn't apply.

    Attributes:
        attack: clean, noise, fgsm, pgd, apgd-bce or apgd-ce, apgd-margin, label-margin, square, square-margin, hide,
            invent, one-pixel, or transfer (PGD on another model).
        epsilon, step_size: In pixel units of [0, 1].
        steps: Gradient steps, or queries of a gradient-free attack.
        label: Index of the label that label-margin and invent are after.
        precision: Arithmetic of its gradients, as in `attacks.fgsm`; recorded as the data type that it means here.
    """

    attack: str
    epsilon: float = 0.0
    step_size: float | None = None
    steps: int | None = None
    restarts: int | None = None
    random_start: bool | None = None
    seed: int | None = None
    label: int | None = None
    precision: str = "auto"

    @property
    def title(self):
        """Name for tables and figures, e.g. `PGD-10, epsilon 0.05`."""
        return report.title(self.record())

    def record(self):
        """The parameters as results hold them."""
        record = asdict(self)
        record["precision"] = None if self.attack in WITHOUT_GRADIENT else twin.dtype(self.precision)
        return record if self.label is not None else {key: record[key] for key in record if key != "label"}

    def __call__(self, model, images, labels, *, task, indices):
        """Adversarial images, by the contract of `attacks.py`."""
        subject = (model, images, labels)
        settings = {"epsilon": self.epsilon, "seed": self.seed, "indices": indices}
        gradient = {**settings, "precision": self.precision}
        apgd = functools.partial(attacks.apgd, **gradient, steps=self.steps, restarts=self.restarts)
        linear = losses.linear_log_probability if task == "multi-class" else losses.linear
        match self.attack:
            case "clean":
                return images
            case "noise":
                return blackbox.noise(*subject, **settings)
            case "fgsm":
                return attacks.fgsm(
                    *subject, epsilon=self.epsilon, loss=losses.for_task(task), precision=self.precision
                )
            case "pgd" | "transfer":
                return attacks.pgd(
                    *subject,
                    **gradient,
                    step_size=self.step_size,
                    steps=self.steps,
                    restarts=self.restarts,
                    random_start=self.random_start,
                    loss=losses.for_task(task),
                )
            case "apgd-bce" | "apgd-ce":
                return apgd(*subject, loss=losses.for_task(task))
            case "apgd-margin":
                return apgd(*subject, loss=losses.margin_for_task(task))
            case "label-margin":
                return apgd(model, images, losses.direction(labels, self.label), loss=linear)
            case "hide":
                # The one class of a multi-class image is hidden by any other.
                return apgd(*subject, loss=losses.cross_entropy if task == "multi-class" else losses.hide)
            case "invent":
                return apgd(model, images, np.maximum(losses.direction(labels, self.label), 0), loss=linear)
            case "square":
                return blackbox.square(*subject, **settings, queries=self.steps, loss=losses.for_task(task))
            case "square-margin":
                return blackbox.square(*subject, **settings, queries=self.steps, loss=losses.margin_for_task(task))
            case "one-pixel":
                return blackbox.one_pixel(*subject, seed=self.seed, indices=indices, loss=losses.margin_for_task(task))
        raise ValueError(f"Unknown attack. Received: attack={self.attack!r}")


CLEAN = Attack("clean")


def quick_suite(config):
    """Clean, FGSM and PGD with the evaluation options of a training script's `config`."""
    pgd = Attack("pgd", config.epsilon, config.step_size, config.steps, config.restarts, True, config.seed)
    return tuple(replace(attack, precision=config.precision) for attack in (CLEAN, Attack("fgsm", config.epsilon), pgd))


def pgd_of(epsilon, steps, restarts=0, seed=0, precision="auto"):
    """PGD whose steps together are 2.5 times as long as the radius, so that it can reach any point (Madry et al.).

    Without restarts it starts at the image, which undefended models resist less than a random start.
    """
    step_size = min(1.0, 2.5 * epsilon / steps)
    return Attack("pgd", epsilon, step_size, steps, max(1, restarts), restarts > 0, seed, precision=precision)


def standard_suite(task, num_labels, *, epsilon, steps, restarts, queries, seed, precision="auto"):
    """AutoAttack's idea for multi-label models: groups of attacks that fail for different reasons.

    Returns:
        A dictionary from a group's name to its `Attack`s: APGD on the cross-entropy and on the margin, APGD on each
        label's margin alone, and the gradient-free Square attack on both losses.
    """
    name = f"apgd-{'ce' if task == 'multi-class' else 'bce'}"
    auto = Attack(name, epsilon, None, steps, restarts, restarts > 1, seed, precision=precision)
    each = [replace(auto, attack="label-margin", label=label) for label in range(num_labels)]
    square = Attack("square", epsilon, None, queries, 1, True, seed)
    return {
        auto.attack: [auto],
        "apgd-margin": [replace(auto, attack="apgd-margin")],
        **({"label-margin": each} if num_labels > 1 else {}),  # For a single label it would be the same again.
        "square": [
            replace(square, attack=name, seed=seed + restart)
            for name in ("square", "square-margin")
            for restart in range(restarts)
        ],
    }


def evaluate(classifier, splits, suite, *, part="test", progress=True):
    """Attack a whole split and score the answers.

    Args:
        classifier: A `keras.Model` with a layer named `logits`.
        splits: The `Splits`.
        suite: `Attack`s.
        part: Which split: `"train"`, `"val"` or `"test"`.
        progress: Whether to show a progress bar per attack.

    Returns:
        A dictionary per attack, as `results.json` holds it.
    """
    model, split, evaluations = models.logits(classifier), splits.parts[part], []
    for attack in suite:
        outcome = run(model, splits.task, split, attack, progress=progress)
        evaluations.append(
            {
                **attack.record(),
                "images": len(split),
                **metrics.summary(splits.task, splits.label_names, split.labels, outcome.logits),
                "max_perturbation": outcome.largest,
            }
        )
    return evaluations


@dataclass(frozen=True)
class Outcome:
    """What a model answered to a split under an attack, and what the attack did to the pixels, measured from outside.

    Attributes:
        logits: Float32, `(count, num_labels)`.
        largest: Largest change of a pixel.
        low, high: Smallest and largest pixel; NaN if any pixel is NaN.
    """

    logits: np.ndarray
    largest: float
    low: float
    high: float


def run(model, task, split, attack, *, source=None, progress=False):
    """The `Outcome` of attacking a split, the same on every worker. Each attacks a share of it, on all of its devices.

    Args:
        model: Callable returning logits.
        task: The `Splits.task`.
        split: A `Split`.
        attack: An `Attack`, or any callable with its signature and a `title`.
        source: Another model, on which the adversarial images are made instead.
        progress: Whether to show a progress bar.
    """
    size = max(8, PIXELS_PER_BATCH // _pixels(model, split.images.shape))
    size = min(size, -(-len(split) // devices.replicas()))
    worker, workers = devices.worker()
    pieces = [np.arange(begin, min(begin + size, len(split))) for begin in range(0, len(split), size)]
    logits = np.zeros(split.labels.shape, np.float32)
    pixels = np.zeros((len(pieces), 3), np.float32)

    def answer(piece, model, source):
        indices = pieces[piece]
        images = split.images[indices].astype(np.float32) / 255
        labels = split.labels[indices].astype(np.float32)
        adversarial = attack(source or model, images, labels, task=task, indices=indices)
        logits[indices] = answers(model, adversarial)
        pixels[piece] = np.abs(adversarial - images).max(), adversarial.min(), adversarial.max()
        bar.update(len(indices))

    mine = range(worker, len(pieces), workers)
    with tqdm(
        total=sum(len(pieces[piece]) for piece in mine),
        desc=attack.title,
        unit=" images",
        disable=not (progress and devices.chief()),
        leave=False,
    ) as bar:
        devices.spread(answer, mine, model, source)
    # What other workers answered is zero here, so the sum is exact.
    logits, pixels = devices.total(logits), devices.total(pixels)
    return Outcome(logits, float(pixels[:, 0].max()), float(pixels[:, 1].min()), float(pixels[:, 2].max()))


def _pixels(model, shape):
    """Pixels of an image as the model sees it, which may enlarge it first."""
    layers = model._flatten_layers() if isinstance(model, keras.Model) else ()  # those of nested models too
    sizes = [layer.height * layer.width for layer in layers if isinstance(layer, keras.layers.Resizing)]
    return max(shape[1] * shape[2], *sizes, 1)


def answers(model, images):
    """Logits of a batch, `(batch, num_labels)`, through a graph that is traced once per model."""
    return _forward(model, images.shape[1:])(images).numpy()


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
    return choose(splits.val.labels, metrics.probabilities(splits.task, logits))


def joint(task, labels, candidates):
    """Per image, the candidate with the highest loss: one attacked image for all labels.

    Args:
        task: The `Splits.task`.
        labels: 0 or 1, `(count, num_labels)`.
        candidates: Logits, `(num_candidates, count, num_labels)`.

    Returns:
        Logits, `(count, num_labels)`.
    """
    loss = losses.for_task(task)
    worst = np.argmax([loss(labels.astype(np.float32), logits) for logits in candidates], axis=0)
    return np.take_along_axis(candidates, worst[None, :, None], axis=0)[0]


def floor(task, labels, candidates):
    """Per image and label, the worst logit over all candidates: each label's AUC can't be lower under any of them.

    Every label is taken for itself, one label against the rest if multi-class. No single image need have all of them.

    Returns:
        Logits of independent labels, `(count, num_labels)`; arguments as in `joint`.
    """
    logits = metrics.ranks(task, candidates)
    return np.where(labels == 1, logits.min(axis=0), logits.max(axis=0))
