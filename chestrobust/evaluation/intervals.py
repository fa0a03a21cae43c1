"""95 % intervals by a formula, of shares and of AUCs, which hold for rare findings too, and corrected p-values.

Resampling can't know what a handful of positives doesn't show: the percentile bootstrap of an AUC holds the truth 50 %
of the time with 2 positives and 84 % with 4. `benchmarks/intervals.py` measures it, and what is used instead.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, t

LEAST = 4  # patients with a finding, and without it: fewer don't show how much their scores spread
PRIOR = 8  # patients that the assumed spread counts as, beside the spread that is found
Z = float(norm.ppf(0.975))
TINY = 1e-9


def share(hits, patients=None):
    """Share of images and its interval by Wilson's formula; of as many images as there are independent ones.

    Args:
        hits: bool, `(count,)`.
        patients: Number of the patient of each, `(count,)`, or None if each image is another patient's. Images of one
            patient are taken for copies of each other, as far as their patients' shares don't show otherwise.

    Returns:
        Share, low and high end; NaN of no image.

    Reference: Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    hits = np.asarray(hits, bool)
    if not len(hits):
        return np.nan, np.nan, np.nan
    value, count = hits.mean(), len(hits)
    if patients is not None and 0 < value < 1:
        # No more than there are, though patients whose images differ by design would vary less than chance.
        count = min(count, value * (1 - value) / _spread(value * (1 - value), (hits - value) / count, patients))
    elif patients is not None:
        count = len(np.unique(patients))
    middle, width = value + Z**2 / (2 * count), Z * np.sqrt(value * (1 - value) / count + Z**2 / (4 * count**2))
    low, high = np.array([middle - width, middle + width]) / (1 + Z**2 / count)
    return float(value), float(np.clip(low, 0, value)), float(np.clip(high, value, 1))


def auc(labels, scores, patients=None):
    """Interval of a label's AUC: Newcombe's method 5, its variance moved toward DeLong's by as much as is known.

    Newcombe's ends are the AUCs from which what was found is `Z` standard errors away, by Hanley and McNeil's formula.
    It holds with few positives, for scores of about equal spread. DeLong's variance is that of any scores, but of few
    positives a poor estimate. So the variance is a mean of both, where the assumed one counts as `PRIOR` patients.

    Args:
        labels: 0 or 1, `(count,)`.
        scores: `(count,)`, finite.
        patients: As in `share`; the variance is then that of sums over patients (Obuchowski).

    Returns:
        Low and high end, or None with fewer than `LEAST` patients with or without the finding.

    References: Newcombe, 2006, https://doi.org/10.1002/sim.2324; DeLong et al., 1988,
    https://doi.org/10.2307/2531595; Obuchowski, 1997, https://doi.org/10.2307/2533958
    """
    labels = np.asarray(labels, bool)
    patients = np.arange(len(labels)) if patients is None else np.asarray(patients)
    positives, negatives = (len(np.unique(patients[chosen])) for chosen in (labels, ~labels))
    if min(positives, negatives) < LEAST:
        return None
    value, found = auc_and_variance(labels, np.asarray(scores), patients)
    assumed = _variance(value, positives, negatives)
    ratio = _mixed(assumed, found, min(positives, negatives)) / assumed if 0 < value < 1 else 1.0
    return score_interval(value, positives, negatives, ratio)


def score_interval(value, positives, negatives, ratio=1.0):
    """Newcombe's method 5, with its variance times a ratio: the AUCs that a value is `Z` standard errors away from."""

    def too_far(end):
        return abs(value - end) - Z * np.sqrt(ratio * _variance(end, positives, negatives))

    # All pairs right, or all wrong: the variance is 0 there.
    low = brentq(too_far, 0, min(value, 1 - TINY)) if value > 0 else 0.0
    high = brentq(too_far, max(value, TINY), 1) if value < 1 else 1.0
    return low, high


def _variance(value, positives, negatives):
    """Of an AUC, by Hanley and McNeil's formula with Newcombe's count in it."""
    count = (positives + negatives) / 2 - 1
    spread = 1 + count * (1 - value) / (2 - value) + count * value / (1 + value)
    return value * (1 - value) * spread / (positives * negatives)


def auc_and_variance(labels, scores, patients):
    """AUC of a label and DeLong's variance of it, of sums over patients; at least two have the finding, and two don't.

    Args:
        labels: bool, `(count,)`; scores and patients as in `auc`.
    """
    positives, negatives = (len(np.unique(patients[chosen])) for chosen in (labels, ~labels))
    present, absent = np.sort(scores[labels]), np.sort(scores[~labels])
    below, above = _rank(absent, scores[labels]), 1 - _rank(present, scores[~labels])
    value, moved = below.mean(), np.empty(len(scores))
    moved[labels] = (below - value) / len(present) * np.sqrt(positives / (positives - 1))
    moved[~labels] = (above - value) / len(absent) * np.sqrt(negatives / (negatives - 1))
    return value, _of_sums(moved, patients)


