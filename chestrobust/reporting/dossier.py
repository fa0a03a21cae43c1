"""What lies in a run folder for its report: results, evaluations, the training's history and pictures."""

import base64
import csv
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from chestrobust import files, runs, titles
from chestrobust.errors import DataError, RunError
from chestrobust.reporting import verdict
from chestrobust.runs import parsing, provenance

MAX_TEXT, MAX_PICTURE = 1 << 23, 1 << 20  # bytes of a file that is read
PICTURES_TOGETHER = 3 << 19  # bytes: Base64 adds a third, and the page stays far below 5 MB
GALLERY = "gallery.json"
PNG = b"\x89PNG\r\n\x1a\n"
# What `evaluate.py` writes at least.
KEYS = ("model", "data", "config", "evaluations", "audit", "steps_curve")


@dataclass(frozen=True)
class Dossier:
    """One model and all that is known of it.

    Attributes:
        name: What the model is called.
        path: Its run folder, or the one that its file lies in.
        results: What `results.json` holds; empty of a model that came without a run.
        evaluations: What `evaluate.py` wrote about it, by name.
        rows: The scores under the attacks of training, as in `results`.
        undefended: Whether it was trained on clean images alone, as far as one knows.
        file: Name of the model's file there.
    """

    name: str
    path: Path
    results: dict = field(default_factory=dict)
    evaluations: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)
    undefended: bool = False
    file: str = "model.keras"

    @cached_property
    def own(self):
        """The evaluations on the run's own data, on whatever number of its images."""
        mine = self.data.get("sha256")
        return {name: found for name, found in self.evaluations.items() if found["data"].get("sha256") == mine}

    @cached_property
    def external(self):
        """The evaluations on data of another source."""
        name = self.data["name"]
        return {key: found for key, found in self.evaluations.items() if found["data"]["name"] != name}

    @cached_property
    def smoothed(self):
        """Those of its own evaluations that say what randomized smoothing proves."""
        return [found for found in self.own.values() if found.get("smoothed")]

    @cached_property
    def chief(self):
        """The evaluation that says most of the model: on the images of its own results, else on others of its data.

        Of these the one with the most rows and steps; None if there is none.
        """
        return max(self.own.values(), key=lambda found: (self.on_same_images(found), *_weight(found)), default=None)

    def on_same_images(self, found):
        """Whether an evaluation is of the test images that the run's own results are of."""
        return found["data"]["counts"]["test"] == self.data["counts"]["test"]

    @property
    def judged(self):
        """The results that the verdict is of: the chief evaluation, else those of the training script."""
        return self.chief or {**self.results, "evaluations": self.rows}

    @property
    def data(self):
        """What results say of the data."""
        return (self.results or next(iter(self.evaluations.values())))["data"]

    @property
    def sentence(self):
        """The verdict; if it is of other test images than the run's own results, it says so."""
        told = verdict.sentence(self.judged)
        if not self.results or self.on_same_images(self.judged):
            return told
        count, own = (data["counts"]["test"] for data in (self.judged["data"], self.data))
        return f"{told} This is of {count} test images, the run's own scores are of {own}."


def _weight(evaluation):
    rows, config = evaluation["evaluations"], evaluation["config"]
    return len({row["attack"] for row in rows}), len(rows), config.get("steps") or 0


def read(folder):
    """The `Dossier`s of a run, its baseline first if it has one; or of the files that were evaluated in a folder.

    Args:
        folder: A run folder, or one with `evaluations` of files that are no run's.

    Raises:
        RunError: If there is nothing to report there, or what is there can't be read.
    """
    run = runs.Run(Path(folder).expanduser())
    evaluations = _evaluations(run.path / "evaluations")
    if not run.finished:
        if not evaluations:
            raise RunError(
                f"{run.path}: expected a finished run, or evaluations of a model. Received neither. Train a model with "
                "diagnosis.py, or attack one with evaluate.py."
            )
        return _strangers(run.path, evaluations)
    results = run.read("results.json", "data", "evaluations")
    if "members" in results:
        return _members(run.path, results)
    undefended = "baseline" not in results
    name, rows = run.path.resolve().name, results["evaluations"]
    subject = Dossier(name, run.path, results, _of_run(evaluations), rows, undefended)
    return [subject] if undefended else [_baseline(run.path, results), subject]


def holds(folder):
    """Whether there is something to report in a folder."""
    return runs.Run(folder).finished or any((folder / "evaluations").glob("*.json"))


def _baseline(folder, results):
    """The model that a run was compared with: its scores are in the run's results, the rest is in its own folder."""
    recorded = results["baseline"]
    name = Path(recorded.get("run") or "baseline").name
    model, _ = runs.baseline_of(folder, results)
    there = runs.Run(model.parent) if model else None
    own = there.read("results.json") if there and there.finished else {}
    evaluations = _of_run(_evaluations(there.path / "evaluations")) if there else {}
    own = {**own, "data": results["data"]}
    return Dossier(name, there.path if there else folder, own, evaluations, recorded["evaluations"], True)


