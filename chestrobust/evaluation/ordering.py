"""Whether the columns of a model's answers are in the order of the labels: in another one, each is scored by others."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata


def gain(labels, scores):
    """How much the macro AUC gains if columns change places, as one half of the images has them, on the other half.

    What fits a half by chance doesn't fit the other: of a model in order there is no gain.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Any monotone function of the probability, as many.

    Returns:
        Gains on either half, float64 `(2,)`; NaN without a label that both halves have and lack.
    """
    halves = [_aucs(labels[half::2], scores[half::2]) for half in range(2)]
    known = ~np.isnan(np.diagonal(halves[0] + halves[1]))
    if not known.any():
        return np.full(2, np.nan)
    # A label that a half can't tell of keeps its column.
    halves = [half[np.ix_(known, known)] for half in halves]
    return np.array([_moved(*pair) for pair in (halves, halves[::-1])])


def _moved(chosen_on, judged_on):
    columns, labels = linear_sum_assignment(chosen_on, maximize=True)
    return judged_on[columns, labels].mean() - np.diagonal(judged_on).mean()


def _aucs(labels, scores):
    """AUC of each column for each label, `(num_labels, num_labels)`; NaN for a label that all or none have."""
    labels = np.asarray(labels, np.float64)
    positives = labels.sum(axis=0)
    above = rankdata(scores, axis=0).T @ labels - positives * (positives + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return above / (positives * (len(labels) - positives))
