"""The run folder: who may write it, what lies in it, and how it is written so that nothing is ever half there."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from chestrobust import devices, files, locks
from chestrobust.config import OF_ONE_RUN, renewed, to_json
from chestrobust.errors import DataError, RunError, setting
from chestrobust.files import PARTIAL, explained, writing
from chestrobust.runs import parsing, provenance

SCHEMA = 1
# In the order of removal: a folder whose removal is cut short still counts as an unfinished run, without a checkpoint.
CONTENTS = (
    "results.json",
    "evaluations",
    "explanations",
    "history.csv",
    "state.npz",
    "model.keras",
    "next.keras",
    "last.keras",
    "adversarial.npy",
    "adversarial.json",
    "chestxray.png",
    "chestxray.svg",
    "gallery.json",
    "report.html",
    "model_card.md",
    "eval_results.yaml",
    "logs",
    "baseline",
    "origin.json",
    "config.json",
)
LOCK = ".lock"
CACHE = "cache"  # folder of what explain.py computes once
LEFT_OVER = (
    "state.npz",
    "next.keras",
    "adversarial.npy",
    "adversarial.json",
)  # needed to resume, and by a finished run no more
MAX_JSON = 1 << 26  # bytes
# What belongs to a name in `results.json`; the rest is read by its key alone.
KINDS = dict.fromkeys(("data", "config", "training", "thresholds", "baseline"), dict) | {"evaluations": list}
GIVEN = ("config.json", "origin.json")  # what the user gave, compared as it is
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
            with files.open_regular(self.path / name, "JSON of a run", max_bytes=MAX_JSON) as file:
                content = parsing.parsed(file.read(MAX_JSON + 1))
            if name not in GIVEN:
                content = parsing.made_printable(content)
        except DataError as error:
            raise RunError(str(error)) from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path / name}: expected JSON of a run. Received: {error}.") from None
        content = content if isinstance(content, dict) else {}
        if missing := [key for key in keys if key not in content]:
            raise RunError(f"{self.path / name}: expected {', '.join(missing)} in the JSON of a run. Received none.")
        if name == "results.json":
            self._check_kinds(content)
        return content

    def _check_kinds(self, results):
        path = self.path / "results.json"
        for key, kind in KINDS.items():
            if not isinstance(results.get(key, kind()), kind):
                raise RunError(f"{path}: expected {key} of a run. Received: {results[key]!r:.60}.")
        # An ensemble has some for each model.
        cuts = {} if "members" in results else results.get("thresholds", {})
        if any(type(cut) not in (int, float) for cut in cuts.values()):
            raise RunError(f"{path}: expected a number for each of the thresholds. Received another.")

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
                    f"{self.path}: {setting('resume', True)} needs what the run was started with. Received another "
                    f"{', another '.join(changed)}. Put it back, or use {setting('overwrite', True)}."
                )
        self.write("origin.json", json.dumps(origin, indent=2) + "\n")

    def _remove(self):
        views = self.path / "explanations"
        for folder in (self.path / "evaluations", views, *views.glob("*"), self.path / "baseline"):
            if folder.is_dir():
                lock(folder, inside=self.path)
        self.check_own()
        with explained(self.path):
            for name in CONTENTS:
                files.remove(self.path / name)

    def check_own(self):
        """Refuse a folder in which not all that is ours can be written and removed without leaving it.

        Raises:
            RunError: If some of it is a link, or in a folder that can't be written.
        """
        for path in (self.path / name for name in (LOCK, *CONTENTS)):
            for place, folders, names in os.walk(path):
                if not os.access(place, os.W_OK | os.X_OK):
                    raise RunError(f"{place}: expected a folder that can be written. Received another.")
                for name in (*folders, *names):
                    _refuse_link(Path(place) / name)
            _refuse_link(path)

    def finish(self, config, splits, **results):
        """Write `results.json` and remove what only a resumed run needs; returns what was written.

        Other workers wait for the chief, which would take their going for a failure.
        """
        results = {
            "schema": SCHEMA,
            "data": splits.summary(),
            "config": provenance.options(vars(config)),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "hardware": provenance.hardware(),
            **results,
        }
        self.write("results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
        if devices.chief():
            with explained(self.path):
                for name in LEFT_OVER:
                    (self.path / name).unlink(missing_ok=True)
        devices.wait()
        return results


def _refuse_link(path):
    if path.is_symlink():
        raise RunError(
            f"{path}: expected a part of the run itself. Received a link, which is never followed. Put what it leads "
            f"to in its place, or choose another {setting('run')}."
        )


def claim(config):
    """The `Run` that `config` asks for, if it may be written; nothing is written yet. Only the chief looks.

    A run that is there to be continued or replaced is locked.

    Raises:
        RunError: If a finished or an unfinished run is in the way, another process, or files that are none of ours.
    """
    run = Run(Path(config.run).expanduser())
    if not devices.chief():
        return run
    another = f"Choose another {setting('run')}"
    overwrite, resume = (setting(name, True) for name in ("overwrite", "resume"))
    try:
        blocked = run.path.exists() and not run.path.is_dir()
    except OSError as error:
        raise RunError(f"{run.path}: expected a folder for the run. Received: {error.strerror}.") from None
    if blocked:
        raise RunError(f"{run.path}: expected a folder for the run. Received a file. {another}.")
    if not run.started and not run.finished and run.path.is_dir() and not _bare(run.path):
        raise RunError(f"{run.path}: expected a run folder or an empty one. Received other files. {another}.")
    if config.overwrite and config.resume:
        raise RunError(f"{run.path}: expected {overwrite} or {resume}. Received both.")
    left_over = [run.path / name for name in LEFT_OVER if config.resume and run.finished]
    left_over = [path for path in left_over if os.path.lexists(path)]
    if run.started and (config.overwrite or not run.finished or left_over):
        run.check_own()
        lock(run.path)
    if config.overwrite:
        return run
    if run.finished and not config.resume:
        raise RunError(f"{run.path}: holds a finished run. {another}, or {overwrite} to replace it.")
    if run.started and not config.resume:
        raise RunError(
            f"{run.path}: holds an unfinished run. Use {resume} to continue it, or {overwrite} to replace it."
        )
    with explained(run.path):
        for path in left_over:  # by a process that was killed in the last moment
            files.remove(path)
    if run.started:
        before, now = (
            {key: value for key, value in renewed(options).items() if key not in HOUSEKEEPING}
            for options in (run.read("config.json"), json.loads(to_json(config)))
        )
        changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
        if changed:
            pairs = ", ".join(f"{key}: {before.get(key)} before, {now.get(key)} now" for key in changed)
            raise RunError(f"{run.path}: {resume} needs the options the run was started with. Received: {pairs}.")
    return run


def task(config, splits):
    """What all workers of a run must be about to do: the options that say what, and the data."""
    return {key: value for key, value in asdict(config).items() if key not in HOUSEKEEPING} | {"data": splits.sha256}


def _bare(folder):
    """Whether a folder is empty, but for what a run that was killed before it began leaves."""
    return all(path.name == LOCK or path.match(PARTIAL) for path in folder.iterdir())


def lock(folder, *, inside=None):
    """Make a folder and keep other processes from writing to it until this one ends, in whatever way.

    A process may lock a folder twice. Nothing is locked on Windows.

    Args:
        folder: `pathlib.Path` of the folder.
        inside: The run folder that it is a part of, below which no link is followed; None if it is a run folder itself,
            which the user may have linked.

    Raises:
        RunError: If another process has locked it, or if it can't be written to.
    """
    try:
        files.make_folder(folder, inside=folder if inside is None else inside)
        file = files.open_own(folder / LOCK)
    except OSError as error:
        raise RunError(f"{folder}: expected a folder that can be written. Received: {error.strerror}.") from None
    try:
        locks.of_process(file)
    except (BlockingIOError, PermissionError):
        raise RunError(
            f"{folder}: expected no other process that writes here. Received one. Wait for it to end, or stop it."
        ) from None
    except OSError as error:
        raise RunError(f"{folder}: expected a file system with locks. Received: {error.strerror}.") from None
    locks.hold(folder, file)
    with explained(folder):
        files.remove_partial(folder)
    clear(folder / CACHE)


def clear(folder):
    """Remove what killed processes left half-written in a folder inside one that this process has locked.

    Raises:
        RunError: If it is a link.
    """
    _refuse_link(folder)
    with explained(folder):
        files.remove_partial(folder)


def make_writable(folder):
    """Make a folder that several processes may write to, and see that it can be written to.

    Raises:
        RunError: If not.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
