"""The balls an attack stays in: how to start in one, which way is steepest, and how to come back.

All images are float tensors in [0, 1], `(batch, height, width, channels)`; the norm is over an image's pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Norm:
    """A norm, by what an attack needs of it.

    Attributes:
        name: For messages.
        length: `length(changes)`, `(batch,)`.
        noise: `noise(shape, key)`: one change, uniform in the unit ball, drawn statelessly.
        direction: `direction(gradients)`: changes of length 1 that raise the loss most (0 where a gradient is 0).
        project: `project(images, clean, epsilon)`: images in the ball around `clean` and in [0, 1]; in L-infinity the
            nearest, in L2 those that shrinking the change and then clipping lead to.
    """

    name: str
    length: Callable
    noise: Callable
    direction: Callable
    project: Callable


def _largest(changes):
    return tf.reduce_max(tf.abs(changes), axis=(1, 2, 3))


def _uniform_in_box(shape, key):
    return tf.random.stateless_uniform(shape, key, -1.0, 1.0)


def _clip_to_box(images, clean, epsilon):
    # Ball and pixel range are both boxes, so a single clip projects onto both.
    return tf.clip_by_value(images, tf.maximum(clean - epsilon, 0.0), tf.minimum(clean + epsilon, 1.0))


def _round_in_box(images, clean, epsilon):
    # In whole numbers of levels, which float32 holds exactly; 255 * (k / 255) may lie just below k.
    before, most = tf.round(255 * clean), tf.floor(255 * epsilon + 1e-4)
    change = tf.clip_by_value(tf.round(255 * images) - before, -most, most)
    return tf.clip_by_value(before + change, 0.0, 255.0) / 255


def _euclidean(changes):
    return tf.sqrt(tf.reduce_sum(tf.square(changes), axis=(1, 2, 3)))


def _uniform_in_sphere(shape, key):
    gaussian = tf.random.stateless_normal(shape, key)
    # The volume within radius r grows as r to the number of pixels.
    radius = tf.random.stateless_uniform((), key) ** (1 / tf.cast(tf.reduce_prod(shape), tf.float32))
    return radius * gaussian / tf.norm(gaussian)


def _unit(changes):
    # First by the largest: squares of a sure model's gradients are 0 in float32, and those of large ones infinite.
    for length in (_largest, _euclidean):
        changes = tf.math.divide_no_nan(changes, length(changes)[:, None, None, None])
    return changes


def _shrink_to_sphere(images, clean, epsilon):
    change = images - clean
    scale = tf.minimum(1.0, tf.math.divide_no_nan(epsilon, _euclidean(change)))[:, None, None, None]
    # The clip brings no pixel further from its clean value, so the image stays in the ball.
    return tf.clip_by_value(clean + scale * change, 0.0, 1.0)


LINF = Norm("linf", _largest, _uniform_in_box, tf.sign, _clip_to_box)
L2 = Norm("l2", _euclidean, _uniform_in_sphere, _unit, _shrink_to_sphere)
# L-infinity, of images of 8 bits around such: what is found can be stored as it is.
LEVELS = Norm("linf, whole grey levels", _largest, _uniform_in_box, tf.sign, _round_in_box)
