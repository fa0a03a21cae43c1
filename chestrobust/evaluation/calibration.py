"""How well probabilities agree with how often labels are present."""

import numpy as np


def brier(labels, scores):
    """Brier score of each label, `(num_labels,)`: mean squared error of its probabilities, 0 (best) to 1."""
    return np.mean((_checked(scores) - labels) ** 2, axis=0)


def error(labels, scores, bins=15):
    """Expected calibration error (ECE) of each label.

    Probabilities of a label fall into equal-width bins `(i / bins, (i + 1) / bins]`, 0 into the first. ECE is the mean
    over the bins of |frequency of positives - mean probability|, weighted by the share of images in the bin. This is
    the calibration of each label's probability, as in Naeini et al., not of the most probable class, as in Guo et al.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Probabilities, `(count, num_labels)`.
        bins: Number of bins.

    Returns:
        Float64, `(num_labels,)`, 0 (best) to 1.

    References: Naeini et al., 2015, https://doi.org/10.1609/aaai.v29i1.9602;
    Guo et al., 2017, https://arxiv.org/abs/1706.04599
    """
    scores = _checked(scores)
    index = np.digitize(scores, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    # Share times difference of means is the difference of sums over the count, which empty bins do not disturb.
    gaps = [np.abs(np.bincount(i, weights=gap)).sum() for i, gap in zip(index.T, (scores - labels).T, strict=True)]
    return np.array(gaps) / len(scores)


def reliability(labels, scores, bins=10):
    """How often labels are present whose probability lies in each of equally wide bins, all labels together.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Probabilities, `(count, num_labels)`.
        bins: Number of bins `(i / bins, (i + 1) / bins]`; 0 falls into the first.

    Returns:
        Mean probability and frequency of positives, float64 `(bins,)`, NaN where a bin is empty; and the counts, int64.
    """
    scores, labels = _checked(scores).ravel(), np.asarray(labels, np.float64).ravel()
    index = np.digitize(scores, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        means, frequencies = (np.bincount(index, values, bins) / counts for values in (scores, labels))
    return means, frequencies, counts


def _checked(scores):
    scores = np.asarray(scores, np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"`scores` must be probabilities in [0, 1]. Received: scores={scores}")
    return scores
