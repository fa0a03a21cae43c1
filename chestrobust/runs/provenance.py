"""What results were made with: packages, code and machine."""

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath

from chestrobust import devices


@functools.cache
def versions():
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "keras-hub", "numpy", "scipy", "scikit-learn", "pillow", "medmnist"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def options(values):
    """Options by name as results hold them, without places on this machine: an absolute path keeps its last part."""
    return {name: _without_place(value) for name, value in values.items()}


def _without_place(value):
    if isinstance(value, (tuple, list)):
        return [_without_place(part) for part in value]
    if isinstance(value, str) and (value.startswith("~") or os.path.isabs(value)):
        return PurePath(value).name
    return value


def model(path):
    """What results call a saved model: its path as it was given, or of an absolute one the folder and the file."""
    return os.path.join(path.parent.name, path.name) if path.is_absolute() else str(path)


def sha256(path):
    """Checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def commit():
    """The git commit of this code, ending in `-dirty` if files of it were changed; None if it isn't under git."""

    def git(*arguments):
        command = ["git", "--no-optional-locks", "-C", os.path.dirname(__file__), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", os.path.basename(__file__))
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def hardware():
    """The machine, for whoever reads the times."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {"machine": platform.machine(), "cores": os.cpu_count(), "gpus": gpus, **devices.record()}
