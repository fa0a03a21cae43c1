"""What the audit asks of gradients: are there any, and does float32 hold the loss's."""

import numpy as np
import tensorflow as tf

from chestrobust.attacks import gradient

TOGETHER = 64  # images whose gradients are taken at once


def vanished(model, loss, images, targets):
    """Share of images whose gradient is exactly zero or not finite, in float32.

    Args:
        model: Callable returning logits.
        loss: Function `loss(targets, logits)` returning a value per image.
        images: Float32 in [0, 1], `(count, height, width, channels)`.
        targets: What the loss takes, float32 `(count, num_labels)`.
    """
    climbed, _ = gradient.compiled(model, loss, images.shape[1:], targets.shape[1:], "float32")
    found = []
    for begin in range(0, len(images), TOGETHER):
        piece = slice(begin, begin + TOGETHER)
        _, slope = climbed(tf.constant(images[piece]), tf.constant(targets[piece]))
        slope = slope.numpy().reshape(len(images[piece]), -1)
        found.append((np.abs(slope).max(axis=1) == 0) | ~np.isfinite(slope).all(axis=1))
    return float(np.concatenate(found).mean())


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
