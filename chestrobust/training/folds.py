"""How far a score depends on who happens to be in the test split: K-fold cross-validation by patient.

All images of a data set are dealt out anew into K parts, whole patients at a time (images of multi-class and binary
sets by class too). Each part is tested once, by a model that is trained on the others but the next one, which
validates.
"""

import dataclasses
import json

import numpy as np

from chestrobust import runs, titles
from chestrobust.data.sources import splitting
from chestrobust.data.splits import Rows, Split
from chestrobust.errors import RunError


def cross_validate(train, splits, folds, folder):
    """Train and test once per fold, and write `kfold.json`.

    Args:
        train: Function `train(splits, name)` that returns what `results.json` holds of the fold of this name, such as
            `"fold1of5"`.
        splits: The `Splits`, which are dealt out anew.
        folds: How many.
        folder: `pathlib.Path` of the folder that holds the folds' runs.

    Returns:
        A table of mean and spread, to print.

    Raises:
        RunError: If the folder holds a run of its own.
    """
    around = runs.Run(folder)
    if around.started or around.finished:
        raise RunError(f"{around.path}: expected a folder for --folds. Received a training run. Choose another --run.")
    whole = pooled(splits)
    part = parts(whole, splits.task, folds)
    results = [train(fold_of(splits, whole, part, fold, folds), f"fold{fold + 1}of{folds}") for fold in range(folds)]
    found = summary(results)
    around.write("kfold.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    return "\n".join(table(found, titles.data_title({**splits.summary(), "note": f"{folds} folds"})))


def pooled(splits):
    """All images of a data set as one `Split`: those of a folder stay on the disk, others are copied once."""
    together = list(splits.parts.values())
    arrays = [split.images for split in together]
    if all(isinstance(array, Rows) for array in arrays) and len({id(array.array) for array in arrays}) == 1:
        images = Rows(arrays[0].array, np.concatenate([array.rows for array in arrays]))
    else:
        images = np.concatenate([np.asarray(array) for array in arrays])
    patients = None if splits.test.patients is None else np.concatenate([split.patients for split in together])
    names = splits.test.attributes
    attributes = names and {name: np.concatenate([split.attributes[name] for split in together]) for name in names}
    return Split(images, np.concatenate([split.labels for split in together]), patients, attributes)


def parts(whole, task, folds):
    """Number of the fold in which each image is tested, `(count,)`; without patients, each image is its own."""
    patients = np.arange(len(whole)) if whole.patients is None else whole.patients
    return splitting.by_group(patients, shares=[1 / folds] * folds, strata=task.strata(whole.labels))


def fold_of(splits, whole, part, fold, folds):
    """The `Splits` of a fold: it is tested, the next one validates, the others train."""
    val = (fold + 1) % folds
    rows = {"train": (part != fold) & (part != val), "val": part == val, "test": part == fold}
    dealt = {name: whole.view(np.flatnonzero(chosen)) for name, chosen in rows.items()}
    return dataclasses.replace(splits, note=f"fold {fold + 1} of {folds}", **dealt)


def summary(results):
    """Per attack the scores of all folds, their mean and their standard deviation; undefined ones are left out."""
    rows = []
    for entries in zip(*(result["evaluations"] for result in results), strict=True):
        row = {"attack": titles.title(entries[0])}
        for key in ("macro_auc", "macro_ap"):
            values = [entry[key] for entry in entries]
            defined = [value for value in values if value is not None]
            row[key] = {
                "folds": values,
                "mean": float(np.mean(defined)) if defined else None,
                "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
            }
        rows.append(row)
    return rows


def table(found, title):
    """The summary as Markdown."""
    header = "| Attack | Macro AUC: mean ± sd | lowest to highest | Macro AP: mean ± sd |"
    lines = [title, "", header, "| --- | ---: | ---: | ---: |"]
    for row in found:
        folds = [value for value in row["macro_auc"]["folds"] if value is not None]
        spread = f"{min(folds):.4f} to {max(folds):.4f}" if folds else "undefined"
        lines.append(f"| {row['attack']} | {_mean(row['macro_auc'])} | {spread} | {_mean(row['macro_ap'])} |")
    return lines


def _mean(score):
    return "undefined" if score["sd"] is None else f"{score['mean']:.4f} ± {score['sd']:.4f}"
