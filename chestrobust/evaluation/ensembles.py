"""How a combination of models scores, clean and attacked: what `ensemble.py` computes."""

import dataclasses

import numpy as np
import tensorflow as tf
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from chestrobust import models
from chestrobust.attacks import named
from chestrobust.evaluation import metrics, outcomes, scoring

THROUGH = "end to end"


def judge(subjects, splits, attack, *, pixel_range, weights, resamples):
    """Evaluate members and their combinations.

    Args:
        subjects: Runs and files of the members, as `saved.Saved`.
        splits: The `Splits`. Validation images fit the stacking and choose thresholds; test images are scored.
        attack: Parameters of the PGD by name, see `named.reported_pgd`; of several labels it aims at their AUC.
        pixel_range: The `ranges.Range` of the pixels that files take, or None.
        weights: Of the members, positive; empty for equal ones.
        resamples: Of the intervals.

    Returns:
        What `results.json` holds: `evaluations`, a row for each model and attack, and `thresholds`.

    Raises:
        ModelError: If a member can't be loaded, or is for other images or labels than the data's.
    """
    members = models.opened_all(subjects, splits, pixel_range)
    task, names, everyone = splits.task, list(members), list(members.values())
    pgd = named.at_auc(named.reported_pgd(**attack), task.several)

    def answers(split, attack, source):
        """The logits of all members, `(members, count, num_labels)`, and the largest change of a pixel."""
        found = outcomes.run_on_all(everyone, task, split, attack, source=source, progress=True)
        return np.stack([outcome.logits for outcome in found]), found[0].largest

    val, clean = (answers(split, named.CLEAN, everyone[0])[0] for split in (splits.val, splits.test))
    through = {name: answers(splits.test, pgd, model) for name, model in members.items()}
    combinations = ways(task, weights or [1] * len(members), val, splits.val.labels)
    # The twin knows no combinations, so gradients through one are float32.
    exact = dataclasses.replace(pgd, precision="float32")
    whole = {
        way: answers(splits.test, exact, Combined(everyone, combine))
        for way, combine in combinations.items()
        if way != "vote"
    }
    whole["vote"] = whole["mean of probabilities"]

    evaluations, thresholds = [], {}

    def add(model, combine, attacks):
        before = np.asarray(combine(clean))
        cuts = metrics.best_thresholds(splits.val.labels, task.probabilities(np.asarray(combine(val))))
        if model == "vote":
            cuts = np.full(len(cuts), 0.5 - 10 * NEVER)  # as much weight for yes as for no is enough
        thresholds[model] = splits.by_label(cuts)
        rows = scoring.Scores(splits, before, cuts, {}, resamples=resamples, seed=pgd.seed)
        evaluations.append({"model": model, "through": None, **rows.row(named.CLEAN.record(), [before])})
        for source, (logits, largest) in attacks.items():
            record = {**pgd.record(), "max_perturbation": largest}
            evaluations.append({"model": model, "through": source, **rows.row(record, [np.asarray(combine(logits))])})

    for number, name in enumerate(names):
        add(name, lambda logits, number=number: logits[number], {name: through[name]})
    for way, combine in combinations.items():
        add(way, combine, through | {THROUGH: whole[way]})
    return {"members": names, "evaluations": evaluations, "thresholds": thresholds}


NEVER = 1e-6  # the share of votes that stands for none, as the logit of 0 isn't finite


class Combined:
    """Models and a way to combine them as a callable that returns logits, so that attacks can climb through it.

    Args:
        members: Callables `model(images, training=False)` that return logits.
        combine: A function of this module's kind.
    """

    def __init__(self, members, combine):
        self.members, self.combine = members, combine

    def __call__(self, images, training=False):
        return self.combine(tf.stack([member(images, training=training) for member in self.members]))


