"""One change for all images: fitted on training images without their labels, then added to whatever comes.

A scanner's fault or an overlay does this. It moves the answers to all patients alike, which an AUC hardly sees and a
report at a fixed threshold does.
"""

import numpy as np
import tensorflow as tf

from chestrobust import interruption, titles
from chestrobust.attacks import gradient, storage
from chestrobust.data.splits import as_floats
from chestrobust.losses import binary_cross_entropy, of_label, toward

BATCH = 128  # images whose gradients are averaged in a step


def fit(model, images, *, wanted, epsilon, steps, seed=0, precision="auto", label=None):
    """The change that makes a model report all findings, or none, or one alone, in as many images as it can.

    Stochastic ascent: in each step the sign of the mean gradient of some images. All steps together are 2.5 times as
    long as the radius. The result is rounded to whole grey levels inside the ball, as a file holds them.

    Args:
        model: Callable `model(images, training=False)` returning logits.
        images: Images to fit it on, uint8 or floats from 0 to 255, `(count, height, width, channels)`.
        wanted: 1 to invent every finding, 0 to hide every one.
        label: Index of the only finding that is meant, or None.
        epsilon: Largest change of a pixel, in pixel units of [0, 1].
        steps: Number of steps, each on some images, drawn so that all get their turn.
        seed: Seed of their order.
        precision: As in `attacks.fgsm`.

    Returns:
        Float32, `(height, width, channels)`, whole multiples of 1 / 255.

    Reference: Moosavi-Dezfooli et al., 2017, https://arxiv.org/abs/1610.08401; by the sign of gradients as in
    Shafahi et al., 2020, https://arxiv.org/abs/1811.11304
    """
    shape, size = images.shape[1:], min(BATCH, len(images))
    labels = np.full((size, model(tf.zeros((1, *shape)), training=False).shape[-1]), wanted, np.float32)
    loss = toward(binary_cross_entropy)
    loss = loss if label is None else of_label(loss, label)
    climbed, _ = gradient.compiled(model, loss, shape, labels.shape[1:], precision)
    change, length = np.zeros(shape, np.float32), titles.usual_step(epsilon, steps)
    for step in range(steps):
        interruption.check()
        batch = as_floats(images[_drawn(len(images), size, step, seed)])
        _, slope = climbed(added(batch, change), labels)
        change = np.clip(change + length * np.sign(slope.numpy().mean(axis=0)), -epsilon, epsilon).astype(np.float32)
    levels = storage.whole_levels(epsilon)
    return (np.clip(np.round(255 * change), -levels, levels) / 255).astype(np.float32)


def added(images, change):
    """Images in [0, 1] with a change, which stay in [0, 1]."""
    return np.clip(images + change, 0, 1)


def _drawn(count, size, step, seed):
    """Indices of a step's images, ascending: each pass is a permutation of its own, without what is left at its end."""
    passed, place = divmod(step, count // size)
    order = np.random.default_rng((seed, passed)).permutation(count)
    return np.sort(order[place * size : (place + 1) * size])
