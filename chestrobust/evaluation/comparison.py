"""Several models under the same attacks on the same images: how far each one's scores are from the first one's."""

import json

from chestrobust import devices, models, runs, titles
from chestrobust.reporting import comparison as reporting
from chestrobust.reporting import figures, verdict
from chestrobust.runs import provenance, saved

# What a comparison holds of a row, beside its macro scores and their intervals.
SETTINGS = ("attack", "epsilon", "steps", "step_size", "restarts", "random_start", "severity", "per_label_auc")
MACRO = ("macro_auc", "macro_ap", "macro_sensitivity", "macro_specificity")


class Pairing:
    """Collects a model's scores, row by row, and their differences from those of the first model.

    Args:
        first: The `Pairing` of the first model, or None if this is it.

    Attributes:
        radius: The radius that all models are summed up at; set by the first one's evaluation.
        scores: `Measured.resampling` of each row, by its title.
        differences: Of each row that the first model has too: `title`, `attack`, `epsilon`, and what `Measured.minus`
            returns, paired on the same resamples.
    """

    def __init__(self, first=None):
        self.first, self.radius = first, first and first.radius
        self.scores, self.differences = {}, []

    def add(self, row, measured):
        """Take in a row of results and the `Measured` answers that it is of."""
        title = titles.title(row)
        self.scores[title] = measured.kept()
        if self.first and title in self.first.scores:
            told = {"title": title, "attack": row["attack"], "epsilon": row["epsilon"]}
            self.differences.append(told | measured.minus(self.first.scores[title]))


def check(subjects, splits, pixel_range):
    """Refuse models that can't be attacked on the data, before any of them is.

    Args:
        subjects: The `saved.Saved` models.
        splits: The `Splits`.
        pixel_range: As in `models.opened`.

    Raises:
        ModelError: With the first of them.
    """
    models.opened_all(subjects, splits, pixel_range)


def compare(subjects, evaluate, path):
    """Evaluate models one after the other, and write how they compare as `PATH.json`, `.png` and `.svg`.

    Args:
        subjects: The `saved.Saved` models; others are held against the first.
        evaluate: Function from one of them and its `Pairing` to what `evaluate.py` writes of it.
        path: Path of the comparison, without an ending.

    Returns:
        What was written, and what `evaluate.py` writes of each model.
    """
    found, pairings = [], []
    for number, (name, one) in enumerate(zip(saved.names(subjects), subjects, strict=True), start=1):
        print(f"Attacking {name} ({number} of {len(subjects)})", flush=True)
        pairings.append(Pairing(*pairings[:1]))
        found.append(evaluate(one, pairings[-1]))
    told = record(subjects, found, pairings)
    if devices.chief():
        figures.write(reporting.figure(told), path)
        runs.Run(path.parent).write(f"{path.name}.json", json.dumps(told, indent=2, allow_nan=False) + "\n")
    devices.wait()
    return told, found


def record(subjects, found, pairings):
    """What a comparison holds: what was compared on which images, rows of all models, and differences from the first.

    Args:
        subjects: As in `compare`.
        found: What `evaluate.py` writes of each.
        pairings: The `Pairing` of each.
    """
    first, rows = found[0], found[0]["evaluations"]
    common = set.intersection(*(set(pairing.scores) for pairing in pairings))
    models = [
        {
            "name": name.removesuffix("/model.keras"),  # of runs that are called alike, their folders
            "model": results["model"],
            "sha256": provenance.sha256(one.path),
            "undefended": one.undefended,
            "verdict": verdict.sentence(results),
            "evaluations": [_slim(row) for row in results["evaluations"] if titles.title(row) in common],
        }
        for name, one, results in zip(saved.names(subjects), subjects, found, strict=True)
    ]
    return {
        "schema": runs.SCHEMA,
        **{key: first[key] for key in ("data", "config", "versions", "commit", "hardware")},
        "radius": pairings[0].radius,
        "positives": {name: sum(matrix[1]) for name, matrix in rows[0]["confusion"].items()},
        "models": models,
        "differences": [[row for row in pairing.differences if row["title"] in common] for pairing in pairings[1:]],
    }


def _slim(row):
    intervals = {key: row["intervals"][key] for key in MACRO}
    return {key: row[key] for key in (*SETTINGS, *MACRO) if key in row} | {"intervals": intervals}
