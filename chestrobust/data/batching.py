"""Batches for a model, uint8 until the last moment."""

import numpy as np


def shuffled(count, *, seed, epoch):
    """The order of the training images in an epoch: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches(split, batch_size, *, order=None, start=0, part=None):
    """A `tf.data.Dataset` of `(images, labels, numbers, count)`, prefetched; nothing but the batches is copied.

    Args:
        split: A `Split`.
        batch_size: Images per batch; the last batch may be smaller.
        order: Numbers of the images in the order wanted; default: as they lie. See `sampling.order`.
        start: Number of batches to leave out at the start.
        part: Function that takes the numbers of a batch and returns those that are wanted; default: all.

    Returns:
        Batches of images in their own type, which is uint8 but for crafted ones, uint8 labels, int64 numbers, and
        the size of the whole batch.
    """
    import tensorflow as tf  # Here, so that data can be checked before TensorFlow is loaded.

    order = np.arange(len(split)) if order is None else order

    def generate():
        for begin in range(start * batch_size, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            numbers = part(batch) if part else batch
            indices = numbers % len(split)
            yield split.images[indices], split.labels[indices], numbers, len(batch)

    signature = (
        tf.TensorSpec((None, *split.images.shape[1:]), split.images.dtype),
        tf.TensorSpec((None, *split.labels.shape[1:]), tf.uint8),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((), tf.int32),
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)
