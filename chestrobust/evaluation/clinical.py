"""What is left of a model's scores under what happens to X-rays without an attacker: `--suite clinical`.

Of each corruption of MedMNIST-C a row of its severity 5, with the scores of all five; and the worst case of exposure.
Scored as there: the balanced error, 1 minus the mean of sensitivity and specificity, at the thresholds that are fixed
on clean validation images; of classes, 1 minus their mean sensitivity.
"""

import dataclasses

import numpy as np

from chestrobust.attacks import corruptions, named
from chestrobust.data import metadata
from chestrobust.errors import DataError
from chestrobust.evaluation import metrics


def check(splits):
    """Refuse images that can't be corrupted, before anything is attacked.

    Raises:
        DataError: If they are neither gray nor RGB.
    """
    channels = metadata.pixel_channels(splits.image_shape)
    if channels not in (1, 3):
        raise DataError(f"--suite clinical: expected gray or RGB images. Received {channels} channels. Take another.")


def rows(subject):
    """The rows of a `sweep.Subject`: one for each corruption, and `exposure`."""
    return [*(_of_corruption(subject, kind) for kind in corruptions.CORRUPTIONS), _of_exposure(subject)]


def _of_corruption(subject, kind):
    of_each = [
        named.of("corruption", kind=kind, strength=strength, seed=subject.options.seed)
        for strength in corruptions.strengths(kind, subject.splits.name)
    ]
    found = [subject.outcome(attack) for attack in of_each]
    clean, *severities = (points(subject, logits) for logits in (subject.clean, *(one.logits for one in found)))
    errors = [one["balanced_error"] for one in severities]
    return {
        **subject.attacked(f"corruption={kind}", of_each[-1:], found[-1:]),
        "severity": len(of_each),
        "severities": [{"strength": attack.strength, **one} for attack, one in zip(of_each, severities, strict=True)],
        "balanced_error": None if None in errors else float(np.mean(errors)),
        "clean_balanced_error": clean["balanced_error"],
        **_smaller(subject.splits),
    }


def _of_exposure(subject):
    """Per image the worst of all exposures, chosen as for the joint score: the AUC is never above that of any."""
    every = [
        named.of("exposure", strength=dataclasses.astuple(exposure), seed=subject.options.seed)
        for exposure in corruptions.exposures()
    ]
    found = [subject.outcome(attack) for attack in every]
    record = dataclasses.replace(every[0], strength=None).record()
    record["max_perturbation"] = max(outcome.largest for outcome in found)
    aucs = [points(subject, outcome.logits)["macro_auc"] for outcome in found]
    worst = None if None in aucs else int(np.argmin(aucs))
    ranges = ", ".join(f"{name} {min(values):g} to {max(values):g}" for name, values in corruptions.RANGE.items())
    return {
        **subject.row(record, [outcome.logits for outcome in found]),
        "range": corruptions.RANGE,
        "same_for_all": None if worst is None else dict(zip(corruptions.RANGE, every[worst].strength, strict=True)),
        "same_for_all_auc": None if worst is None else aucs[worst],
        "note": f"exposure: per image the worst of {len(every)}: {ranges}; see docs/threats.md.",
    }


def points(subject, logits):
    """Macro AUC, sensitivity, specificity and balanced error of answers to the test images; None if undefined.

    Args:
        subject: A `scoring.Scores`.
        logits: `(count, num_labels)`.
    """
    task, labels = subject.splits.task, subject.labels
    cells = metrics.classification(labels, subject.predicted(logits))["confusion"]
    with np.errstate(invalid="ignore"):
        specificity, sensitivity = (np.diagonal(cells, axis1=1, axis2=2) / cells.sum(axis=2)).T
    scores = {
        "macro_auc": metrics.auc(labels, task.ranks(logits)),
        "macro_sensitivity": sensitivity,
        "macro_specificity": specificity,
        "balanced_error": 1 - (sensitivity if task.exclusive else (sensitivity + specificity) / 2),
    }
    means = {name: metrics.macro(values) for name, values in scores.items()}
    return {name: None if np.isnan(mean) else mean for name, mean in means.items()}


def _smaller(splits):
    """What has to be known of images of another size than that which the strengths were chosen for."""
    (height, width), size = splits.image_shape[:2], corruptions.PUBLISHED_SIZE
    if (height, width) == (size, size):
        return {}
    return {"note": f"MedMNIST-C's strengths are for {size} px: on {height} x {width} px they are another test."}
