"""Whether a .keras file may be loaded, told from its table of contents, its config and its weights' headers alone.

Keras's safe mode refuses code; this comes before it, without TensorFlow, and refuses in one line what Keras would
explain in twenty, what would fill memory or disk, and what older versions of Keras let pass. What it can't tell is how
much memory the layers of the config will take.
"""

import io
import json
from pathlib import PurePosixPath

from chestrobust.errors import ExpectedError, ModelError
from chestrobust.files import SLACK, open_regular, open_zip

MAX_CONFIG = 1 << 24  # bytes; those of the largest models in keras.applications have about one million
MAX_GROWTH = 10  # members together, or the weights, to what is stored of them; Keras itself doesn't compress
MEMBERS = ("config.json", "metadata.json", "model.weights.h5")


def check(path):
    """Refuse a `.keras` or `.h5` file that is damaged, has code in it, or would write or read anything but itself.

    Raises:
        ModelError: If so.
        DataError: If it is no regular file.
    """
    try:
        if path.suffix.lower() == ".h5":
            _check_h5(path)
            return
        with open_zip(path, "a .keras file") as archive:
            _check_members(archive)
            _check_config(archive.read("config.json"))
            _check_weights(archive.read("model.weights.h5"))
    except ExpectedError:
        raise
    except Exception as error:  # What zipfile, json and h5py raise at damaged files is of many kinds.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(f"{path}: expected a model as Keras saves it. Received: {reason:.300}.") from None


def keras_version(path):
    """The version of Keras that a file says it was saved by, or None."""
    import h5py

    try:
        if path.suffix.lower() == ".h5":
            with h5py.File(path, "r") as file:
                return str(file.attrs["keras_version"])
        with open_zip(path, "a .keras file") as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (ExpectedError, OSError, KeyError, TypeError, ValueError):
        return None


def _check_h5(path):
    import h5py

    with open_regular(path, "an .h5 file") as file:
        content = file.read()
    with h5py.File(io.BytesIO(content), "r") as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise ValueError("weights without a model. Save it whole, by model.save")
    _check_config(config)
    _check_weights(content)


def _check_members(archive):
    names = archive.namelist()
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"the member {name!r:.100}, which leads out of it")
    missing = [name for name in MEMBERS if name not in names]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in it")
    total, stored = sum(info.file_size for info in archive.infolist()), archive.fp.seek(0, io.SEEK_END)
    if total > SLACK + MAX_GROWTH * stored:
        raise ValueError(f"{stored} bytes that unpack to {total}")
    if archive.getinfo("config.json").file_size > MAX_CONFIG:
        raise ValueError(f"a config.json of more than {MAX_CONFIG} bytes")


def _check_config(text):
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError("a config.json that is nested too deeply") from None
    if not isinstance(config, dict):
        raise ValueError("a config.json that is no object")
    # How it was trained is never loaded.
    parts = [{key: part for key, part in config.items() if key != "compile_config"}]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if part.get("class_name") in ("Lambda", "__lambda__"):
                raise ValueError(
                    "a Lambda layer, which is Python code that could do anything. "
                    "Build the model from Keras's own layers, and save it again"
                )
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)


def _check_weights(content):
    """Refuse HDF5 that refers to other files, or to itself, or whose arrays are larger than what is stored of them."""
    import h5py

    promised, seen = 0, set()
    with h5py.File(io.BytesIO(content), "r") as file:
        groups = [file]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"weights with a link to elsewhere, {name!r:.100}")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    raise ValueError(f"weights that are there twice, {name!r:.100}")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                    continue
                if item.external or item.is_virtual or item.dtype.hasobject:
                    raise ValueError(f"weights that are no numbers in this file, {name!r:.100}")
                promised += item.nbytes
    if promised > SLACK + MAX_GROWTH * len(content):
        raise ValueError(f"weights of {promised} bytes in {len(content)}")
