"""Scores of one set of answers with 95 % intervals, and how much they differ from another's on the same resamples.

Beside every AUC stand sensitivity and specificity at fixed thresholds: an AUC is blind to what moves all images alike.

Scores of a label have intervals by formula, as of few positives resamples know too little; their means over labels have
percentiles of resamples, of whole patients where these are known. Differences are paired: both sets of answers are
scored on the same resamples.
"""

from dataclasses import dataclass

import numpy as np

from chestrobust.config import RESAMPLES
from chestrobust.evaluation import calibration, intervals, metrics
from chestrobust.evaluation.metrics import number

SCORES = ("auc", "ap", "sensitivity", "specificity")
FEW = 10  # images; fewer have no interval


@dataclass(frozen=True)
class Kept:
    """As much of a `Measured` as another one's scores are paired with; its attributes of these names."""

    values: dict[str, np.ndarray]
    resampled: dict[str, np.ndarray]


class Measured:
    """What a model answered to some images, scored.

    Args:
        task: The `Task` that ranks and decides.
        label_names: One for each label.
        labels: 0 or 1, `(count, num_labels)`.
        logits: `(count, num_labels)`.
        thresholds: Of probabilities, `(num_labels,)` or one for all; fixed on clean validation images.
        reported: Which labels the reports name, bool `(count, num_labels)`, if that isn't what follows from these.
        drawing: `resamples`, `seed` and `patients`, as in `metrics.bootstrap`.

    Attributes:
        values: By the names in `SCORES`, float64 `(num_labels,)`; NaN where a label has no such score.
        resampled: Likewise, `(resamples, num_labels)`.
    """

    def __init__(self, task, label_names, labels, logits, thresholds=0.5, *, reported=None, **drawing):
        drawing = {"resamples": RESAMPLES, "seed": 0, "patients": None, **drawing}
        self.task, self.names, self.logits = task, label_names, logits
        self.labels, self.patients = np.asarray(labels, bool), drawing["patients"]
        self.ranks = task.ranks(logits)
        self.reported = task.predicted(logits, thresholds) if reported is None else reported
        self.resampled = metrics.bootstrap(labels, self.ranks, **drawing) | resampled_shares(
            self.labels, self.reported, **drawing
        )
        self.shares = {
            "sensitivity": self._shares(self.labels, self.reported),
            "specificity": self._shares(~self.labels, ~self.reported),
        }
        self.values = {
            "auc": metrics.auc(labels, self.ranks),
            "ap": metrics.average_precision(labels, self.ranks),
            **{name: found[:, 0] for name, found in self.shares.items()},
        }

    def _shares(self, among, hits):
        """Share of hits among the images of each label, low and high end, `(num_labels, 3)`."""
        of_label = []
        for label in range(among.shape[1]):
            chosen = among[:, label]
            patients = None if self.patients is None else np.asarray(self.patients)[chosen]
            of_label.append(intervals.share(hits[chosen, label], patients))
        return np.array(of_label)

    def record(self):
        """What results hold of it: `macro_SCORE`, `per_label_SCORE` and `intervals`, each for `auc` (ROC), `ap`
        (average precision), `sensitivity` and `specificity`; what is undefined is None. Of `brier` and
        `calibration_error` (ECE) the means over labels, and `per_label_` too.
        """
        shares = {}
        for name in ("sensitivity", "specificity"):
            shares[f"macro_{name}"] = number(metrics.macro(self.values[name]))
            shares[f"per_label_{name}"] = dict(zip(self.names, map(number, self.values[name]), strict=True))
        probabilities, calibrated = self.task.probabilities(self.logits), {}
        for name, score in (("brier", calibration.brier), ("calibration_error", calibration.error)):
            found = score(self.labels, probabilities)
            calibrated[name] = float(found.mean())
            calibrated[f"per_label_{name}"] = dict(zip(self.names, map(float, found), strict=True))
        return {
            "images": len(self.labels),
            **metrics.summary(self.task, self.names, np.asarray(self.labels, np.uint8), self.logits),
            **shares,
            **calibrated,
            "intervals": self._intervals(),
        }

    def _intervals(self):
        # Of fewer, resampling repeats the same few outcomes: an interval would look more certain than they are.
        few, found = len(self.labels) < FEW, {}
        for name in SCORES:
            ends = metrics.interval(metrics.macro_of(self.resampled[name]))
            found[f"macro_{name}"] = None if few else pair(ends)
            found[f"per_label_{name}"] = {
                label: None if few else pair(self._of_label(name, number)) for number, label in enumerate(self.names)
            }
        return found

    def _of_label(self, name, label):
        """Interval of a label's score, or None."""
        if name in self.shares:
            return self.shares[name][label, 1:]
        labels = self.labels[:, label]
        if name == "auc":
            return intervals.auc(labels, self.ranks[:, label], self.patients)
        return intervals.average_precision(
            self.values[name][label], self.resampled[name][:, label], self._patients(labels)
        )

    def _patients(self, chosen):
        """Number of patients among the chosen images."""
        return int(chosen.sum()) if self.patients is None else len(np.unique(np.asarray(self.patients)[chosen]))

    def kept(self):
        """What `minus` needs of it, without the answers."""
        return Kept(self.values, self.resampled)

    def minus(self, other):
        """How much its scores are above another's of the same images, each at its own thresholds.

        Args:
            other: A `Measured`, or what was `kept` of it, on the same labels and resamples.

        Returns:
            Dictionary of `macro_SCORE`, each a dictionary of `difference`, `low` and `high`; and `per_label_auc`, by
            label that, `p` of there being no difference, and `p_holm`, corrected for the number of labels. None where
            there is none.
        """
        few, found = len(self.labels) < FEW, {}
        for name in SCORES:
            both = ((one.values[name], one.resampled[name]) for one in (self, other))
            (values, others), resampled = zip(*both, strict=True)
            difference, *ends = metrics.macro_difference(values, others, *resampled)
            found[f"macro_{name}"] = _difference(difference, *([np.nan, np.nan] if few else ends))
        return found | {"per_label_auc": dict(zip(self.names, self._of_labels(other, few), strict=True))}

    def _of_labels(self, other, few):
        values, resampled = (
            mine - theirs
            for mine, theirs in (
                (self.values["auc"], other.values["auc"]),
                (self.resampled["auc"], other.resampled["auc"]),
            )
        )
        rows = []
        for label, value in enumerate(values):
            present = self.labels[:, label]
            patients = min(self._patients(present), self._patients(~present))
            ends = None if few else intervals.difference(value, resampled[:, label], patients)
            rows.append((np.nan, np.nan, np.nan) if ends is None else ends)
        corrected = intervals.holm([p for *_, p in rows])
        return [
            None if np.isnan(value) else {**_difference(value, low, high), "p": number(p), "p_holm": number(together)}
            for value, (low, high, p), together in zip(values, rows, corrected, strict=True)
        ]


def resampled_shares(labels, reported, *, resamples, seed, patients):
    """Sensitivity and specificity of each label on the resamples of `metrics.bootstrap`, `(resamples, num_labels)`.

    Args:
        labels, reported: bool, `(count, num_labels)`.
    """
    cells = np.concatenate([labels & reported, labels, ~labels & ~reported, ~labels], axis=1).astype(np.float32)
    # Sums of whole numbers below 2 ** 24 are exact in float32.
    weights = metrics.drawn(len(labels), resamples, seed, patients, together=1 << 20)
    counts = np.concatenate([some.astype(np.float32) @ cells for some in weights])
    seen, present, passed, absent = np.split(counts.astype(np.float64), 4, axis=1)
    with np.errstate(invalid="ignore"):
        return {"sensitivity": seen / present, "specificity": passed / absent}


def _difference(value, low, high):
    return {"difference": number(value), "low": number(low), "high": number(high)}


def pair(ends):
    """The ends of an interval as results hold them, None if there is none."""
    return None if ends is None or np.isnan(ends[0]) else [float(ends[0]), float(ends[1])]


def ends(resampled, count):
    """The interval of a score of a number of images, by its resamples, as results hold it; None of few."""
    return None if count < FEW else pair(metrics.interval(resampled))
