"""Files in MedMNIST's format: what they are called, where they come from, what must be in them.

MedMNIST v2: Yang et al., 2023, https://doi.org/10.1038/s41597-022-01721-8 (CC BY 4.0).
"""

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chestrobust.catalogue import MEDMNIST
from chestrobust.config import SIZE, SIZES
from chestrobust.data import copies
from chestrobust.data.sources import decoded, label_names
from chestrobust.data.sources.download import download
from chestrobust.data.sources.fingerprint import fingerprint, remembered
from chestrobust.data.sources.npz import Member
from chestrobust.data.splits import CHEST_LABELS, Split, Splits
from chestrobust.errors import DataError, printable
from chestrobust.tasks import Task

URL = "https://zenodo.org/records/10519652/files/{file}?download=1"
HINT = " Labels other than ChestMNIST's are named by --labels, or in the file by an array label_names."
INSTALL = "pip install --no-deps medmnist"


@dataclass(frozen=True)
class Info:
    """A MedMNIST set, or another in its format.

    Attributes:
        task, label_names: As in `Splits`.
        channels: 1 if gray, 3 if RGB.
        md5: The checksum of its file by image size; empty if there is no official file.
        hint: What to do if a file's labels aren't these.
    """

    task: Task
    label_names: tuple[str, ...]
    channels: int
    md5: dict[int, str]
    hint: str = ""


CHEST_SETS = {
    "chestmnist": Info(
        Task.MULTI_LABEL,
        CHEST_LABELS,
        1,
        {
            28: "02c8a6516a18b556561a56cbdd36c4a8",
            64: "9de6cd0b934ebb5b7426cfba5efbae16",
            128: "db107e5590b27930b62dbaf558aebee3",
            224: "45bd33e6f06c3e8cdb481c74a89152aa",
        },
    ),
    "pneumoniamnist": Info(
        Task.BINARY,
        ("pneumonia",),
        1,
        {
            28: "28209eda62fecd6e6a2d98b1501bb15f",
            64: "8f4eceb4ccffa70c672198ea285246c6",
            128: "05b46931834c231683c68f40c47b2971",
            224: "d6a3c71de1b945ea11211b03746c1fe1",
        },
    ),
}


def info(name):
    """The `Info` of the set called `name`; sets other than the two of the chest need the medmnist package."""
    if name in CHEST_SETS:
        return CHEST_SETS[name]
    try:
        # The package itself wants PyTorch, and prints so; this module of it doesn't.
        with contextlib.redirect_stdout(io.StringIO()):
            from medmnist.info import INFO
    except ImportError:
        raise DataError(
            f"Data set {name!r} needs the medmnist package for its labels. Install it with: {INSTALL}"
        ) from None
    entry = INFO[name]
    labels = tuple(entry["label"][str(column)] for column in range(len(entry["label"])))
    theirs = {"multi-label, binary-class": Task.MULTI_LABEL, "binary-class": Task.BINARY}
    task = theirs.get(entry["task"], Task.MULTI_CLASS)
    return Info(
        task,
        labels[1:] if entry["task"] == "binary-class" else labels,
        entry["n_channels"],
        {size: entry["MD5" if size == 28 else f"MD5_{size}"] for size in SIZES},
    )


def file_name(name, size):
    """MedMNIST's own name of a file: the 28 px files carry no size."""
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def load_name(name, *, size=None, data_dir):
    """Load a set by name from `data_dir`, downloading it first if it isn't there; `size` defaults to 28."""
    size = size or SIZE
    if size not in SIZES:
        raise DataError(f"--size: expected one of {', '.join(map(str, SIZES))} for {name}. Received: {size}.")
    expected = info(name).md5[size]
    official = Path(data_dir) / file_name(name, size)
    path = next((path for path in (official, official.with_name(f"{name}_{size}.npz")) if path.exists()), None)
    if path is None:
        path = official
        try:
            download(URL.format(file=path.name), path, md5=expected)
        except DataError as error:
            raise DataError(
                f"{error}. Put the file with MD5 {expected} there by hand, or try --data phantom."
            ) from None
    return load_path(path, size=size, data_dir=data_dir)


