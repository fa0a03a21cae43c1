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
        pairing: Gets each row with its `Measured` answers; a `comparison.Pairing`, or None.
    """

    def __init__(self, splits, clean, thresholds, groups, *, resamples, seed, pairing=None):
        self.splits, self.clean, self.thresholds = splits, clean, thresholds
        self.labels, self.groups = splits.test.labels, groups
        self.resampling = {"resamples": resamples, "seed": seed}
        self.pairing = pairing
        self.before = {}  # what the clean images score, by whether labels are taken apart

    def row(self, record, candidates, *, per_label=False, kept=()):
        """Scores and intervals of the worst of several answers, jointly or for each label alone.

        Attacked rows have a `difference`, their scores minus those of the clean images; see `Measured.minus`. With the
        answers to the images as a file of 8 bits holds them, `kept`, a row has macro scores of these too, `stored`.
        """
        names, clean = self.splits.label_names, self.predicted(self.clean)
        task = self.splits.task.apart() if per_label else self.splits.task
        logits, reported = self._worst(candidates, per_label)
        scores = metrics.classification(self.labels, reported)
        measured = self.measured(task, logits, reported)
        if self.pairing is not None:
            self.pairing.add(record, measured)
        if per_label not in self.before:
            self.before[per_label] = self.measured(task, *self._worst([self.clean], per_label))
        attacked = record["attack"] != "clean"
        return {
            **record,
            **measured.record(),
            **({"difference": measured.minus(self.before[per_label])} if attacked else {}),
            **({"stored": self._stored(task, *self._worst(kept, per_label))} if len(kept) else {}),
            "f1": {
                "macro": scores["macro_f1"],
                "micro": scores["micro_f1"],
                "per_label": self.splits.by_label(scores["f1"]),
            },
            "precision": {"macro": scores["macro_precision"], "micro": scores["micro_precision"]},
            "recall": {"macro": scores["macro_recall"], "micro": scores["micro_recall"]},
            "confusion": dict(zip(names, scores["confusion"].tolist(), strict=True)),
            **(self._of_classes(logits, reported, per_label) if self.splits.task.exclusive else {}),
            "hidden": float(np.mean((clean & ~reported).any(axis=1))),
            "invented": float(np.mean((~clean & reported).any(axis=1))),
            "by": {
                attribute: {
                    group: self.measured(task, logits, reported, rows).record() for group, rows in groups.items()
                }
                for attribute, groups in self.groups.items()
            },
        }

    def _of_classes(self, logits, reported, per_label):
        if not per_label:
            return {"confusion_matrix": metrics.confusion(self.labels, logits).tolist()}
        # Right are images whose own class is named whatever was found.
        return {"accuracy": float((np.asarray(self.labels, bool) & reported).any(axis=1).mean())}

    def _stored(self, task, logits, reported):
        scores = [metrics.auc(self.labels, task.ranks(logits)), *metrics.shares(self.labels, reported)]
        names = ("macro_auc", "macro_sensitivity", "macro_specificity")
        return {name: metrics.number(metrics.macro(values)) for name, values in zip(names, scores, strict=True)}

    def worst(self, candidates, per_label):
        """Logits of the worst of several answers, `(num_candidates, count, num_labels)`, as `row` scores them."""
        if per_label:
            return outcomes.floor(self.splits.task, self.labels, candidates)
        return outcomes.joint(self.splits.task, self.labels, candidates, self.clean)

    def _worst(self, candidates, per_label):
        """The worst logits of several answers, and the report; taken apart, each label's is wrong if any answer's is.

        A report of classes names the likeliest. It doesn't follow from the worst of each class, which may be all low.
        """
        logits = self.worst(np.stack(candidates), per_label)
        if not per_label:
            return logits, self.predicted(logits)
        reports = np.stack([self.predicted(answers) for answers in candidates])
        return logits, np.where(self.labels == 1, reports.all(axis=0), reports.any(axis=0))

    def measured(self, task, logits, reported, rows=slice(None)):
        """The `Measured` answers and reports of all test images or of some."""
        patients = self.splits.test.patients
        return Measured(
            *(task, self.splits.label_names, self.labels[rows], logits[rows]),
            **self.resampling,
            reported=reported[rows],
            patients=None if patients is None else patients[rows],
        )

    def predicted(self, logits):
        """Which labels the report names, bool, `(count, num_labels)`."""
        return self.splits.task.predicted(logits, self.thresholds)
