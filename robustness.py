"""How a model scores on a split, clean and under attack: streamed, so that only one batch is ever a float copy."""

import functools
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import attacks
import losses
import metrics
import models
import report

# Pixels attacked at once: 256 images of 28 x 28. The first convolution's output alone takes 128 bytes per pixel.
PIXELS_PER_BATCH = 256 * 28 * 28


@dataclass(frozen=True)
class Attack:
    """An attack with its parameters, as `results.json` records it; None where a parameter doesn't apply."""

    attack: str
    epsilon: float = 0.0
    step_size: float | None = None
    steps: int | None = None
    restarts: int | None = None
    random_start: bool | None = None
    seed: int | None = None

    @property
    def title(self):
        """Name for tables and figures, e.g. `PGD-10, epsilon 0.05`."""
        return report.title(asdict(self))

    def __call__(self, model, images, labels, *, loss, indices):
        """Adversarial images, by the contract of `attacks.py`."""
        if self.attack == "clean":
            return images
        if self.attack == "fgsm":
            return attacks.fgsm(model, images, labels, epsilon=self.epsilon, loss=loss)
        return attacks.pgd(
            model,
            images,
            labels,
            epsilon=self.epsilon,
            step_size=self.step_size,
            steps=self.steps,
            restarts=self.restarts,
            random_start=self.random_start,
            seed=self.seed,
            loss=loss,
            indices=indices,
        )


CLEAN = Attack("clean")


def quick_suite(config):
    """Clean, FGSM and PGD with the evaluation options of a `config`."""
    return (
        CLEAN,
        Attack("fgsm", config.epsilon),
        Attack("pgd", config.epsilon, config.step_size, config.steps, config.restarts, True, config.seed),
    )


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
    model = models.logits(classifier)
    return [score(model, splits, attack, part=part, progress=progress) for attack in suite]


def score(model, splits, attack, *, part, progress=False):
    """Scores of one attack; `model` returns logits. See `evaluate`."""
    split = splits.parts[part]
    logits, largest = run(model, splits.task, split, attack, progress=progress)
    return {
        **asdict(attack),
        "images": len(split),
        **metrics.summary(splits.task, splits.label_names, split.labels, logits),
        "max_perturbation": largest,
    }


def run(model, task, split, attack, *, progress=False):
    """Logits of the attacked images of a split, and the largest change of a pixel, measured here, not by the attack.

    Returns:
        Float32 `(count, num_labels)`, and a float.
    """
    loss = losses.for_task(task)
    size = max(8, PIXELS_PER_BATCH // np.prod(split.images.shape[1:3]))
    logits = np.empty(split.labels.shape, np.float32)
    largest = 0.0
    with tqdm(total=len(split), desc=attack.title, unit=" images", disable=not progress, leave=False) as bar:
        for begin in range(0, len(split), size):
            indices = np.arange(begin, min(begin + size, len(split)))
            images = split.images[indices].astype(np.float32) / 255
            adversarial = attack(model, images, split.labels[indices], loss=loss, indices=indices)
            logits[indices] = _forward(model, images.shape[1:])(adversarial)
            largest = max(largest, float(np.abs(adversarial - images).max()))
            bar.update(len(indices))
    return logits, largest


@functools.lru_cache(maxsize=8)
def _forward(model, image_shape):
    images = tf.TensorSpec((None, *image_shape))
    return tf.function(lambda images: model(images, training=False), input_signature=[images])
