"""Scores of multi-label, binary and multi-class predictions: numpy in, numbers out."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, roc_auc_score


def probabilities(task, logits):
    """Probabilities of logits, in float64."""
    logits = np.asarray(logits, np.float64)
    return softmax(logits, axis=-1) if task == "multi-class" else expit(logits)


def ranks(task, logits):
    """What an AUC is computed from: logits where they rank as the probabilities do.

    A sigmoid turns large logits into ties, and ties change an AUC; a softmax ranks images otherwise than its logits.
    """
    return probabilities(task, logits) if task == "multi-class" else np.asarray(logits)


def per_label(score, labels, scores):
    """`score(labels, scores)` of each column; NaN where a column lacks positives or negatives.

    Args:
        score: For example `sklearn.metrics.roc_auc_score`.
        labels: 0 or 1, `(count, num_labels)`.
        scores: Any monotone function of the probability, `(count, num_labels)`.

    Returns:
        Float64, `(num_labels,)`.
    """
    defined = labels.min(axis=0) < labels.max(axis=0)
    return np.array([score(y, s) if ok else np.nan for y, s, ok in zip(labels.T, scores.T, defined, strict=True)])


def auc(labels, scores):
    """Area under the ROC curve of each label, exact; see `per_label`."""
    return per_label(roc_auc_score, labels, scores)


def average_precision(labels, scores):
    """Average precision of each label; see `per_label`."""
    return per_label(average_precision_score, labels, scores)


def macro(values):
    """Mean over the defined labels, or NaN if there is none. An undefined label is left out, never counted as 0.5."""
    values = np.asarray(values)
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def accuracy(task, labels, scores):
    """MedMNIST's accuracy: at threshold 0.5, averaged over labels; of the most probable class if multi-class."""
    if task == "multi-class":
        return float(np.mean(labels.argmax(axis=1) == scores.argmax(axis=1)))
    return float(np.mean((scores > 0.5) == labels))


def summary(task, label_names, labels, logits):
    """The scores that `results.json` holds for one evaluation; undefined values are None."""
    scores = probabilities(task, logits)
    order = ranks(task, logits)
    aucs, precisions = auc(labels, order), average_precision(labels, order)
    return {
        "macro_auc": _number(macro(aucs)),
        "macro_ap": _number(macro(precisions)),
        "accuracy": accuracy(task, labels, scores),
        "per_label_auc": {name: _number(value) for name, value in zip(label_names, aucs, strict=True)},
        "per_label_ap": {name: _number(value) for name, value in zip(label_names, precisions, strict=True)},
        "undefined_labels": [name for name, value in zip(label_names, aucs, strict=True) if np.isnan(value)],
    }


def _number(value):
    return None if np.isnan(value) else float(value)
