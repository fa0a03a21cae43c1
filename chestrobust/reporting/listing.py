"""What runs there are below a folder, as a table."""

import os
from pathlib import Path

from chestrobust import runs, titles
from chestrobust.errors import RunError, printable
from chestrobust.reporting import cells, dossier, verdict

HEADER = ("Run", "Data", "Model", "Clean AUC", "Worst AUC", "Checks")
STUDY = "study.db"  # of `tune.py`, beside the folder of its trials
DEPTH = 3  # folders below the one that is asked for


def table(folder):
    """A line for each run: its data and model, its scores, and how many checks of the audit it passed.

    Args:
        folder: Where runs lie, such as `runs`.

    Raises:
        RunError: If there is no such folder, or no run in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise RunError(f"{folder}: expected a folder of runs. Received none. Train a model with diagnosis.py.")
    found = sorted(_runs(folder))
    if not found:
        raise RunError(f"{folder}: expected runs in it. Received none. Train a model with diagnosis.py.")
    return "\n".join(cells.markdown(HEADER, [[printable(cell) for cell in _row(path, folder)] for path in found]))


def _runs(folder):
    """Folders of runs, finished or not, `DEPTH` folders down; no link is followed, and no trial of a search a run."""
    for place, folders, names in os.walk(folder):
        path = Path(place)
        if {"config.json", "results.json"} & set(names):
            yield path
        if STUDY in names and "trials" in folders:
            folders.remove("trials")
        if len(path.relative_to(folder).parts) == DEPTH:
            folders.clear()


def _row(path, folder):
    name = path.relative_to(folder).as_posix() if path != folder else path.name
    if not runs.Run(path).finished:
        return [name, "", "", "", "", "unfinished"]
    try:
        with runs.read_back(runs.Run(path)):
            found = dossier.read(path)[-1]
            clean, worst = verdict.clean_of(found.judged["evaluations"]), verdict.worst(found.judged)
            model = found.results.get("model", {}).get("name", found.name)
            return [
                name,
                titles.data_title(found.data),
                str(model),
                _auc(clean),
                _attacked(worst),
                _checks(found.chief),
            ]
    except RunError:
        return [name, "", "", "", "", "can't be read"]


def _auc(row):
    return "undefined" if row["macro_auc"] is None else f"{row['macro_auc']:.3f}"


def _attacked(row):
    return "" if row is None else f"{_auc(row)} at {titles.radius(row['epsilon'])}"


def _checks(evaluation):
    if evaluation is None:
        return "not audited"
    ran = [line for line in evaluation["audit"] if line["status"] != "not run"]
    return f"{sum(line['status'] == 'passed' for line in ran)} of {len(ran)}"
