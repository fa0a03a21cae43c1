"""The run folder: who may write it, what lies in it, and how it is written so that nothing is ever half there."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from chestrobust import devices
from chestrobust.config import OF_ONE_RUN, BaselineConfig, renewed, to_json
from chestrobust.errors import RunError
from chestrobust.files import explained, writing
from chestrobust.runs import provenance

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

SCHEMA = 1
# In the order of removal: a folder whose removal is cut short still counts as an unfinished run, without a checkpoint.
CONTENTS = (
    "results.json",
    "evaluations",
    "explanations",
    "history.csv",
    "state.npz",
    "model.keras",
    "last.keras",
    "adversarial.npy",
    "chestxray.png",
    "logs",
    "baseline",
    "origin.json",
    "config.json",
)
LOCK = ".lock"
PARTIAL = ".*.partial*"  # names of files that are being written
# What belongs to a name in `results.json`; the rest is read by its key alone.
KINDS = dict.fromkeys(("data", "config", "training", "thresholds", "baseline"), dict) | {"evaluations": list}
# Options that say where and how to run, not what.
HOUSEKEEPING = (*OF_ONE_RUN, "root", "data_dir", "strategy")


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
        content = content if isinstance(content, dict) else {}
        kinds = KINDS if name == "results.json" else {}
        missing = [key for key in keys if key not in content or not isinstance(content[key], kinds.get(key, object))]
        if missing:
            raise RunError(f"{self.path / name}: expected {', '.join(missing)} in the JSON of a run. Received none.")
        return content

    def write(self, name, text):
        """Write a text file whole or not at all, if this is the chief."""
        if not devices.chief():
            return
        with writing(self.path / name) as temporary:
            temporary.write_text(text)

    def start(self, config, **origin):
        """Make and lock the folder and record the configuration; a run to be overwritten is removed. For the chief.

        Args:
            config: A dataclass of options.
            origin: What the options only name: checksums of the data and of models that the run starts from.

        Raises:
            RunError: If the folder can't be used, or if the run was started with another origin.
        """
        if not devices.chief():
            return
        lock(self.path)
        claim(config)  # Again, as another process may have begun or finished meanwhile.
        provenance.commit()  # Now, as the files may change while training lasts.
        if config.overwrite:
            self._remove()
        self.write("config.json", to_json(config))
        if (self.path / "origin.json").is_file():
            before = self.read("origin.json")
            if changed := [name for name in sorted(before | origin) if before.get(name) != origin.get(name)]:
                raise RunError(
                    f"{self.path}: --resume needs what the run was started with. Received another "
                    f"{', another '.join(changed)}. Put it back, or use --overwrite."
                )
        self.write("origin.json", json.dumps(origin, indent=2) + "\n")

    def _remove(self):
        for folder in (self.path / "evaluations", self.path / "baseline"):
            if folder.is_dir():
                lock(folder)
        with explained(self.path):
            for name in CONTENTS:
                path = self.path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def finish(self, config, splits, **results):
        """Write `results.json` and remove what only a resumed run needs; returns what was written.

        Other workers wait for the chief, which would take their going for a failure.
        """
        results = {
            "schema": SCHEMA,
            "data": splits.summary(),
            "config": asdict(config),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "hardware": provenance.hardware(),
            **results,
        }
        self.write("results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
        if devices.chief():
            with explained(self.path):
                for name in ("state.npz", "adversarial.npy"):
                    (self.path / name).unlink(missing_ok=True)
        devices.wait()
        return results


def claim(config):
    """The `Run` that `config` asks for, if it may be written; nothing is written yet. Only the chief looks.

    A run that is there to be continued or replaced is locked.

    Raises:
        RunError: If a finished or an unfinished run is in the way, another process, or files that are none of ours.
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
    if not run.started and not run.finished and run.path.is_dir() and not _bare(run.path):
        raise RunError(
            f"{run.path}: expected a run folder or an empty one. Received other files. Choose another --run."
        )
    if config.overwrite and config.resume:
        raise RunError(f"{run.path}: expected --overwrite or --resume. Received both.")
    if run.started and (config.overwrite or not run.finished):
        lock(run.path)
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
            {key: value for key, value in renewed(options).items() if key not in HOUSEKEEPING}
            for options in (run.read("config.json"), asdict(config))
        )
        changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
        if changed:
            pairs = ", ".join(f"{key}: {before.get(key)} before, {now.get(key)} now" for key in changed)
            raise RunError(f"{run.path}: --resume needs the options the run was started with. Received: {pairs}.")
    return run


def _bare(folder):
    """Whether a folder is empty, but for what a run that was killed before it began leaves."""
    return all(path.name == LOCK or path.match(PARTIAL) for path in folder.iterdir())


_locks = []  # Open files, as a lock ends when its file is closed.


def lock(folder):
    """Make a folder and keep other processes from writing to it until this one ends, in whatever way.

    A process may lock a folder twice. Nothing is locked on Windows.

    Raises:
        RunError: If another process has locked it, or if it can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise RunError(f"{folder}: expected a folder that can be written. Received: {error.strerror}.") from None
    try:
        # Of the process, not of the open file: that is what network file systems know, and children don't inherit it.
        if fcntl:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise RunError(
            f"{folder}: expected no other process that writes here. Received one. Wait for it to end, or stop it."
        ) from None
    except OSError as error:
        raise RunError(f"{folder}: expected a file system with locks. Received: {error.strerror}.") from None
    _locks.append(file)
    clear(folder)


def clear(folder):
    """Remove what killed processes left half-written in a folder that this process has locked."""
    with explained(folder):
        for path in folder.glob(PARTIAL):
            path.unlink(missing_ok=True)


def make_writable(folder):
    """Make a folder that several processes may write to, and see that it can be written to.

    Raises:
        RunError: If not.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


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


def check_same_model(run, options):
    """Refuse a finished run whose model is another than the options', so that its weights wouldn't fit.

    Raises:
        RunError: With what differs.
    """
    own = run.read("results.json", "config")["config"]
    for key in ("model", "attention", "backbone_size"):
        # Runs from before there was a choice have the default model.
        received, wanted = own.get(key, getattr(BaselineConfig, key)), getattr(options, key)
        if received != wanted:
            raise RunError(
                f"{run.path}: expected a model with --{key.replace('_', '-')} {wanted}, as in the options. "
                f"Received one with {received}."
            )
