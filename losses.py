"""Losses on logits, one value per image: sums, so that an image's gradient doesn't depend on its batch."""

import tensorflow as tf


def binary_cross_entropy(labels, logits):
    """Binary cross-entropy summed over labels, for multi-label and binary tasks.

    Args:
        labels: 0 or 1, float, `(batch, num_labels)`.
        logits: Float, `(batch, num_labels)`.

    Returns:
        Losses, `(batch,)`.
    """
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), axis=-1)


def cross_entropy(labels, logits):
    """Softmax cross-entropy for multi-class tasks; arguments as above, `labels` one-hot."""
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def for_task(task):
    """The loss of a `Splits.task`."""
    return cross_entropy if task == "multi-class" else binary_cross_entropy


def averaged(task):
    """The loss that training minimizes and logs: per image, and averaged over labels as Keras does."""
    if task == "multi-class":
        return cross_entropy
    return lambda labels, logits: binary_cross_entropy(labels, logits) / labels.shape[-1]


def activation(task):
    """What turns the logits of a `Splits.task` into probabilities."""
    return tf.nn.softmax if task == "multi-class" else tf.nn.sigmoid
