"""How far answers lie apart from others, by the Kullback-Leibler divergence of their probabilities."""

import tensorflow as tf


def bernoulli(logits, others):
    """Of independent labels: the divergence of each, averaged over labels.

    Args:
        logits, others: `(batch, num_labels)`; expectations are those of `logits`.

    Returns:
        Values, `(batch,)`; 0 where answers are the same.
    """
    probabilities = tf.sigmoid(logits)
    yes = tf.math.log_sigmoid(logits) - tf.math.log_sigmoid(others)
    no = tf.math.log_sigmoid(-logits) - tf.math.log_sigmoid(-others)
    return tf.reduce_mean(probabilities * yes + (1 - probabilities) * no, axis=-1)


def categorical(logits, others):
    """Of classes; arguments and result as in `bernoulli`."""
    ratios = tf.nn.log_softmax(logits) - tf.nn.log_softmax(others)
    return tf.reduce_sum(tf.nn.softmax(logits) * ratios, axis=-1)
