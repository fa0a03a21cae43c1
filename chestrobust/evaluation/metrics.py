"""Scores of multi-label, binary and multi-class predictions: numpy in, numbers out."""

import warnings

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, confusion_matrix
from sklearn.utils import assert_all_finite

from chestrobust.config import RESAMPLES

TOGETHER = 1 << 14  # weights of images that are worked on at once, which the processor's cache holds
F1_GRID = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40)


def auc(labels, scores):
    """Area under the ROC curve of each label, exact: the share of its pairs that are in order, ties counted half.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Any monotone function of the probability, `(count, num_labels)`.

    Returns:
        Float64, `(num_labels,)`; NaN where a column lacks positives or negatives.

    Raises:
        ValueError: If a score of another column isn't finite.
    """
    labels, defined = np.asarray(labels, bool), _defined(labels)
    assert_all_finite(scores[:, defined])
    positives = labels.sum(axis=0)
    # All labels' ranks at once: the suite asks thousands of times, and scikit-learn's checks take milliseconds each.
    above = (rankdata(scores, axis=0) * labels).sum(axis=0) - positives * (positives + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.where(defined, above / (positives * (len(labels) - positives)), np.nan)


def average_precision(labels, scores):
    """Average precision of each label; arguments and result as of `auc`."""
    columns = zip(labels.T, scores.T, _defined(labels), strict=True)
    return np.array([average_precision_score(y, s) if defined else np.nan for y, s, defined in columns])


def macro(values):
    """Mean over the defined labels, or NaN if there is none. An undefined label is left out, never counted as 0.5."""
    values = np.asarray(values)
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def number(value):
    """A score as results hold it: None if undefined."""
    return None if np.isnan(value) else float(value)


def accuracy(task, labels, scores):
    """MedMNIST's accuracy: at threshold 0.5, averaged over labels; of the most probable class if multi-class."""
    if task.exclusive:
        return float(np.mean(labels.argmax(axis=1) == scores.argmax(axis=1)))
    return float(np.mean((scores > 0.5) == labels))


def summary(task, label_names, labels, logits):
    """The scores that `results.json` holds for one evaluation; undefined values are None."""
    scores, order = task.probabilities(logits), task.ranks(logits)
    aucs, precisions = auc(labels, order), average_precision(labels, order)
    return {
        "macro_auc": number(macro(aucs)),
        "macro_ap": number(macro(precisions)),
        "accuracy": accuracy(task, labels, scores),
        "per_label_auc": {name: number(value) for name, value in zip(label_names, aucs, strict=True)},
        "per_label_ap": {name: number(value) for name, value in zip(label_names, precisions, strict=True)},
        "undefined_labels": [name for name, value in zip(label_names, aucs, strict=True) if np.isnan(value)],
    }


def best_thresholds(labels, scores):
    """Threshold with the best F1 of each label, exact: every score is tried as a cut, positive is `score >= threshold`.

    Choose on clean validation data, then pass on to `classification` as `scores >= thresholds`.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Probabilities, `(count, num_labels)`.

    Returns:
        Float64, `(num_labels,)`: the highest of equally good thresholds; 0.5 where a label lacks positives or
        negatives.
    """
    assert_all_finite(scores)
    columns = zip(labels.T, scores.T, _defined(labels), strict=True)
    return np.array([_best_threshold(y, s) if defined else 0.5 for y, s, defined in columns], np.float64)


def _best_threshold(labels, scores):
    cuts, index = np.unique(scores, return_inverse=True)
    # From the highest cut down. Whole counts, so that equal F1 are equal floats and ties are really ties.
    predicted = np.cumsum(np.bincount(index)[::-1])
    hits = np.cumsum(np.bincount(index, weights=labels)[::-1])
    return cuts[::-1][np.argmax(2 * hits / (predicted + hits[-1]))]


def grid_thresholds(labels, scores, grid=F1_GRID):
    """As `best_thresholds`, but only the thresholds in `grid` are tried."""
    assert_all_finite(scores)
    grid = np.sort(np.asarray(grid, np.float64))[::-1]
    f1 = [classification(labels, scores >= threshold)["f1"] for threshold in grid]
    return np.where(_defined(labels), grid[np.argmax(f1, axis=0)], 0.5)


def classification(labels, predictions):
    """Precision, recall and F1 of yes-or-no predictions.

    A score that would divide by zero is 0 and counts in the macro average, as with scikit-learn's `zero_division=0`.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        predictions: Likewise, e.g. `scores >= thresholds`; one-hot if multi-class.

    Returns:
        Dict of `"precision"`, `"recall"` and `"f1"`, each float64 `(num_labels,)`; the floats `"macro_precision"`,
        `"micro_precision"` and so on; and `"confusion"`, int64 `(num_labels, 2, 2)`, `[[TN, FP], [FN, TP]]` per label.

    Raises:
        ValueError: If `predictions` are not 0 or 1.
    """
    if not np.isin(predictions, (0, 1)).all():
        raise ValueError(f"`predictions` must be 0 or 1; apply thresholds first. Received: predictions={predictions}")
    labels, predictions = np.asarray(labels, bool), np.asarray(predictions, bool)
    # Not multilabel_confusion_matrix, which takes a single column for two classes.
    tp, fp, fn = (cell.sum(axis=0) for cell in (labels & predictions, ~labels & predictions, labels & ~predictions))
    tn = len(labels) - tp - fp - fn
    result = {"confusion": np.stack((tn, fp, fn, tp), axis=1).reshape(-1, 2, 2)}
    ratios = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
    for name, (hits, total) in ratios.items():
        result[name] = hits / np.maximum(total, 1)
        result[f"macro_{name}"] = float(result[name].mean())
        result[f"micro_{name}"] = float(hits.sum() / max(total.sum(), 1))
    return result


def shares(labels, reported):
    """Sensitivity and specificity of each label, NaN without images of it, float64 `(num_labels,)` each.

    Args:
        labels, reported: 0 or 1, `(count, num_labels)`.
    """
    present, reported = np.asarray(labels, bool), np.asarray(reported, bool)
    with np.errstate(invalid="ignore"):
        seen = (present & reported).sum(axis=0) / present.sum(axis=0)
        return seen, (~present & ~reported).sum(axis=0) / (~present).sum(axis=0)


def confusion(labels, scores):
    """Confusion matrix of a multi-class task, `(num_classes, num_classes)`: true class down, most probable across."""
    return confusion_matrix(labels.argmax(axis=1), scores.argmax(axis=1), labels=np.arange(labels.shape[1]))


def bootstrap(labels, scores, *, resamples=RESAMPLES, seed=0, patients=None):
    """AUC and average precision of each label on data resampled with replacement.

    Same seed, number of images and patients mean the same resamples, whatever the scores, so models compare in pairs.

    Args:
        labels: 0 or 1, `(count, num_labels)`.
        scores: Any monotone function of the probability, `(count, num_labels)`.
        resamples: Number of resamples.
        seed: Seed of the resampling.
        patients: Who each image is of, `(count,)`. Whole patients are then resampled (cluster bootstrap), because
            images of one patient are alike, and intervals that take them for independent are too narrow.

    Returns:
        Dict of `"auc"` and `"ap"`, each float64 `(resamples, num_labels)`; NaN where a resample leaves a label
        without positives or negatives.

    Raises:
        ValueError: If `scores` are not finite, or `patients` not one per image.
    """
    assert_all_finite(scores)
    columns = [_Column(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    values = [
        np.stack([column.auc_and_ap(together) for column in columns], axis=-1)
        for together in drawn(len(labels), resamples, seed, patients)
    ]
    auc_and_ap = np.concatenate(values, axis=1)
    return {"auc": auc_and_ap[0], "ap": auc_and_ap[1]}


def mean_interval(values, *, resamples=RESAMPLES, seed=0, patients=None):
    """Mean of values per image and its 95% interval; values that are NaN are left out. See `bootstrap`.

    Args:
        values: `(count,)`.

    Returns:
        Mean, low and high end; NaN if no value is defined.
    """
    values, defined = np.nan_to_num(values), ~np.isnan(values)
    weights = np.concatenate(list(drawn(len(values), resamples, seed, patients)))
    with np.errstate(invalid="ignore"):
        mean, resampled = values.sum() / defined.sum(), (weights @ values) / (weights @ defined)
    return float(mean), *map(float, interval(resampled))


def drawn(count, resamples, seed, patients, together=TOGETHER):
    """How often each image is drawn in each resample, some at a time, `(some, count)`; see `bootstrap`."""
    patients = range(count) if patients is None else patients
    if len(patients) != count:
        raise ValueError(f"`patients` must name one per image, {count}. Received: {len(patients)}")
    numbers = {}
    patient = np.array([numbers.setdefault(name, len(numbers)) for name in patients])
    rng = np.random.default_rng(seed)
    size = max(1, together // count)
    for begin in range(0, resamples, size):
        chosen = (rng.integers(len(numbers), size=len(numbers)) for _ in range(begin, min(begin + size, resamples)))
        yield np.stack([np.bincount(those, minlength=len(numbers))[patient] for those in chosen])


class _Column:
    """One label, sorted by score once, so that a resample only takes sums over its images' weights."""

    def __init__(self, labels, scores):
        order = np.argsort(scores)
        positive = np.asarray(labels, bool)[order]
        self.positives, self.negatives = order[positive], order[~positive]
        scores, negatives = scores[self.positives], scores[self.negatives]
        # Of each positive: how many negatives score less, how many no more, and how many positives score less.
        self.below, self.up_to = (np.searchsorted(negatives, scores, side) for side in ("left", "right"))
        self.rank = np.searchsorted(scores, scores)

    def auc_and_ap(self, weights):
        """AUC (ties count half) and average precision, exact, where image i occurs `weights[:, i]` times.

        Returns:
            Float64, `(2, resamples)`.
        """
        positives = weights[:, self.positives]
        negative_sums, positive_sums = _sums(weights[:, self.negatives]), _sums(positives)
        num_negatives, num_positives = negative_sums[:, -1:], positive_sums[:, -1:]
        wins = negative_sums[:, self.below] + negative_sums[:, self.up_to]
        # With the threshold at each positive's own score.
        hits = num_positives - positive_sums[:, self.rank]
        false_alarms = num_negatives - negative_sums[:, self.below]
        # The maximum only matters above the highest image that was drawn, where weights are 0.
        precision = hits / np.maximum(hits + false_alarms, 1)
        pairs = (2 * num_negatives * num_positives)[:, 0]
        auc = (positives * wins).sum(axis=1) / np.maximum(pairs, 1)
        ap = (positives * precision).sum(axis=1) / np.maximum(num_positives[:, 0], 1)
        return np.where(pairs > 0, (auc, ap), np.nan)


def _sums(weights):
    """Sums of the first 0, 1, 2 ... weights of each row."""
    return np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0)))


def macro_of(resampled):
    """`macro` of each resample, `(resamples,)`, from values `(resamples, num_labels)`."""
    return np.array([macro(values) for values in resampled])


def interval(values, confidence=0.95):
    """Percentile interval of resampled values.

    Args:
        values: `(resamples,)` or `(resamples, num_labels)`; NaN is ignored.
        confidence: Probability inside, 0 to 1.

    Returns:
        Low and high end: floats, or arrays `(num_labels,)`; NaN where no value is defined.
    """
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, about a label that is NaN in every resample.
        low, high = np.nanquantile(values, (tail, 1 - tail), axis=0)
    return low, high


def paired_difference(labels, scores_a, scores_b, *, resamples=RESAMPLES, seed=0, patients=None):
    """How much better model b is than model a, with 95% intervals of both on the same resamples; see `bootstrap`.

    Returns:
        Dict of `"macro_auc"` and `"macro_ap"`, each a dict of floats: `"difference"` (b minus a, on the data as they
        are), `"low"` and `"high"`. NaN if no label is defined.
    """
    a, b = (
        bootstrap(labels, scores, resamples=resamples, seed=seed, patients=patients) for scores in (scores_a, scores_b)
    )
    result = {}
    for name, score in (("auc", auc), ("ap", average_precision)):
        difference, low, high = macro_difference(score(labels, scores_b), score(labels, scores_a), b[name], a[name])
        result[f"macro_{name}"] = {"difference": difference, "low": float(low), "high": float(high)}
    return result


def macro_difference(values, others, resampled, others_resampled):
    """How much the mean over labels of one model's scores is above another's, with its 95% interval.

    Args:
        values, others: `(num_labels,)`, NaN where a label has no score.
        resampled, others_resampled: Likewise on the same resamples, `(resamples, num_labels)`.

    Returns:
        Difference, low end, high end.
    """
    low, high = interval(macro_of(resampled) - macro_of(others_resampled))
    return macro(values) - macro(others), low, high


def _defined(labels):
    """Which labels have both positives and negatives, `(num_labels,)`."""
    return labels.min(axis=0) < labels.max(axis=0)