def _rank(others, scores):
    """Share of the sorted others that are below each score, ties counted half."""
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / (2 * len(others))


def _spread(variance, moved, patients):
    """Variance of a mean: of images that are alike if they are one patient's, moved toward what sums over them show."""
    count = len(np.unique(patients))
    return _mixed(variance / count, _of_sums(moved, patients), count)


def _of_sums(moved, patients):
    _, patient = np.unique(patients, return_inverse=True)
    return float((np.bincount(patient, weights=moved) ** 2).sum())


def _mixed(assumed, found, patients):
    return (PRIOR * assumed + (patients - 1) * found) / (PRIOR + patients - 1)


def is_still(low, high):
    """Whether resamples show no spread: then all of them score what is found, and say nothing of how sure it is."""
    return high - low < TINY


def of_mean(ends):
    """Interval of a mean over labels of which resamples show no spread: the mean of the labels' own ends.

    Where every label is perfect, or none is, percentiles of resamples would claim certainty. A mean spreads no more
    than its labels do on average, and as much if they go together.

    Args:
        ends: Low and high end of each label, or None.

    Returns:
        Low and high end, or None if a label has none.

    Reference: on estimates of 1, Obuchowski and Lieber, 2002, https://doi.org/10.1016/s1076-6332(03)80329-x
    """
    return None if not ends or any(one is None for one in ends) else tuple(map(float, np.mean(ends, axis=0)))


def apart(value, ends, other, other_ends):
    """How far a value minus another may be from what is found, below and above, by the intervals of both.

    As if they were independent: too far where they go together, as scores of the same images mostly do.

    Args:
        value, other: The two values.
        ends, other_ends: Low and high end of each, or None.

    Returns:
        Two lengths, or None without both intervals.

    Reference: Zou and Donner, 2008, https://doi.org/10.1002/sim.3095
    """
    if ends is None or other_ends is None:
        return None
    (low, high), (other_low, other_high) = ends, other_ends
    return float(np.hypot(value - low, other_high - other)), float(np.hypot(high - value, other - other_low))


def average_precision(value, resampled, patients):
    """Interval of a label's average precision: its standard error from resamples, on the scale of log-odds.

    That of a perfect score is Wilson's of so many hits, one for each patient with the finding.

    Args:
        value: Average precision.
        resampled: `(resamples,)`; NaN is ignored.
        patients: Number of patients with the finding.

    Returns:
        Low and high end, or None with fewer than `LEAST` patients, or if resamples show no spread.

    Reference: Boyd et al., 2013, https://doi.org/10.1007/978-3-642-40994-3_29
    """
    if np.isnan(value) or patients < LEAST:
        return None
    if value > 1 - TINY:
        return share(np.ones(patients, bool))[1:]
    error = np.nanstd(logit(np.clip(resampled, 1e-6, 1 - 1e-6)))
    if error < TINY:
        return None
    low, high = expit(logit(np.clip(value, 1e-6, 1 - 1e-6)) + np.array([-Z, Z]) * error)
    return min(float(low), float(value)), max(float(high), float(value))


def difference(value, resampled, patients, still=None):
    """Interval of a difference of two models' scores on the same resamples, and the p-value of there being none.

    By the standard error of the resamples and Student's distribution, as percentiles are too narrow of few positives.

    Args:
        value: The difference.
        resampled: `(resamples,)`; NaN is ignored.
        patients: Number of patients with the finding, or without it if these are fewer.
        still: Half the width of its interval where resamples of neither model show a spread; see `apart`.

    Returns:
        Low end, high end and p, or None with fewer than `LEAST` patients.
    """
    if np.isnan(value) or patients < LEAST:
        return None
    spread = np.nanstd(resampled) if still is None else still / Z
    error = spread * np.sqrt(patients / (patients - 1))
    width = t.ppf(0.975, patients - 1) * error
    p = 2 * t.sf(abs(value) / error, patients - 1) if error > 0 else float(value == 0)
    return max(-1.0, float(value - width)), min(1.0, float(value + width)), float(p)


def holm(p_values):
    """P-values corrected for their number: that any is below 0.05 by chance alone has a probability of 0.05.

    Args:
        p_values: `(count,)`; NaN stays NaN and isn't counted.

    Reference: Holm, 1979, https://www.jstor.org/stable/4615733
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)[: np.sum(~np.isnan(p_values))]
    corrected = np.full(len(p_values), np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return corrected
