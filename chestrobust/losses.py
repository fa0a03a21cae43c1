"""Losses on logits, one value per image: sums, so that an image's gradient doesn't depend on its batch.

They are written as functions of what is still wrong, such as `sigmoid(-z)` for `1 - sigmoid(z)`: in float32 the
difference is exactly 0 from a logit of 18 on, and with it the gradient, so that a sure model would look robust.
"""

import functools

import numpy as np
import tensorflow as tf

MAX_WEIGHT = 20.0  # Hernia's weight in ChestMNIST would be 540: a single image would be a whole batch.


def binary_cross_entropy(labels, logits):
    """Binary cross-entropy summed over labels, for multi-label and binary tasks.

    Args:
        labels: 0 or 1, float, `(batch, num_labels)`.
        logits: Float, `(batch, num_labels)`.

    Returns:
        Losses, `(batch,)`.
    """
    return tf.reduce_sum(tf.nn.softplus(direction(labels) * logits), axis=-1)


def mean_binary_cross_entropy(labels, logits):
    """Binary cross-entropy averaged over labels, as Keras does and training logs it; arguments as above."""
    return binary_cross_entropy(labels, logits) / labels.shape[-1]


def cross_entropy(labels, logits):
    """Softmax cross-entropy for multi-class tasks; arguments as above, `labels` one-hot."""
    return tf.nn.softplus(tf.reduce_logsumexp(_wrong(labels, logits), axis=-1) - _true(labels, logits))


def linear(weights, logits):
    """A direction in the space of logits: `sum(weights * logits)`. Linear, so its gradient never saturates.

    Attacks take `weights` in the place of labels: `direction` makes them for whatever is to be raised or lowered.
    """
    return tf.reduce_sum(weights * logits, axis=-1)


def linear_log_odds(weights, logits):
    """`linear` on the log-odds of each class against the rest, for multi-class tasks: what a softmax ranks by."""
    others = _wrong(np.eye(logits.shape[-1]), tf.expand_dims(logits, -2))
    return linear(weights, logits - tf.reduce_logsumexp(others, axis=-1))


# They take any weights in the place of labels.
WEIGHTED = (linear, linear_log_odds)


def margin(labels, logits):
    """Signed logits: absent labels up, present ones down. The multi-label margin without its cap."""
    return linear(direction(labels), logits)


def class_margin(labels, logits):
    """Margin of the best wrong class over the true one (Carlini and Wagner, 2017, https://arxiv.org/abs/1608.04644)."""
    return tf.reduce_max(_wrong(labels, logits), axis=-1) - _true(labels, logits)


def _true(labels, logits):
    return tf.reduce_sum(labels * logits, axis=-1)


def _wrong(labels, logits):
    return tf.where(labels > 0, tf.cast(-np.inf, logits.dtype), logits)


def hide(labels, logits):
    """High when no finding that is present is seen; what is hidden already counts little."""
    return -tf.reduce_sum(labels * tf.nn.softplus(logits), axis=-1)


@functools.cache
def toward(loss):
    """The targeted form of a loss: high where the logits fit the labels, which are the target."""
    return lambda labels, logits: -loss(labels, logits)


@functools.cache
def of_label(loss, label):
    """A loss of independent labels, of the one with the index `label` alone."""
    alone = slice(label, label + 1)
    return lambda labels, logits: loss(labels[..., alone], logits[..., alone])


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


def presence(labels, label):
    """Weights for `linear` that raise the label with the index `label` where it is absent; as `direction` returns."""
    return np.maximum(direction(labels, label), 0)


def for_training(name, task, labels):
    """The loss of a `--loss`, averaged over labels.

    Args:
        name: `"bce"`, `"weighted"`, `"focal"`, `"asymmetric"` or `"pairwise"`.
        task: The `Splits.task`.
        labels: Labels of the training split, `(count, num_labels)`; the weights come from them.

    Returns:
        Function `loss(labels, logits)` returning a value per image.

    Raises:
        ValueError: If there is no such loss for the task.
    """
    if name not in task.training_losses:
        raise ValueError(f"Expected one of {', '.join(task.training_losses)} for {task} data. Received: {name!r}")
    loss = task.training_loss(name)
    return functools.partial(loss, rarity(task, labels)) if name == "weighted" else loss


