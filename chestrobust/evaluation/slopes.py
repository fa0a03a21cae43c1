"""What the audit asks of gradients: are there any, do answers follow them, and does float32 hold the loss's."""

import numpy as np
import tensorflow as tf
from scipy.stats import rankdata

from chestrobust.attacks import gradient
from chestrobust.evaluation import outcomes

TOGETHER = 64  # images whose gradients are taken at once
# Grey levels that each pixel goes up or down. More is no slope; less, a model that rounds its pixels might not see.
LEVELS = 2
FOLLOWS = 0.5  # rank correlation; those of 11 honest models that were looked at are 0.81 and more, in longer steps
# Of a level, between grey levels, and what it may change of the answers in units of what a level changes: of an honest
# model as much, of one that rounds its pixels the root.
BETWEEN, JUMPS = 0.125, 0.5


def of_labels(model, task, images, epsilon):
    """Of each label's logit, or log-odds of a class: has it gradients, and does it follow them?

    Images go some grey levels forth and back in a random direction, which no gradient has chosen. Where the answers
    change otherwise than the gradient between says, it is another function's: of a decoy, of a detour around a step of
    no gradient, or of noise that is another one at the next point. Attacks then climb something else than the model. So
    they do if answers between grey levels, where attacks go, are others than at the levels that files hold.

    Args:
        model: Callable returning logits.
        task: The `Task`.
        images: Float32 in [0, 1], `(count, height, width, channels)`.
        epsilon: Radius of the attack; the images don't go further, but for a level at least.

    Returns:
        Share of images whose gradient is exactly zero or not finite; rank correlation of what it says with what
        happens; and how much answers change between grey levels, as a share of what a whole level changes. Float64
        `(num_labels,)` each.
    """
    level = np.random.default_rng(0).choice(np.float32([-1, 1]) / 255, images.shape)

    def moved(levels):
        x = np.clip(images + np.float32(levels) * level, 0, 1)
        return x, task.ranks(np.nan_to_num(outcomes.answers(model, x)))

    length = np.clip(np.rint(255 * epsilon), 1, LEVELS)
    (forth, after), (back, before), (_, here) = map(moved, (length, -length, 0))
    between, whole = (np.median(np.abs(moved(levels)[1] - here), axis=0) for levels in (BETWEEN, 1))
    jumps = np.divide(between, whole, out=np.zeros_like(whole), where=whole > 0)
    happened = after - before
    shares, correlations = np.zeros((2, happened.shape[1]))
    for label, alone in enumerate(np.eye(happened.shape[1], dtype=np.float32)):
        gone, said = along(model, task.linear, images, np.tile(alone, (len(images), 1)), forth - back)
        shares[label], correlations[label] = gone.mean(), _correlation(said, happened[:, label])
    return shares, correlations, jumps


def along(model, loss, images, targets, steps):
    """Which images have no gradient, and how much theirs says that the loss rises along steps.

    Args:
        model: Callable returning logits.
        loss: Function `loss(targets, logits)` returning a value per image.
        images: Float32 in [0, 1], `(count, height, width, channels)`.
        targets: What the loss takes, float32 `(count, num_labels)`.
        steps: Changes of the images, as many.

    Returns:
        bool and float64, `(count,)`: whether a gradient, in float32, is exactly zero or not finite; and the rises, 0
        where it isn't finite.
    """
    climbed, _ = gradient.compiled(model, loss, images.shape[1:], targets.shape[1:], "float32")
    gone, said = [], []
    for begin in range(0, len(images), TOGETHER):
        piece = slice(begin, begin + TOGETHER)
        _, slope = climbed(tf.constant(images[piece]), tf.constant(targets[piece]))
        slope = slope.numpy().reshape(len(images[piece]), -1).astype(np.float64)
        gone.append((np.abs(slope).max(axis=1) == 0) | ~np.isfinite(slope).all(axis=1))
        said.append((slope * steps[piece].reshape(slope.shape)).sum(axis=1))
    return np.concatenate(gone), np.nan_to_num(np.concatenate(said), posinf=0, neginf=0)


def _correlation(first, second):
    """Spearman's, in which a few large gradients don't speak for all; 0 of what never changes."""
    first, second = (rankdata(values) - (len(values) + 1) / 2 for values in (first, second))
    return (first @ second) / max(np.sqrt((first @ first) * (second @ second)), 1e-12)


def gradient_gap(loss, labels, logits):
    """Largest relative error, over images, of a loss's gradient in float32, held against float64.

    Args:
        loss: Function `loss(labels, logits)` returning a value per image, in the precision of what it is given.
        labels: 0 or 1, `(count, num_labels)`.
        logits: `(count, num_labels)`.
    """
    found = []
    for dtype in (tf.float32, tf.float64):
        truth, answers = tf.cast(labels, dtype), tf.cast(logits, dtype)
        with tf.GradientTape() as tape:
            tape.watch(answers)
            values = loss(truth, answers)
        found.append(tf.cast(tape.gradient(values, answers), tf.float64).numpy())
    error, size = (np.linalg.norm(array, axis=-1) for array in (found[0] - found[1], found[1]))
    # Below, float32 holds no normal numbers: such an image has no gradient to climb, which is another check.
    tiny = float(np.finfo(np.float32).tiny)
    return float(np.max(error / np.maximum(size, 1e3 * tiny)))
