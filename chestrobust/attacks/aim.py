"""What attacks on the macro AUC of a split climb: the weight of each image and label in it.

The AUC of a label stays the same when a constant is added to its logits or a positive factor multiplies them. A
cross-entropy doesn't, so that an attack by it spends itself on the labels whose logits happen to lie where it is steep,
and a model trained with another loss looks robust. What follows is as blind to shift and factor as the AUC is.

References: Hu et al. (AdAUC), 2022, https://arxiv.org/abs/2206.12169; Song et al., 2019, https://arxiv.org/abs/1901.00546
"""

import numpy as np
import tensorflow as tf

from chestrobust import losses

# Of the scores' spread: 0.1 finds lower AUCs than 0.3 or 1 do (benchmarks/aimed.py), and a step would have no gradient.
TEMPERATURE = 0.1
REFERENCES = 256  # quantiles that stand for the scores of more images, to keep a step's cost off the size of the split


def by_margin(labels, scores):
    """What an attack takes in the place of labels, and its loss: the logits, linear, with their `weights`."""
    return weights(labels, scores), losses.linear


def by_pairs(labels, scores):
    """What an attack takes in the place of labels, and its loss: pairs with the other class in the wrong order."""
    return labels, Pairs(labels, scores)


def weights(labels, scores):
    """How much an image's logits count: what they can change of a macro AUC, to first order.

    Args:
        labels: 0 or 1, `(count, num_labels)`, of a whole split.
        scores: The model's logits of the clean split, as many, whose spread is the unit of each label.

    Returns:
        Float32, as many: positive where a logit is to rise, 0 for labels that all or none of the images have, unless
        there are no others.
    """
    positives = np.sum(labels, axis=0, dtype=np.float64)
    negatives, spread = len(labels) - positives, np.std(scores, axis=0, dtype=np.float64)
    defined = (positives > 0) & (negatives > 0)
    count = np.maximum(np.where(labels == 1, positives, negatives), 1)
    unit = np.where(spread > 0, spread, 1) * np.where(defined, 1, 0 if defined.any() else 1)
    return np.divide(
        np.where(labels == 1, -1, 1) * len(labels), count * unit, out=np.zeros(count.shape), where=unit > 0
    ).astype(np.float32)


class Pairs:
    """The loss of an image: of its pairs with images of the other class, how many are in the wrong order, smoothly.

    Args:
        labels: 0 or 1, `(count, num_labels)`, of a whole split.
        scores: The model's logits of the split, as many: what the other images answer, best under attack too.
        temperature: Of the sigmoids, in units of the spread of a label's scores.
    """

    def __init__(self, labels, scores, temperature=TEMPERATURE):
        spread = np.std(scores, axis=0, dtype=np.float64)
        self.scale = np.where(spread > 0, temperature * spread, 1).astype(np.float32)
        # By label, (num_labels, REFERENCES at most): scores, and how much a pair with one of them counts.
        self.positives, self.negatives = _references(labels == 1, scores), _references(labels == 0, scores)

    def __call__(self, labels, logits):
        present = labels[..., tf.newaxis] > 0
        others, shares = (tf.where(present, *both) for both in zip(self.negatives, self.positives, strict=True))
        past = losses.direction(labels)[..., tf.newaxis] * (logits[..., tf.newaxis] - others)
        return tf.reduce_sum(shares * tf.sigmoid(past / self.scale[:, np.newaxis]), axis=(-2, -1))


def _references(chosen, scores):
    """Scores of the chosen images of each label, thinned to quantiles, and the share of the label's pairs per image."""
    counts, size = chosen.sum(axis=0), min(REFERENCES, len(chosen))
    values, shares = np.zeros((2, len(counts), size), np.float32)
    for label, count in enumerate(counts):
        if 0 < count < len(chosen):
            kept = min(size, count)
            values[label, :kept] = np.quantile(
                scores[chosen[:, label], label], (np.arange(kept) + 0.5) / kept, method="hazen"
            )
            # One image of the other class, of which there are the rest.
            shares[label, :kept] = len(chosen) / (kept * (len(chosen) - count))
    return values, shares


def wrong_pairs(labels, scores, answers):
    """As `Pairs`, exactly and for several answers: how much of the AUCs an image takes away with each of them.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Logits, as many: what the other images answer.
        answers: Logits, `(num_answers, count, num_labels)`.

    Returns:
        Float64, `(num_answers, count)`: the share of wrong pairs, ties half, summed over labels; 0 for labels that all
        or none of the images have.
    """
    harm = np.zeros(answers.shape[:2])
    for label in range(labels.shape[1]):
        positive = labels[:, label] == 1
        for own, sign in ((positive, -1), (~positive, 1)):
            others = np.sort(sign * scores[~own, label])
            mine = sign * answers[:, own, label]
            below, up_to = (np.searchsorted(others, mine, side) for side in ("left", "right"))
            harm[:, own] += (below + up_to) / max(1, 2 * own.sum() * len(others))
    return harm
