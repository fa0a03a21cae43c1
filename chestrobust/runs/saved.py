"""Trained models and the data they were trained on, for the scripts that look at them afterwards."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from chestrobust import commandline, config, data, runs
from chestrobust.data import matching
from chestrobust.errors import ModelError, RunError
from chestrobust.runs import modelfile

FILES = (".keras", ".h5")  # endings of what holds a whole model


@dataclass(frozen=True)
class Saved:
    """A saved model.

    Attributes:
        path: Its `.keras` file.
        run: The `Run` around it; not a finished one if the file came alone.
    """

    path: Path
    run: runs.Run

    @property
    def name(self):
        """A short name for tables: the run's folder, or the file's stem."""
        return self.run.path.resolve().name if self.path.name == "model.keras" else self.path.stem

    @property
    def data(self):
        """What the run's results say about its data."""
        return self.run.read("results.json", "data")["data"]

    @property
    def undefended(self):
        """Whether it was trained on clean images alone; a stranger's model counts as such."""
        return not self.own_run or "baseline" not in self.run.read("results.json")

    @property
    def own_run(self):
        """Whether the run's results are those of this file."""
        return self.run.finished and self.path.name == "model.keras"


def names(saved):
    """A name for each model: its own, or its path if another one has the same."""
    count = Counter(one.name for one in saved)
    found = [one.name if count[one.name] == 1 else str(one.path) for one in saved]
    return [f"{name} ({number})" if found.count(name) > 1 else name for number, name in enumerate(found, start=1)]


def find(text):
    """The `Saved` model in a run folder or a file; TensorFlow isn't needed.

    Raises:
        RunError: If there is none.
        ModelError: If it is in a format that isn't read.
    """
    path = Path(text).expanduser()
    if path.suffix.lower() in FILES:
        if not path.is_file():
            raise RunError(f"{path}: expected a run folder or a .keras file. Received nothing there.")
        return Saved(path, runs.Run(path.parent))
    if (path / "saved_model.pb").is_file():
        raise ModelError(
            f"{path}: expected a run folder, a .keras or an .h5 file. Received a SavedModel, which is code that "
            "could do anything. Load the model where it was made, and save it by model.save as a .keras file; "
            "chestrobust.evaluate takes keras.layers.TFSMLayer from Python."
        )
    if path.is_file():
        raise RunError(f"{path}: expected a run folder, a .keras or an .h5 file. Received another file.")
    run = runs.finished(path)
    return Saved(run.path / "model.keras", run)


def checked(text):
    """As `find`, of a file that has been looked into.

    Raises:
        ModelError: If the model file can't be trusted.
    """
    subject = find(text)
    modelfile.check(subject.path)
    return subject


def several(texts):
    """The `checked` models that are to be compared.

    Raises:
        RunError: If one is named twice.
    """
    found = [checked(text) for text in texts]
    places = [one.path.resolve() for one in found]
    for number, text in enumerate(texts):
        if places[number] in places[:number]:
            raise RunError(f"{text}: expected models to compare. Received the same one twice. Leave it out.")
    return found


def check_same_data(subjects):
    """Refuse runs on other data than the first one's; a file without a run doesn't tell.

    Raises:
        RunError: With both.
    """
    first = subjects[0].data
    for one in subjects[1:]:
        other = one.data if one.own_run else first
        if other.get("sha256") != first.get("sha256"):
            told = [f"{data.get('name')} at {data.get('image_shape')}" for data in (first, other)]
            raise RunError(
                f"{one.run.path}: expected a run on the same data as {subjects[0].run.path}, {told[0]}. "
                f"Received one on {told[1]}. Say by --data (and --size) on which to compare them."
            )


def check_unseen(subjects, splits):
    """Refuse runs of cross-validation on the data that were dealt out anew for them: they have seen the test images.

    Raises:
        RunError: With the first of them.
    """
    for one in subjects:
        known = one.data if one.own_run else {}
        if str(known.get("note", "")).startswith("fold ") and known.get("sha256") == splits.sha256:
            raise RunError(
                f"{one.run.path}: expected data that the model wasn't trained on. Received {splits.name}, which was "
                f"dealt out anew for {known['note']}: its own test images are among those of training. Take other "
                "--data, or the scores in kfold.json."
            )


def on_shared_labels(subjects, splits):
    """The data with the labels that the models share with them, and of each model the names of its and of the data's.

    Args:
        subjects: `Saved` models.
        splits: The `Splits`.

    Returns:
        `Splits`, and for each model a dictionary of `"model"` and `"data"`, or None where its labels are unknown.

    Raises:
        RunError: If the models don't share the same labels.
        DataError: If no label is shared; see `matching.shared`.
    """
    named = [runs.label_names(one.path) for one in subjects]
    shared = [matching.shared(names, splits) if names else splits for names in named]
    for one, other in zip(subjects, shared, strict=True):
        if other.label_names != shared[0].label_names:
            raise RunError(
                f"{one.path}: expected a model of the same labels as {subjects[0].path}, "
                f"{', '.join(shared[0].label_names)}. Received one of {', '.join(other.label_names)}."
            )
    return shared[0], [names and {"model": names, "data": splits.label_names} for names in named]