def rarity(task, labels):
    """Weights of rare labels, at most `MAX_WEIGHT`.

    Returns:
        Float32, `(num_labels,)`: negatives per positive; if multi-class, what balances the classes, 1 for a class of
        average size. A label without positives has weight 1, as there is nothing to weigh.
    """
    positives = np.asarray(labels, np.int64).sum(axis=0)
    ratios = len(labels) / len(positives) if task.exclusive else len(labels) - positives
    weights = np.divide(ratios, positives, out=np.ones(len(positives)), where=positives > 0)
    return np.minimum(weights, MAX_WEIGHT).astype(np.float32)


def weighted(weights, labels, logits):
    """Binary cross-entropy in which a positive of each label counts `weights` times, averaged over labels."""
    return tf.reduce_mean((labels * weights + 1 - labels) * tf.nn.softplus(direction(labels) * logits), axis=-1)


def class_weighted(weights, labels, logits):
    """Softmax cross-entropy in which an image counts as its class says."""
    return tf.reduce_sum(labels * weights, axis=-1) * cross_entropy(labels, logits)


def focal(labels, logits, *, gamma=2.0, alpha=0.25):
    """Focal loss, averaged over labels: what is classified well already counts little.

    `alpha` is the weight of positives and `1 - alpha` that of negatives, which count less by their easiness.

    Reference: Lin et al., 2017, https://arxiv.org/abs/1708.02002
    """
    against = direction(labels) * logits
    balance = labels * alpha + (1 - labels) * (1 - alpha)
    return tf.reduce_mean(balance * tf.sigmoid(against) ** gamma * tf.nn.softplus(against), axis=-1)


def categorical_focal(labels, logits, *, gamma=2.0):
    """Focal loss of a softmax, without `alpha`, which would be the same for all classes."""
    entropy = cross_entropy(labels, logits)
    return (-tf.math.expm1(-entropy)) ** gamma * entropy


def asymmetric(labels, logits, *, gamma=4.0, margin=0.05):
    """Asymmetric loss, averaged over labels: easy negatives count little, and those below `margin` nothing.

    Positives keep their cross-entropy, as in the paper, whose exponent for them is 0.

    Reference: Ridnik et al., 2021, https://arxiv.org/abs/2009.14119
    """
    probability = tf.where(logits > 0, 1 - tf.sigmoid(-logits), tf.sigmoid(logits))
    shifted = tf.maximum(probability - margin, 0.0)
    negative = -(shifted**gamma) * tf.math.log(1 - shifted)
    return tf.reduce_mean(labels * tf.nn.softplus(-logits) + (1 - labels) * negative, axis=-1)


def pairwise(labels, logits):
    """Half binary cross-entropy, half what an AUC counts: pairs of a positive and a negative in the wrong order.

    The second half is `softplus(negative - positive)` over all pairs of a label in the batch, their mean averaged over
    labels, of which one without pairs counts nothing. It is the same for all images of the batch, and the one loss here
    whose gradient by an image depends on the others; of several devices each pairs the images that it has.

    Reference: Gao and Zhou, 2015, https://arxiv.org/abs/1208.0645, of its logistic surrogate
    """
    pairs = labels[:, None] * (1 - labels[None])
    wrong = tf.reduce_sum(pairs * tf.nn.softplus(logits[None] - logits[:, None]), axis=(0, 1))
    ranking = tf.reduce_mean(wrong / tf.maximum(tf.reduce_sum(pairs, axis=(0, 1)), 1))
    return (mean_binary_cross_entropy(labels, logits) + ranking) / 2
