"""The run folder: who may write it, what lies in it, and how it is written so that nothing is ever half there."""

import json
import os
import platform
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import devices
from config import ExpectedError, to_json

SCHEMA = 1
# In the order of removal: a folder whose removal is cut short still counts as an unfinished run.
CONTENTS = (
    "results.json",
    "evaluations",
    "history.csv",
    "model.keras",
    "state.npz",
    "chestxray.png",
    "logs",
    "baseline",
    "config.json",
)
# Options that say where and how to run, not what.
HOUSEKEEPING = ("run", "overwrite", "resume", "data_dir", "strategy", "params")


class RunError(ExpectedError):
    """A run folder that can't be used as asked."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder; `results.json` in it is written last, so a run that has one is finished.
    """

    path: Path

    @property
    def finished(self):
        return (self.path / "results.json").is_file()

    @property
    def started(self):
        return (self.path / "config.json").is_file()

    def read(self, name, *keys):
        """The content of a JSON file of the run, which must have these keys."""
        try:
            content = json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / name}: expected JSON of a run. Received: {error}.") from None
        missing = [key for key in keys if not isinstance(content, dict) or key not in content]
        if missing:
            raise RunError(f"{self.path / name}: expected {', '.join(missing)} in the JSON of a run. Received none.")
        return content

    def write(self, name, text):
        """Write a text file whole or not at all, if this is the chief."""
        if not devices.chief():
            return
        with replacing(self.path / name) as temporary:
            temporary.write_text(text)

    def start(self, config):
        """Make the folder and record the configuration; a run that is to be overwritten is removed. For the chief."""
        if not devices.chief():
            return
        if config.overwrite:
            for name in CONTENTS if self.started else ():
                path = self.path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        make_writable(self.path)
        self.write("config.json", to_json(config))

    def finish(self, config, splits, **results):
        """Write `results.json` and remove what only a resumed run needs; returns what was written.

        Other workers wait for the chief, which would take their going for a failure.
        """
        results = {
            "schema": SCHEMA,
            "data": splits.summary(),
            "config": asdict(config),
            "versions": versions(),
            "hardware": hardware(),
            **results,
        }
        self.write("results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
        if devices.chief():
            (self.path / "state.npz").unlink(missing_ok=True)
        devices.wait()
        return results


def claim(config):
    """The `Run` that `config` asks for, if it may be written; nothing is written yet. Only the chief looks.

    Raises:
        RunError: If a finished or an unfinished run is in the way, or files that are none of ours.
    """
    run = Run(Path(config.run).expanduser())
    if not devices.chief():
        return run
    try:
        blocked = run.path.exists() and not run.path.is_dir()
    except OSError as error:
        raise RunError(f"{run.path}: expected a folder for the run. Received: {error.strerror}.") from None
    if blocked:
        raise RunError(f"{run.path}: expected a folder for the run. Received a file. Choose another --run.")
    if not run.started and not run.finished and run.path.is_dir() and any(run.path.iterdir()):
        raise RunError(
            f"{run.path}: expected a run folder or an empty one. Received other files. Choose another --run."
        )
    if config.overwrite and config.resume:
        raise RunError(f"{run.path}: expected --overwrite or --resume. Received both.")
    if config.overwrite:
        return run
    if run.finished and not config.resume:
        raise RunError(f"{run.path}: holds a finished run. Choose another --run, or --overwrite to replace it.")
    if run.started and not config.resume:
        raise RunError(
            f"{run.path}: holds an unfinished run. Use --resume to continue it, or --overwrite to replace it."
        )
    if run.started:
        before, now = (
            {key: value for key, value in options.items() if key not in HOUSEKEEPING}
            for options in (run.read("config.json"), asdict(config))
        )
        changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
        if changed:
            pairs = ", ".join(f"{key}: {before.get(key)} before, {now.get(key)} now" for key in changed)
            raise RunError(f"{run.path}: --resume needs the options the run was started with. Received: {pairs}.")
    return run


def make_writable(folder):
    """Make a folder and see that it can be written to.

    Raises:
        RunError: If not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "probe") as temporary:
            temporary.write_text("")
        (folder / "probe").unlink()
    except OSError as error:
        raise RunError(f"{folder}: expected a folder that can be written. Received: {error.strerror}.") from None


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


@contextmanager
def replacing(path):
    """A temporary path beside `path` (same ending) that takes its place when the block ends without an error."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def versions():
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy", "scikit-learn", "medmnist"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def hardware():
    """The machine, for whoever reads the times."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {"machine": platform.machine(), "cores": os.cpu_count(), "gpus": gpus, **devices.record()}
