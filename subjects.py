"""Trained models and the data they were trained on, for the scripts that look at them afterwards."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import config
import data
import runs
from commandline import length, number, option

DATA_OPTIONS = ("data", *data.OPTIONS, *data.ROOTS)


@dataclass(frozen=True, kw_only=True)
class SubjectConfig(config.FoldersConfig):
    """Options of scripts that take trained models; what is None is taken from the first one's run."""

    data: str | None = option(None, "data set as in diagnosis.py (default: the first run's, as for all that follow)")
    size: int | None = option(None, "image size in pixels", int, choices=(28, 64, 128, 224))
    data_dir: str | None = option(None, "folder of the MedMNIST files")
    limit: int | None = option(None, "use only this many images of each split", number(int, 1))
    epsilon: float | None = option(None, "radius of the attack in pixel units of [0, 1]", length)
    step_size: float | None = option(None, "length of one PGD step, same units", length)
    steps: int | None = option(None, "PGD steps", number(int, 1))
    restarts: int | None = option(None, "random starts of PGD", number(int, 1))
    seed: int | None = option(None, "seed of attacks, resamples and t-SNE", number(int, 0, 2**31 - 1))
    debug: bool = config.debug_option()


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
    def own_run(self):
        """Whether the run's results are those of this file."""
        return self.run.finished and self.path.name == "model.keras"


def names(saved):
    """A name for each model: its own, or its path if another one has the same."""
    count = Counter(one.name for one in saved)
    found = [one.name if count[one.name] == 1 else str(one.path) for one in saved]
    return [f"{name} ({number})" if found.count(name) > 1 else name for number, name in enumerate(found, start=1)]


def find(text):
    """The `Saved` model in a run folder or a `.keras` file; TensorFlow isn't needed.

    Raises:
        RunError: If there is none.
    """
    path = Path(text).expanduser()
    if path.suffix != ".keras":
        run = runs.finished(path)
        return Saved(run.path / "model.keras", run)
    if not path.is_file():
        raise runs.RunError(f"{path}: expected a run folder or a .keras file. Received nothing there.")
    return Saved(path, runs.Run(path.parent))


def settings(subject, options):
    """Data and attack to use: the options that are given, then the run's own, then the defaults of training.

    Args:
        subject: A `Saved` model.
        options: A dataclass whose fields are None where the run's own are wanted. With its own `data`, size and
            limits of the run's data no longer apply.

    Returns:
        A namespace with the fields of `config.BaselineConfig`.

    Raises:
        RunError: If no run tells the data.
    """
    if options.data is None and not subject.run.finished:
        raise runs.RunError(f"{subject.path}: expected --data, as no run is beside this file that would tell its data.")
    own = subject.run.read("config.json", "data") if subject.run.finished else {}
    if options.data is not None:
        own = {name: value for name, value in own.items() if name not in DATA_OPTIONS}
    given = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
    defaults = dataclasses.asdict(config.BaselineConfig())
    return SimpleNamespace(**{name: (defaults | own | given)[name] for name in defaults})


def load_data(chosen):
    """The `Splits` that `settings` name."""
    return data.load_for(chosen)


def check_labels(subject, splits):
    """Refuse a run whose model is for other labels, by name; a file without a run doesn't tell.

    Raises:
        RunError: With both.
    """
    names = runs.label_names(subject.path)
    if names and names != list(splits.label_names):
        wanted = ", ".join(splits.label_names)
        raise runs.RunError(f"{subject.path}: expected a model for the labels {wanted}. Received one for {names}.")


def load_model(subject, splits):
    """The subject's model, which returns logits.

    Raises:
        ModelError: If it can't be loaded, or is for other images or labels than the data's.
    """
    import sweep

    return sweep.opened(subject.path, splits)[0]
