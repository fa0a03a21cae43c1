"""Finished runs, which others start from, are compared with, or look at."""

from contextlib import contextmanager
from pathlib import Path

from chestrobust.config import BaselineConfig
from chestrobust.errors import RunError
from chestrobust.runs import provenance
from chestrobust.runs.folder import Run


def finished(folder):
    """The finished `Run` in a folder.

    Raises:
        RunError: If there is none.
    """
    run = Run(Path(folder).expanduser())
    for name in ("results.json", "model.keras"):
        if not (run.path / name).is_file():
            raise RunError(
                f"{run.path}: expected a finished run. Received no {name} there. Train one with diagnosis.py."
            )
    return run


@contextmanager
def read_back(run):
    """Turns what fails on the results of a run, because they have another form than ours, into a `RunError`."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{run.path / 'results.json'}: expected results as a run writes them. "
            f"Received others ({type(error).__name__}: {error!s:.60})."
        ) from error


def label_names(path):
    """What the labels of a saved model are called, by the results beside it; None if there are none."""
    run = Run(path.parent)
    if not run.finished or path.name != "model.keras":
        return None
    names = run.read("results.json", "data")["data"].get("label_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise RunError(f"{run.path / 'results.json'}: expected a list of texts as label_names. Received another.")
    return names


def baseline_of(folder, results):
    """The model file that a run was compared with, and None; or None and why it isn't there any more.

    Args:
        folder: The run's folder.
        results: What its `results.json` holds.
    """
    recorded = results["baseline"] if isinstance(results["baseline"], dict) else {}
    if not isinstance(recorded.get("path"), str):
        return None, "results of an earlier version don't say where their baseline lies"
    path = folder / recorded["path"] / "model.keras"
    if not path.is_file():
        return None, f"the run's baseline is no longer in {path.parent}"
    if provenance.sha256(path) != recorded.get("sha256"):
        return None, f"{path} is no longer the run's baseline"
    return path, None


def check_fits(run, splits):
    """Refuse a finished run whose model is for other images or labels than the data's.

    Raises:
        RunError: With what differs.
    """
    data, wanted = run.read("results.json", "data")["data"], splits.summary()
    for key in ("task", "label_names", "image_shape"):
        if data.get(key) != wanted[key]:
            raise RunError(
                f"{run.path}: {key}: expected a model for {wanted[key]}, as in the data. "
                f"Received one for {data.get(key)}."
            )


def check_same_model(run, wanted):
    """Refuse a finished run whose model is another than the options', so that its weights wouldn't fit.

    Args:
        run: The `Run`.
        wanted: The options of `config.MODEL`, by name.

    Raises:
        RunError: With what differs.
    """
    results = run.read("results.json", "config")
    described = results.get("model")
    # A model that came from a file is none of the options'.
    name = described.get("name") if isinstance(described, dict) else None
    own = results["config"] | ({"model": name} if isinstance(name, str) else {})
    for key, value in wanted.items():
        # Runs from before there was a choice have the default model.
        received = own.get(key, getattr(BaselineConfig, key))
        if received != value:
            raise RunError(
                f"{run.path}: expected a model with --{key.replace('_', '-')} {value}, as in the options. "
                f"Received one with {received}."
            )
