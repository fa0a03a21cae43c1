"""White-box attacks on any model that returns logits, by `tf.GradientTape`.

    adversarial = pgd(models.logits(classifier), images, labels, epsilon=4 / 255, step_size=1 / 255, steps=10)

Images are floats in [0, 1] and every length is in these pixel units. The model is called with
`training=False` and isn't changed. Results depend on the arguments and `seed` alone, not on the batch size.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from losses import binary_cross_entropy


def fgsm(model, images, labels, *, epsilon, loss=binary_cross_entropy, batch_size=256):
    """Fast gradient sign method: one step of length `epsilon` up the loss.

    Args:
        model: Callable `model(images, training=False)` returning logits, e.g. from `models.logits`.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`.
        epsilon: Radius of the L-infinity ball, in pixel units of [0, 1], e.g. 4 / 255.
        loss: Function `loss(labels, logits)` returning a value per image, from `losses`.
        batch_size: Images attacked at once.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.

    Raises:
        ValueError: If a length, the images or the labels are out of range or shape.

    Reference: Goodfellow et al., 2015, https://arxiv.org/abs/1412.6572
    """
    return pgd(
        model,
        images,
        labels,
        epsilon=epsilon,
        step_size=epsilon,
        steps=1,
        random_start=False,
        loss=loss,
        batch_size=batch_size,
    )


def pgd(
    model,
    images,
    labels,
    *,
    epsilon,
    step_size,
    steps,
    random_start=True,
    restarts=1,
    seed=0,
    loss=binary_cross_entropy,
    indices=None,
    batch_size=256,
):
    """Projected gradient descent (PGD-k) in the L-infinity ball.

    Args:
        model: Callable `model(images, training=False)` returning logits, e.g. from `models.logits`.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`.
        epsilon: Radius of the ball, in pixel units of [0, 1], e.g. 4 / 255.
        step_size: Length of one step, same units (alpha in the paper).
        steps: Number of steps, the k of PGD-k.
        random_start: Whether to start uniformly in the ball instead of at `images`.
        restarts: Number of random starts; the one with the highest final loss is kept for each image.
        seed: Seed of the random starts.
        loss: Function `loss(labels, logits)` returning a value per image, from `losses`.
        indices: Number of each image, which fixes its random start together with `seed`;
            default: 0 to `count - 1`. Lets a split be attacked piece by piece with the same outcome.
        batch_size: Images attacked at once.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.

    Raises:
        ValueError: If a length, the images or the labels are out of range or shape.

    Reference: Madry et al., 2018, https://arxiv.org/abs/1706.06083
    """
    if not 0 <= epsilon <= 1 or not 0 <= step_size <= 1:
        raise ValueError(
            f"Lengths are in pixel units of [0, 1], as in 8 / 255. Received: epsilon={epsilon}, step_size={step_size}"
        )
    if steps < 1 or restarts < 1:
        raise ValueError(f"`steps` and `restarts` must be >= 1. Received: steps={steps}, restarts={restarts}")
    if restarts > 1 and not random_start:
        raise ValueError(
            f"Restarts differ by their random start alone. Received: restarts={restarts}, random_start=False"
        )
    clean, labels = np.asarray(images), np.asarray(labels)
    _check(clean, labels)
    indices = np.arange(len(clean)) if indices is None else np.asarray(indices)
    compiled = _compiled(model, loss, clean.shape[1:], labels.shape[1:])
    adversarial = np.empty_like(clean)
    for begin in range(0, len(clean), batch_size):
        piece = slice(begin, begin + batch_size)
        size = min(batch_size, len(clean))
        batch, truth, numbers = (_padded(array[piece], size) for array in (clean, labels, indices))
        lower, upper = box(batch, epsilon)
        worst, worst_loss = batch, tf.fill([size], -np.inf)
        for restart in range(restarts):
            candidate = compiled.start(batch, epsilon, (seed, restart), numbers) if random_start else batch
            for _ in range(steps):
                candidate = compiled.ascend(candidate, truth, lower, upper, step_size)
            if restarts == 1:
                worst = candidate
                break
            candidate_loss = compiled.image_loss(candidate, truth)
            better = candidate_loss > worst_loss
            worst = tf.where(better[:, None, None, None], candidate, worst)
            worst_loss = tf.where(better, candidate_loss, worst_loss)
        adversarial[piece] = worst[: len(clean) - begin]
    return tf.convert_to_tensor(adversarial) if tf.is_tensor(images) else adversarial


def box(images, epsilon):
    """Lower and upper bounds of the pixels: ball and pixel range are both boxes, so one clip projects onto both."""
    return tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0)


def ascend(model, loss, images, labels, lower, upper, step_size):
    """One step of `step_size` along the sign of the gradient, projected onto the box. Pure: runs inside any graph."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        image_losses = loss(labels, model(images, training=False))
    gradient = tape.gradient(image_losses, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.clip_by_value(images + step_size * tf.sign(gradient), lower, upper)


def random_start(images, epsilon, seed, indices):
    """Images moved uniformly within the box: a function of `seed` (two integers) and each image's number."""

    def noise(index):
        key = tf.random.experimental.stateless_fold_in(seed, index)
        return tf.random.stateless_uniform(tf.shape(images)[1:], key, -epsilon, epsilon)

    return tf.clip_by_value(images + tf.map_fn(noise, indices, fn_output_signature=images.dtype), 0.0, 1.0)


@dataclass(frozen=True)
class _Compiled:
    start: Callable
    ascend: Callable
    image_loss: Callable


# A user's loop calls an attack many times with the same model: tracing it once per model makes later calls start at
# once. The batch dimension is left open, so that no number of images traces again.
@functools.lru_cache(maxsize=8)
def _compiled(model, loss, image_shape, label_shape):
    images, labels = tf.TensorSpec((None, *image_shape)), tf.TensorSpec((None, *label_shape))
    scalar = tf.TensorSpec(())
    seed, indices = tf.TensorSpec((2,), tf.int64), tf.TensorSpec((None,), tf.int64)
    return _Compiled(
        tf.function(random_start, input_signature=[images, scalar, seed, indices]),
        tf.function(functools.partial(ascend, model, loss), input_signature=[images, labels, images, images, scalar]),
        tf.function(lambda x, y: loss(y, model(x, training=False)), input_signature=[images, labels]),
    )


def _padded(array, size):
    """The array with its first row repeated up to `size` rows, so that every batch has the same shape."""
    kind = np.int64 if array.ndim == 1 else np.float32
    rows = np.concatenate([array, np.repeat(array[:1], size - len(array), axis=0)]) if len(array) < size else array
    return tf.convert_to_tensor(rows.astype(kind))


def _check(images, labels):
    if images.ndim != 4 or images.dtype.kind != "f" or not len(images):
        raise ValueError(
            "`images` must be floats in [0, 1] of shape (count, height, width, channels); divide uint8 images by 255. "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.ndim != 2 or len(labels) != len(images):
        raise ValueError(
            f"`labels` must be of shape ({len(images)}, num_labels), a row per image. Received: {labels.shape}"
        )
    low, high = images.min(), images.max()
    # Written so that NaN fails too.
    if not (low >= 0 and high <= 1):
        raise ValueError(f"`images` must lie in [0, 1]. Received: minimum {low}, maximum {high}")