def load_path(path, *, size=None, labels=None, data_dir):
    """Load an npz file; where no names of labels are given, its stem tells which set it is, or that it's ChestMNIST.

    Args:
        path: The file.
        size: Height and width that the images must have, or None to take what the file holds.
        labels: See `label_names.of`.
        data_dir: Folder in which the file's checksum is remembered; compressed images of many megabytes are unpacked
            to it if they can't be beside the file.

    Returns:
        The `Splits`, images as they lie in the file, many megabytes of them memory-mapped.

    Raises:
        DataError: If anything in the file isn't as expected; nothing is ever unpickled.
    """
    path = Path(path)
    expected = _expected(path, label_names.of(path, labels, data_dir))
    splits = {part: _read_split(path, part, expected, size, data_dir) for part in ("train", "val", "test")}
    shapes = {part: split.images.shape[1:] for part, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: expected one image shape in all splits. Received: {shapes}.")
    hashes = fingerprint(path, data_dir, check=lambda: [Member(path, f"{part}_images").check() for part in splits])
    images = [splits[part].images for part in ("test", "train", "val")]
    kept = remembered(path, data_dir, ("copies",), lambda: {"copies": copies.count(*images)})
    # Of a set of one's own, which names its labels, there is no release.
    known = expected.md5.values()
    notes = ["not the official release"] if known and hashes["md5"] not in known else []
    if kept["copies"]:
        notes.append(f"{kept['copies']} test images also in train")
        text = f"{kept['copies']} test images are in the training or validation images too, byte for byte."
        decoded.say(path.stem, text)
    return Splits(
        name=printable(path.stem),
        task=expected.task,
        label_names=expected.label_names,
        sha256=hashes["sha256"],
        note=", ".join(notes),
        **splits,
    )


def _expected(path, names):
    """The `Info` of a file: by its own names of labels and its arrays, or by its stem."""
    if names is None:
        name, _, suffix = path.stem.lower().partition("_")
        if name in MEDMNIST and (not suffix or suffix.isdigit()):
            return info(name)
        return replace(CHEST_SETS["chestmnist"], hint=HINT)
    images, labels = Member(path, "train_images"), Member(path, "train_labels")
    channels = 3 if len(images.shape) == 4 and images.shape[-1] == 3 else 1
    columns = 1 if len(labels.shape) == 1 else labels.shape[-1]
    if columns == len(names):
        return Info(Task.BINARY if columns == 1 else Task.MULTI_LABEL, names, channels, {})
    if columns == 1:
        return Info(Task.MULTI_CLASS, names, channels, {})
    raise DataError(
        f"{path}: train_labels: expected {len(names)} columns, one for each of {', '.join(names):.300}, "
        f"or one with the number of the class. Received: {_describe(labels)}."
    )


def _read_split(path, part, expected, size, data_dir):
    images = Member(path, f"{part}_images")
    colours = (3,) if expected.channels == 3 else ()
    shape = images.shape
    if len(shape) == 4 and shape[-1] == 1 and not colours:
        shape = shape[:-1]
    pixels = shape[1:3]
    wanted = f"uint8 (count, {size or 'S'}, {size or 'S'}{', 3' if colours else ''})"
    good = images.dtype == np.uint8 and len(shape) == 3 + len(colours) and shape[3:] == colours
    if not good or pixels[0] != pixels[1] or (size and pixels[0] != size):
        fits = good and pixels[0] == pixels[1]
        colour = expected.hint if shape[3:] == (3,) and not colours else ""
        hint = " Leave out --size, or choose the file of that size." if fits else colour
        raise DataError(f"{path}: {images.key}: expected {wanted}. Received: {_describe(images)}.{hint}")
    if 0 in shape:
        raise DataError(f"{path}: {images.key}: expected at least one image. Received: {_describe(images)}.")
    labels = _labels(path, part, expected, shape[0], data_dir)
    return Split(images.read(data_dir).reshape(*shape[:3], expected.channels), labels)


def _labels(path, part, expected, count, data_dir):
    """The labels of `count` images, as a `Split` has them."""
    labels = Member(path, f"{part}_labels")
    columns = 1 if expected.task.exclusive else len(expected.label_names)
    fits = labels.shape == (count, columns) or (columns == 1 and labels.shape == (count,))
    if not fits or labels.dtype.kind not in "bui":
        raise DataError(
            f"{path}: {labels.key}: expected integer labels ({count}, {columns}), "
            f"a row per image of {part}_images. Received: {_describe(labels)}.{expected.hint}"
        )
    values = labels.read(data_dir).reshape(count, columns)
    largest = len(expected.label_names) - 1 if expected.task.exclusive else 1
    if values.min() < 0 or values.max() > largest:
        raise DataError(
            f"{path}: {labels.key}: expected values 0 to {largest}. Received: {values.min()} to {values.max()}."
            f"{expected.hint}"
        )
    if expected.task.exclusive:
        return np.eye(len(expected.label_names), dtype=np.uint8)[values[:, 0]]
    return values.astype(np.uint8)


def _describe(array):
    return f"{array.dtype} {array.shape}"
