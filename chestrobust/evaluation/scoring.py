"""A row of results from logits, as `evaluate.py` and `ensemble.py` write it: scores, intervals, reports and groups."""

import numpy as np

from chestrobust.evaluation import metrics, outcomes
from chestrobust.evaluation.measured import Measured


class Scores:
    """What all rows of a model share.

    Args:
        splits: The `Splits`; the test split is scored.
        clean: Logits of the clean test images, `(count, num_labels)`.
        thresholds: `(num_labels,)`, of probabilities.
        groups: Groups of test images to score besides; see `subgroups.rows`.
        resamples, seed: Of the intervals.
    """

    def __init__(self, splits, clean, thresholds, groups, *, resamples, seed):
        self.splits, self.clean, self.thresholds = splits, clean, thresholds
        self.labels, self.groups = splits.test.labels, groups
        self.resampling = {"resamples": resamples, "seed": seed}
        self.before = {}  # what the clean images score, by whether labels are taken apart

    def row(self, record, candidates, *, per_label=False):
        """Scores and intervals of the worst of several answers, jointly or for each label alone.

        Attacked rows have a `difference`, their scores minus those of the clean images; see `Measured.minus`.
        """
        names, task = self.splits.label_names, self.splits.task
        logits, clean = (self.worst(np.stack(found), per_label) for found in (candidates, [self.clean]))
        task = task.apart() if per_label else task
        reported, before = (task.predicted(answers, self.thresholds) for answers in (logits, clean))
        scores, probabilities = metrics.classification(self.labels, reported), task.probabilities(logits)
        measured = self.measured(task, logits)
        if per_label not in self.before:
            self.before[per_label] = self.measured(task, clean)
        attacked = record["attack"] != "clean"
        classes = {"confusion_matrix": metrics.confusion(self.labels, logits).tolist()} if task.exclusive else {}
        return {
            **record,
            **measured.record(),
            **({"difference": measured.minus(self.before[per_label])} if attacked else {}),
            "f1": {
                "macro": scores["macro_f1"],
                "micro": scores["micro_f1"],
                "per_label": self.splits.by_label(scores["f1"]),
            },
            "precision": {"macro": scores["macro_precision"], "micro": scores["micro_precision"]},
            "recall": {"macro": scores["macro_recall"], "micro": scores["micro_recall"]},
            "confusion": dict(zip(names, scores["confusion"].tolist(), strict=True)),
            **classes,
            "brier": float(metrics.brier(self.labels, probabilities).mean()),
            "calibration_error": float(metrics.calibration_error(self.labels, probabilities).mean()),
            "hidden": float(np.mean((before & ~reported).any(axis=1))),
            "invented": float(np.mean((~before & reported).any(axis=1))),
            "by": {
                attribute: {group: self.measured(task, logits, rows).record() for group, rows in groups.items()}
                for attribute, groups in self.groups.items()
            },
        }

    def worst(self, candidates, per_label):
        """Logits of the worst of several answers, `(num_candidates, count, num_labels)`, as `row` scores them."""
        if per_label:
            return outcomes.floor(self.splits.task, self.labels, candidates)
        return outcomes.joint(self.splits.task, self.labels, candidates, self.clean)

    def measured(self, task, logits, rows=slice(None)):
        """The `Measured` answers of all test images or of some."""
        patients = self.splits.test.patients
        return Measured(
            *(task, self.splits.label_names, self.labels[rows], logits[rows], self.thresholds),
            **self.resampling,
            patients=None if patients is None else patients[rows],
        )

    def predicted(self, logits):
        """Which labels the report names, bool, `(count, num_labels)`."""
        return self.splits.task.predicted(logits, self.thresholds)