def ways(task, weights, val_logits, val_labels):
    """The ways of combining, by name.

    Args:
        task: The `Splits.task`.
        weights: Of the members, positive; they are made to sum to 1.
        val_logits: The members' logits of clean validation images, `(members, count, num_labels)`.
        val_labels: 0 or 1, `(count, num_labels)`.
    """
    weights = np.asarray(weights, np.float32) / np.sum(weights, dtype=np.float32)
    return {
        "vote": vote(task, weights, val_logits, val_labels),
        "mean of probabilities": mean_of_probabilities(task, weights),
        "mean of logits": mean_of_logits(weights),
        "stacking": stacking(task, weights, val_logits, val_labels),
    }


def mean_of_logits(weights):
    """The weighted mean of the members' logits."""
    return lambda logits: tf.tensordot(tf.constant(weights), logits, 1)


def mean_of_probabilities(task, weights):
    """The logits of the weighted mean of the members' probabilities, without leaving the logarithm."""
    shares = tf.math.log(tf.constant(weights))[:, None, None]
    if task.exclusive:
        return lambda logits: tf.reduce_logsumexp(shares + tf.nn.log_softmax(logits), axis=0)

    def combine(logits):
        yes, no = (tf.reduce_logsumexp(shares + tf.math.log_sigmoid(x), axis=0) for x in (logits, -logits))
        return yes - no

    return combine


def vote(task, weights, val_logits, val_labels):
    """The logits of the weighted share of members that say yes, each at its own thresholds; not differentiable.

    Thresholds are those with the best F1 on the validation images. A member of a multi-class task votes for its most
    probable class; ties go to the class with the higher mean probability.
    """
    if task.exclusive:

        def combine(logits):
            chosen = np.eye(logits.shape[-1])[np.argmax(logits, axis=-1)]
            mean = np.tensordot(weights, task.probabilities(logits), 1)
            return np.log(np.tensordot(weights, chosen, 1) + 1e-3 * mean + NEVER).astype(np.float32)

        return combine
    thresholds = np.array([metrics.best_thresholds(val_labels, task.probabilities(logits)) for logits in val_logits])

    def combine(logits):
        chosen = task.probabilities(logits) >= thresholds[:, np.newaxis]
        shares = np.tensordot(weights, chosen.astype(np.float32), 1)
        return logit(np.clip(shares, NEVER, 1 - NEVER)).astype(np.float32)

    return combine


def stacking(task, weights, val_logits, val_labels):
    """Logistic regression on the members' logits, fitted on validation images (Wolpert, 1992).

    Of several labels each is predicted from its own logits, so that few images are enough; a label that is always or
    never present in validation gets the `weights`. Classes are predicted from all logits, or by the `weights` if one
    is missing in validation.
    """
    count = val_labels.shape[1]
    if task.exclusive:
        present = val_labels.any(axis=0).all()
        return _stacked_classes(val_logits, val_labels) if present else mean_of_logits(weights)
    coefficients, offsets = np.tile(weights[:, None], (1, count)), np.zeros(count, np.float32)
    for label in np.flatnonzero(val_labels.min(axis=0) < val_labels.max(axis=0)):
        fit = LogisticRegression(max_iter=1000).fit(np.transpose(val_logits[:, :, label]), val_labels[:, label])
        coefficients[:, label], offsets[label] = fit.coef_[0], fit.intercept_[0]
    return lambda logits: tf.reduce_sum(tf.constant(coefficients)[:, None] * logits, axis=0) + offsets


def _stacked_classes(val_logits, val_labels):
    flat = np.concatenate(list(val_logits), axis=1)
    fit = LogisticRegression(max_iter=1000).fit(flat, val_labels.argmax(axis=1))
    coefficients, offsets = fit.coef_, fit.intercept_
    if len(coefficients) == 1:  # of two classes, the second
        coefficients, offsets = np.vstack([-coefficients, coefficients]) / 2, np.append(-offsets, offsets) / 2
    coefficients, offsets = (tf.constant(array, tf.float32) for array in (coefficients.T, offsets))
    return lambda logits: tf.concat(tf.unstack(tf.convert_to_tensor(logits)), axis=1) @ coefficients + offsets
