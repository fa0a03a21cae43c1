"""Losses on logits, one value per image: sums, so that an image's gradient doesn't depend on its batch."""

import functools

import numpy as np
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


def linear(weights, logits):
    """A direction in the space of logits: `sum(weights * logits)`. Linear, so its gradient never saturates.

    Attacks take `weights` in the place of labels: `direction` makes them for whatever is to be raised or lowered.
    """
    return tf.reduce_sum(weights * logits, axis=-1)


def linear_log_probability(weights, logits):
    """`linear` on the log-probabilities of a softmax, for multi-class tasks."""
    return linear(weights, tf.nn.log_softmax(logits))


def margin(labels, logits):
    """Signed logits: absent labels up, present ones down. The multi-label margin without its cap."""
    return linear(direction(labels), logits)


def class_margin(labels, logits):
    """Margin of the best wrong class over the true one (Carlini and Wagner, 2017, https://arxiv.org/abs/1608.04644)."""
    true = tf.reduce_sum(labels * logits, axis=-1)
    return tf.reduce_max(tf.where(labels > 0, -np.inf, logits), axis=-1) - true


def hide(labels, logits):
    """High when no finding that is present is seen; what is hidden already counts little."""
    return -tf.reduce_sum(labels * tf.nn.softplus(logits), axis=-1)


@functools.cache
def toward(loss):
    """The targeted form of a loss: high where the logits fit the labels, which are the target."""
    return lambda labels, logits: -loss(labels, logits)


def direction(labels, label=None):
    """Weights for `linear` that push against all labels, or against the one with the index `label` alone.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        label: Index of a label, or None.

    Returns:
        `1 - 2 * labels`, with all columns but `label` set to 0.
    """
    away = 1 - 2 * labels
    return away if label is None else away * np.eye(labels.shape[-1], dtype=np.float32)[label]


def for_task(task):
    """The loss of a `Splits.task`."""
    return cross_entropy if task == "multi-class" else binary_cross_entropy


def margin_for_task(task):
    """The unsaturated loss of a `Splits.task`."""
    return class_margin if task == "multi-class" else margin


def averaged(task):
    """The loss that training minimizes and logs: per image, and averaged over labels as Keras does."""
    if task == "multi-class":
        return cross_entropy
    return lambda labels, logits: binary_cross_entropy(labels, logits) / labels.shape[-1]


def activation(task):
    """What turns the logits of a `Splits.task` into probabilities."""
    return tf.nn.softmax if task == "multi-class" else tf.nn.sigmoid