def _of_run(evaluations):
    """Those of the run's own model; other files in its folder may have been evaluated too."""
    return {name: found for name, found in evaluations.items() if Path(found["model"]).name == "model.keras"}


def _strangers(folder, evaluations):
    """A `Dossier` for each file that was evaluated."""
    by_file, called = {}, {}
    for name, found in evaluations.items():
        file = Path(found["model"]).name  # The same one was named from wherever one was.
        by_file.setdefault(file, {})[name] = found
        called[file] = titles.model(found["model"])
    return [Dossier(called[file], folder, evaluations=found, file=file) for file, found in by_file.items()]


def _members(folder, results):
    """A `Dossier` for each member and combination of an ensemble, attacked end to end; their rows stand in one list."""
    by_model = {}
    for row in results["evaluations"]:
        if row["through"] in (None, row["model"], "end to end"):
            by_model.setdefault(row["model"], []).append(row)
    return [Dossier(name, folder, {**results, "evaluations": rows}, rows=rows) for name, rows in by_model.items()]


def _evaluations(folder):
    """What `evaluate.py` wrote into a folder, by name."""
    run = runs.Run(folder)
    names = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
    return {name: run.read(f"{name}.json", *KEYS) for name in names}


def comparison(folders, dossiers):
    """What `evaluate.py` wrote into folders about several models at once: on as many of these as there is.

    Args:
        folders: The folders around the runs, and those of files that are no run's.
        dossiers: Of both.

    Returns:
        For each model of the comparison the index of its dossier or None, and the comparison; None without any.

    Raises:
        RunError: If one can't be read.
    """
    models = [one.path / one.file for one in dossiers]
    shown = {provenance.sha256(path): number for number, path in enumerate(models) if files.is_own(path)}
    found = []
    for path in (path for folder in folders for path in sorted(folder.glob("comparison-*.json"))):
        told = runs.Run(path.parent).read(path.name, "models", "differences", "radius")
        try:
            places = [shown.get(model["sha256"]) for model in told["models"]]
            covered = sum(place is not None for place in places), len(told["differences"][0])
        except (IndexError, KeyError, TypeError) as error:
            raise RunError(f"{path}: expected what evaluate.py writes of several runs. Received another.") from error
        if places[0] is not None and covered[0] > 1:
            found.append((covered, places, told))
    return max(found, key=lambda one: one[0])[1:] if found else None


def in_order(dossiers, places, told):
    """Dossiers in the order that their models were compared in, those that weren't last; and the comparison of these.

    Args:
        dossiers: In any order.
        places, told: What `comparison` returns of them.
    """
    first = [place for place in places if place is not None]
    order = [*first, *(number for number in range(len(dossiers)) if number not in first)]
    return [dossiers[number] for number in order], (
        [None if place is None else order.index(place) for place in places],
        told,
    )


def history(folder):
    """The columns of `history.csv`, as lists of floats by name; empty where there is none."""
    text = _bytes(folder / "history.csv", MAX_TEXT).decode("utf-8", "replace")
    columns = {}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            for name, value in row.items():
                columns.setdefault(name, []).append(float(value))
    except (TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{folder / 'history.csv'}: expected a run's history. Received: {error}.") from None
    return columns


def gallery(folder):
    """What `gallery.json` holds, of the run or of one of its evaluations; None where there is none."""
    for path in (folder / GALLERY, *sorted(folder.glob(f"evaluations/*/{GALLERY}"))):
        if content := _bytes(path, MAX_TEXT):
            try:
                return parsing.made_printable(parsing.parsed(content))
            except (ValueError, RecursionError) as error:
                raise RunError(f"{path}: expected JSON of a run. Received: {error}.") from None
    return None


def pictures(folder):
    """The pictures of a run as `data:` addresses, by their places in the folder, up to a size."""
    found, left = {}, PICTURES_TOGETHER
    for path in (folder / "chestxray.png", *sorted((folder / "explanations").glob("**/explanation*.png"))):
        content = _bytes(path, MAX_PICTURE)
        if content.startswith(PNG) and len(content) <= left:
            left -= len(content)
            found[path.relative_to(folder).as_posix()] = (
                f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
            )
    return found


def _bytes(path, limit):
    """The content of a file of ours, empty where there is none or it is too large; no link is followed."""
    if not files.is_own(path):
        return b""
    try:
        with files.open_regular(path, "a file of a run", max_bytes=limit) as file:
            return file.read(limit)
    except DataError:
        return b""