def settings(subject, given):
    """Data and attack to use: the options that are given, then the run's own, then the defaults of training.

    Args:
        subject: A `Saved` model.
        given: Options by name; None where the run's own are wanted. With `data`, limits of the run's data no longer
            apply.

    Returns:
        A namespace with the fields of `config.BaselineConfig`.

    Raises:
        RunError: If no run tells the data.
    """
    own = {} if given["data"] is not None and not subject.run.finished else _own_data(subject)
    if given["data"] is not None:
        # Metadata are what the model takes beside the pixels, whatever the data.
        own = {name: value for name, value in own.items() if name not in config.DATA or name == "metadata"}
        own["size"] = _own_size(subject, given["data"])
    given = {name: value for name, value in given.items() if value is not None}
    defaults = dataclasses.asdict(config.BaselineConfig())
    return SimpleNamespace(**{name: (defaults | own | given)[name] for name in defaults})


def own_options(run, *names):
    """The options in a run's config.json, which may be a stranger's and must have those of these names.

    A folder for data is left out unless this program has been there before, or can only read there: no run chooses
    where files are made.

    Raises:
        RunError: If one is missing, or isn't what the option takes.
    """
    options = config.renewed(run.read("config.json", *names))
    for field in dataclasses.fields(config.BaselineConfig):
        if field.name in options and not commandline.takes(field, options[field.name]):
            raise RunError(
                f"{run.path / 'config.json'}: expected what --{field.name.replace('_', '-')} takes. "
                f"Received: {options[field.name]!r:.60}."
            )
    if "data_dir" in options and not data.is_known_folder(options["data_dir"]):
        options["data_dir"] = config.DATA_DIR
    if options.get("root") and not data.is_known_root(options["root"], options.get("data_dir", config.DATA_DIR)):
        options["root"] = None
    return options


def check_labels(subject, splits):
    """Refuse a run whose model is for other labels, by name; a file without a run doesn't tell.

    Raises:
        RunError: With both.
    """
    names = runs.label_names(subject.path)
    if names and names != list(splits.label_names):
        wanted = ", ".join(splits.label_names)
        raise RunError(f"{subject.path}: expected a model for the labels {wanted}. Received one for {names}.")


def completed(subject, given):
    """The options of `config.DATA`, by name, with what they leave open taken from the subject's run.

    Args:
        subject: A `Saved` model.
        given: The options, by name.

    Raises:
        RunError: If no run tells the data.
    """
    run, found = subject.run, dict(given)
    if run.started and given["metadata"] is None:
        found["metadata"] = own_options(run).get("metadata")
    if given["data"] is None:
        own = _own_data(subject, "size", "limit", "data_dir")
        left_open = [name for name in given if given[name] == getattr(config.EvaluateConfig, name)]
        # Runs of earlier versions have no options of folders.
        found |= {name: own.get(name) for name in left_open}
    elif given["size"] is None:
        found["size"] = _own_size(subject, given["data"])
    return found


def _own_size(subject, name):
    """Size of the images of a model's run, in which data of a name that come in any size are taken; None if unknown."""
    if not subject.run.finished or data.is_path(name):
        return None
    shape = subject.data.get("image_shape")
    return shape and shape[0]


def own_radius(results):
    """The radius that a run was attacked at by its training script, or None.

    Args:
        results: What its `results.json` holds; empty if there is none.
    """
    value = results.get("config", {}).get("epsilon")
    return value if type(value) in (int, float) and 0 < value <= 1 else None


def radii(subject, given):
    """The radii to attack a `Saved` model at: those given, or the default ones and the run's own."""
    own = own_radius(subject.run.read("results.json")) if subject.own_run else None
    return (*given, own) if own and own not in given and given == config.EvaluateConfig.epsilons else given


def _own_data(subject, *names):
    """`own_options` of the run around a model, which must tell its data."""
    if not subject.run.finished:
        raise RunError(f"{subject.path}: expected --data, as no run is beside this file that would tell its data.")
    return own_options(subject.run, "data", *names)


def recorded(run, path, splits):
    """The results of a run, if its model and its data are these.

    Args:
        run: The `Run`.
        path: The model file.
        splits: The `Splits`.

    Raises:
        RunError: If not.
    """
    if not run.finished or path.name != "model.keras":
        raise RunError(f"{path}: --verify: expected the model of a finished run. Received another file.")
    results, data = run.read("results.json", "data", "config", "evaluations", "thresholds"), splits.summary()
    for key in ("sha256", "counts"):
        if results["data"].get(key) != data[key]:
            raise RunError(
                f"{run.path}: --verify: {key} of the data: expected {results['data'].get(key)}, as in the results. "
                f"Received {data[key]}."
            )
    return results
