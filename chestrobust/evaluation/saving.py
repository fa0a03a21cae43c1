"""Attacked images as files: PNG of 8 bits, the same in one `.npz`, and a table of the findings before and after."""

import csv

import numpy as np

from chestrobust import catalogue, files
from chestrobust.attacks import storage
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats
from chestrobust.errors import DataError, RunError
from chestrobust.evaluation import outcomes
from chestrobust.reporting import verdict

TOGETHER = 256  # images attacked at once
MIDDLE = 128  # gray of what no attack changed, in pictures of a perturbation


def check(splits):
    """Refuse images that no PNG of 8 bits holds, before anything is attacked.

    Raises:
        DataError: If they aren't of 8 bits, or neither gray nor RGB.
    """
    images = splits.test.images
    if images.dtype != np.uint8 or metadata.pixel_channels(images.shape) not in (1, 3):
        raise DataError(
            f"--save-images: expected gray or RGB images of 8 bits. Received {images.dtype} with "
            f"{images.shape[-1]} channels."
        )


def worst(rows, epsilon):
    """Name of the attack whose row is the worst of a radius, of those that have one image per patient; None if none."""
    found = [
        row
        for row in rows
        if row["epsilon"] == epsilon and row["macro_auc"] is not None and _one_image(catalogue.attack(row["attack"]))
    ]
    return verdict.lowest(found)["attack"] if found else None


def _one_image(row):
    return (
        row is not None
        and row.function is not None
        and row.radius
        and not row.source
        and row.weights is None
        and row.wanted is None
    )


def save_worst(subject, results, folder):
    """`save` as many images as `--save-images` asks for, under the worst attack of the radius of the verdict.

    Args:
        subject: The `sweep.Subject`.
        results: What `evaluate.py` writes of it.
        folder: As in `save`.

    Raises:
        RunError: If no attack is left that has an image for each patient, or they can't be written.
    """
    epsilon, count = results["steps_curve"]["epsilon"], subject.options.save_images
    name = worst(results["evaluations"], epsilon)
    if name is None:
        raise RunError(f"--save-images: expected an attack at epsilon {epsilon:.3g}. Received a sweep without one.")
    # Of several starts the last is at a random point, as the row says.
    attack = subject.attacks(epsilon)[name][-1]
    save(subject, attack, len(subject.splits.test) if count == "all" else int(count), folder)


def save(subject, attack, count, folder):
    """Write images of the test split, clean, attacked and the perturbation, and what the model says of both.

    `NUMBER-clean.png`, `NUMBER-attacked.png` and `NUMBER-perturbation.png` (gray where nothing changed, black and white
    at the radius), with the image's number in the split; `images.npz` with `clean`, `attacked` (uint8), `perturbation`
    (int16, in grey levels) and `indices`; `findings.csv`. Answers are those to the files, not to what was rounded.

    Args:
        subject: The `sweep.Subject`.
        attack: The `Attack`, on the subject's own model.
        count: How many images, the first of the split.
        folder: `pathlib.Path`; what is in it is replaced. Its own folder is locked.

    Raises:
        RunError: If it can't be written.
    """
    splits, task = subject.splits, subject.splits.task
    attacker = outcomes.aimed(attack, subject.model, task, splits.test, subject.outcomes)
    with files.explained(folder):
        files.remove(folder)
        files.make_folder(folder)
    rows, pieces = [], []
    for begin in range(0, min(count, len(splits.test)), TOGETHER):
        indices = np.arange(begin, min(begin + TOGETHER, count, len(splits.test)))
        split = splits.test[indices]
        images, labels = as_floats(split.images), split.labels.astype(np.float32)
        adversarial = attacker(subject.model, images, labels, task=task, indices=indices)
        clean, attacked = np.asarray(split.images), storage.stored(adversarial, images, attack.epsilon)
        answers = [outcomes.answers(subject.model, as_floats(pictures)) for pictures in (clean, attacked)]
        _write_pictures(folder, indices, clean, attacked, max(1, storage.whole_levels(attack.epsilon)))
        rows += _findings(subject, indices, split.labels, *answers)
        pieces.append((clean, attacked, indices))
    clean, attacked, indices = map(np.concatenate, zip(*pieces, strict=True))
    with files.writing(folder / "images.npz") as temporary:
        change = attacked.astype(np.int16) - clean
        np.savez_compressed(temporary, clean=clean, attacked=attacked, perturbation=change, indices=indices)
    with files.writing(folder / "findings.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _write_pictures(folder, indices, clean, attacked, levels):
    change = (attacked.astype(np.int64) - clean) * (MIDDLE - 1) // levels
    kinds = {"clean": clean, "attacked": attacked, "perturbation": np.clip(MIDDLE + change, 0, 255).astype(np.uint8)}
    for kind, pictures in kinds.items():
        for number, pixels in zip(indices, metadata.pixels(pictures), strict=True):
            with files.writing(folder / f"{number:05d}-{kind}.png") as temporary:
                storage.picture(pixels).save(temporary, "PNG")


def _findings(subject, indices, labels, before, after):
    """A row of the table for each image: what it has, what the report says, and each label's probability."""
    names, task = np.array(subject.splits.label_names), subject.splits.task
    reported = [subject.predicted(logits) for logits in (before, after)]
    probabilities = [task.probabilities(logits) for logits in (before, after)]
    rows = []
    for place, number in enumerate(indices):
        said = [labels[place] == 1, *(found[place] for found in reported)]
        row = {"image": int(number)}
        row |= {key: "; ".join(names[one]) for key, one in zip(("truth", "before", "after"), said, strict=True)}
        for label, name in enumerate(names):
            for key, found in zip(("before", "after"), probabilities, strict=True):
                row[f"{name} {key}"] = f"{found[place, label]:.6f}"
        rows.append(row)
    return rows
