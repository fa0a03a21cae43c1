"""A row of results from logits, as `evaluate.py` and `ensemble.py` write it: scores, intervals, reports and groups."""

import numpy as np

from chestrobust.evaluation import metrics, outcomes

FEW = 10  # images; fewer have no interval


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

    def row(self, record, candidates, *, per_label=False):
        """Scores and intervals of the worst of several answers, jointly or for each label alone."""
        names, task = self.splits.label_names, self.splits.task
        logits, clean = (self.worst(np.stack(found), per_label) for found in (candidates, [self.clean]))
        task = task.apart() if per_label else task
        reported, before = (task.predicted(answers, self.thresholds) for answers in (logits, clean))
        scores, probabilities = metrics.classification(self.labels, reported), task.probabilities(logits)
        classes = {"confusion_matrix": metrics.confusion(self.labels, logits).tolist()} if task.exclusive else {}
        return {
            **record,
            **self.scored(task, logits),
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
                attribute: {group: self.scored(task, logits, rows) for group, rows in groups.items()}
                for attribute, groups in self.groups.items()
            },
        }

    def worst(self, candidates, per_label):
        """Logits of the worst of several answers, `(num_candidates, count, num_labels)`, as `row` scores them."""
        if per_label:
            return outcomes.floor(self.splits.task, self.labels, candidates)
        return outcomes.joint(self.splits.task, self.labels, candidates, self.clean)

    def scored(self, task, logits, rows=slice(None)):
        """Scores with their intervals, of all test images or of some."""
        labels, logits, patients = self.labels[rows], logits[rows], self.splits.test.patients
        resampled = metrics.bootstrap(
            labels,
            task.ranks(logits),
            **self.resampling,
            patients=None if patients is None else patients[rows],
        )
        # Of fewer, resampling repeats the same few outcomes: an interval would look more certain than they are.
        few = len(labels) < FEW
        names, intervals = self.splits.label_names, {}
        for key, values in resampled.items():
            low, high = metrics.interval(values)
            intervals[f"macro_{key}"] = None if few else _pair(metrics.interval(metrics.macro_of(values)))
            intervals[f"per_label_{key}"] = {
                name: None if few else _pair(ends) for name, *ends in zip(names, low, high, strict=True)
            }
        return {"images": len(labels), **metrics.summary(task, names, labels, logits), "intervals": intervals}

    def predicted(self, logits):
        """Which labels the report names, bool, `(count, num_labels)`."""
        return self.splits.task.predicted(logits, self.thresholds)


def _pair(ends):
    return None if np.isnan(ends[0]) else [float(ends[0]), float(ends[1])]
