"""Scores of one set of answers with 95 % intervals, and how much they differ from another's on the same resamples.

Beside every AUC stand sensitivity and specificity at fixed thresholds: an AUC is blind to what moves all images alike.

Scores of a label have intervals by formula, as of few positives resamples know too little; their means over labels have
percentiles of resamples, of whole patients where these are known. Where these show no spread, as of perfect scores, the
mean has that of its labels' own. Differences are paired: both sets of answers are
scored on the same resamples.
"""

from dataclasses import dataclass
from functools import cached_property

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
    label_ends: dict[str, list]
    macro_ends: dict[str, list | None]


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
        self.shares = shares(self.labels, self.reported, self.patients)
        self.values = {
            "auc": metrics.auc(labels, self.ranks),
            "ap": metrics.average_precision(labels, self.ranks),
            **{name: found[:, 0] for name, found in self.shares.items()},
        }

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
        found = {}
        for name in SCORES:
            found[f"macro_{name}"] = self.macro_ends[name]
            found[f"per_label_{name}"] = dict(zip(self.names, self.label_ends[name], strict=True))
        return found

    @cached_property
    def label_ends(self):
        """The interval of each label, or None, by the names in `SCORES`."""
        # Of fewer, resampling repeats the same few outcomes: an interval would look more certain than they are.
        few, labels = len(self.labels) < FEW, range(len(self.names))
        return {name: [None if few else pair(self._of_label(name, label)) for label in labels] for name in SCORES}

    @cached_property
    def macro_ends(self):
        """That of the mean over labels, or None."""
        count = len(self.labels)
        return {
            name: mean_ends(self.values[name], self.resampled[name], self.label_ends[name], count) for name in SCORES
        }

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

    def _still(self, other, label, differences):
        """Half the width of the interval of a label's difference from another's, if resamples of neither vary."""
        # If only the differences don't, these are the same answers.
        if max(np.nanstd(differences), np.nanstd(self.resampled["auc"][:, label])) > 0:
            return None
        mine, theirs = ((one.values["auc"][label], one.label_ends["auc"][label]) for one in (self, other))
        lengths = intervals.apart(*mine, *theirs)
        return lengths and max(lengths)

    def _patients(self, chosen):
        """Number of patients among the chosen images."""
        return int(chosen.sum()) if self.patients is None else len(np.unique(np.asarray(self.patients)[chosen]))

    def kept(self):
        """What `minus` needs of it, without the answers."""
        return Kept(self.values, self.resampled, self.label_ends, self.macro_ends)

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
            if not few and intervals.is_still(*ends) and _is_still(self.resampled[name]):
                mine, theirs = metrics.macro(values), metrics.macro(others)
                lengths = intervals.apart(mine, self.macro_ends[name], theirs, other.macro_ends[name])
                ends = _around(difference, lengths)
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
            ends = None
            if not few and not np.isnan(value):
                still = self._still(other, label, resampled[:, label])
                ends = intervals.difference(value, resampled[:, label], patients, still)
            rows.append((np.nan, np.nan, np.nan) if ends is None else ends)
        corrected = intervals.holm([p for *_, p in rows])
        return [
            None if np.isnan(value) else {**_difference(value, low, high), "p": number(p), "p_holm": number(together)}
            for value, (low, high, p), together in zip(values, rows, corrected, strict=True)
        ]


def shares(labels, reported, patients):
    """Sensitivity and specificity of each label with Wilson's ends, `(num_labels, 3)` each.

    Args:
        labels, reported: bool, `(count, num_labels)`.
        patients: As in `intervals.share`.
    """
    found = {"sensitivity": [], "specificity": []}
    for present, named in zip(labels.T, reported.T, strict=True):
        for name, chosen, hits in (("sensitivity", present, named), ("specificity", ~present, ~named)):
            people = None if patients is None else np.asarray(patients)[chosen]
            found[name].append(intervals.share(hits[chosen], people))
    return {name: np.array(of_labels) for name, of_labels in found.items()}


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


def _is_still(resampled):
    """Whether a mean over labels is the same on all resamples, `(resamples, num_labels)`."""
    return intervals.is_still(*metrics.interval(metrics.macro_of(resampled)))


def _around(value, lengths):
    """The interval of a difference that reaches so far below and above it."""
    return (np.nan, np.nan) if lengths is None else (max(-1.0, value - lengths[0]), min(1.0, value + lengths[1]))


def _difference(value, low, high):
    return {"difference": number(value), "low": number(low), "high": number(high)}


def pair(ends):
    """The ends of an interval as results hold them, None if there is none."""
    return None if ends is None or np.isnan(ends[0]) else [float(ends[0]), float(ends[1])]


def ends(resampled, count):
    """The interval of a score of a number of images, by its resamples, as results hold it; None of few, or if still."""
    found = metrics.interval(resampled)
    return None if count < FEW or intervals.is_still(*found) else pair(found)


def mean_ends(values, resampled, label_ends, count):
    """The interval of a mean over labels as results hold it; that of its labels' own where resamples are still.

    Args:
        values: Of each label, `(num_labels,)`, NaN where it has no score.
        resampled: `(resamples, num_labels)`.
        label_ends: The interval of each label, or None.
        count: Number of images.
    """
    found = ends(metrics.macro_of(resampled), count)
    if found is None and count >= FEW:
        return pair(intervals.of_mean([label_ends[label] for label in np.flatnonzero(~np.isnan(values))]))
    return found
