"""What is left of a model's scores under what happens to X-rays without an attacker: `--suite clinical`.

Of each corruption of MedMNIST-C a row of its severity 5, with the scores of all five; and the worst case of exposure.
Scored as there: the balanced error, 1 minus the mean of sensitivity and specificity, at the thresholds that are fixed
on clean validation images; of classes, 1 minus their mean sensitivity. And divided by AlexNet's.
"""

import dataclasses

import numpy as np

from chestrobust.attacks import corruptions, named
from chestrobust.data import metadata
from chestrobust.errors import DataError, setting
from chestrobust.evaluation import intervals, measured, metrics

# Balanced errors of the AlexNet of MedMNIST-C's authors at 224 px, clean and, of each corruption, the mean over
# severities: `utils/baselines.py` of their package medmnistc 0.1.0, https://github.com/francescodisalvo05/medmnistc-api
ALEXNET = {
    "chestmnist": {
        "clean": 0.283906,
        "pixelate": 0.448951,
        "jpeg_compression": 0.345757,
        "gaussian_noise": 0.476883,
        "speckle_noise": 0.456879,
        "impulse_noise": 0.485536,
        "shot_noise": 0.492697,
        "gaussian_blur": 0.317680,
        "brightness_up": 0.299372,
        "brightness_down": 0.297115,
        "contrast_up": 0.287510,
        "contrast_down": 0.295474,
        "gamma_corr_up": 0.287462,
        "gamma_corr_down": 0.289164,
    },
    "pneumoniamnist": {
        "clean": 0.100855,
        "pixelate": 0.221026,
        "jpeg_compression": 0.279829,
        "gaussian_noise": 0.441453,
        "speckle_noise": 0.345726,
        "impulse_noise": 0.458120,
        "shot_noise": 0.410684,
        "gaussian_blur": 0.273077,
        "brightness_up": 0.146496,
        "brightness_down": 0.278205,
        "contrast_up": 0.095299,
        "contrast_down": 0.237436,
        "gamma_corr_up": 0.096068,
        "gamma_corr_down": 0.166410,
    },
}


def check(splits):
    """Refuse images that can't be corrupted, before anything is attacked.

    Raises:
        DataError: If they are neither gray nor RGB.
    """
    channels = metadata.pixel_channels(splits.image_shape)
    if channels not in (1, 3):
        suite = setting("suite", "clinical")
        raise DataError(f"{suite}: expected gray or RGB images. Received {channels} channels. Take another.")


def rows(subject):
    """The rows of a `sweep.Subject`: one for each corruption, and `exposure`."""
    before = _resampled_error(subject, subject.clean)
    return [*(_of_corruption(subject, kind, before) for kind in corruptions.CORRUPTIONS), _of_exposure(subject)]


def _of_corruption(subject, kind, before):
    """The row of a corruption; `before` are the balanced errors of clean images on each resample."""
    of_each = [
        named.of("corruption", kind=kind, strength=strength, seed=subject.options.seed)
        for strength in corruptions.strengths(kind, subject.splits.name)
    ]
    found = [subject.outcome(attack) for attack in of_each]
    clean, *severities = (points(subject, logits) for logits in (subject.clean, *(one.logits for one in found)))
    resampled = np.stack([_resampled_error(subject, one.logits) for one in found])
    errors = [one["balanced_error"] for one in severities]
    error, row = _mean(errors), subject.attacked(f"corruption={kind}", of_each[-1:], found[-1:])
    row["intervals"]["balanced_error"] = _interval(subject, resampled.mean(axis=0))
    low, high = _interval(subject, resampled.mean(axis=0) - before) or (None, None)
    rise = None if error is None else error - clean["balanced_error"]
    row["difference"]["balanced_error"] = {"difference": rise, "low": low, "high": high}
    return {
        **row,
        "severity": len(of_each),
        "severities": [
            {
                "strength": attack.strength,
                **one,
                "macro_auc_interval": _auc_interval(subject, outcome.logits),
                "balanced_error_interval": _interval(subject, of_one),
            }
            for attack, outcome, one, of_one in zip(of_each, found, severities, resampled, strict=True)
        ],
        "balanced_error": error,
        "clean_balanced_error": clean["balanced_error"],
        **_over_alexnet(subject.splits.name, kind, error, clean["balanced_error"]),
        **_smaller(subject.splits),
    }


def _over_alexnet(data, kind, error, clean):
    """BE and rBE as MedMNIST-C defines them: the error, and its rise over the clean one, over those of AlexNet.

    Empty for data that AlexNet's aren't known of, or without an error.
    """
    published = next((errors for name, errors in ALEXNET.items() if data.startswith(name)), None)
    if published is None or error is None:
        return {}
    rise = published[kind] - published["clean"]
    return {"over_alexnet": {"be": error / published[kind], "rbe": (error - clean) / rise}}


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
        "balanced_error": _error(task, sensitivity, specificity),
    }
    means = {name: metrics.macro(values) for name, values in scores.items()}
    return {name: None if np.isnan(mean) else mean for name, mean in means.items()}


def _error(task, sensitivity, specificity):
    return 1 - (sensitivity if task.exclusive else (sensitivity + specificity) / 2)


def _resampled_error(subject, logits):
    """The balanced error of answers on each resample of the test images, `(resamples,)`."""
    reported, patients = subject.predicted(logits), subject.splits.test.patients
    labels = np.asarray(subject.labels, bool)
    shares = measured.resampled_shares(labels, reported, **subject.resampling, patients=patients)
    return metrics.macro_of(_error(subject.splits.task, shares["sensitivity"], shares["specificity"]))


def _auc_interval(subject, logits):
    ranks, patients = subject.splits.task.ranks(logits), subject.splits.test.patients
    resampled = metrics.bootstrap(subject.labels, ranks, **subject.resampling, patients=patients)["auc"]
    of_labels = [intervals.auc(*of_label, patients) for of_label in zip(subject.labels.T, ranks.T, strict=True)]
    return measured.mean_ends(metrics.auc(subject.labels, ranks), resampled, of_labels, len(subject.labels))


def _interval(subject, resampled):
    return measured.ends(resampled, len(subject.labels))


def _mean(values):
    return None if None in values else float(np.mean(values))


def _smaller(splits):
    """What has to be known of images of another size than that which the strengths were chosen for."""
    (height, width), size = splits.image_shape[:2], corruptions.PUBLISHED_SIZE
    if (height, width) == (size, size):
        return {}
    return {"note": f"MedMNIST-C's strengths are for {size} px: on {height} x {width} px they are another test."}
