"""Images sorted into a folder per class, as many Kaggle data sets are.

ROOT/train/CLASS/..., ROOT/test/CLASS/... and, if it is there, ROOT/val/CLASS/...
ROOT/CLASS/...                                                   without a split
"""

import numpy as np

from chestrobust.data.sources import decoded, splitting
from chestrobust.data.splits import Splits
from chestrobust.errors import DataError, printable

NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
HIDDEN = (".", "__MACOSX")  # what archives made on a Mac bring along
VAL_SHARE = 1 / 9  # of the training images: 10 % of all where 10 % are test images


def load(root, *, size, data_dir, limits):
    """Load PNG and JPEG images whose folder tells their class, in gray.

    Args:
        root: The folder, or None.
        size: Height and width that images are resized to.
        data_dir: Folder for decoded images where `root` can't be written.
        limits: Largest number of images per split, by name, or None.

    Returns:
        Multi-class `Splits`, classes in the order of their names. Without a split 80/10/10 by class; with one that
        lacks validation images, these are taken from the training images, by class. Images of the same bytes count as
        one when images are dealt out.

    Raises:
        DataError: If the folder isn't as expected.
    """
    root = decoded.folder("folders", root)
    given, classes, names = _files(root)
    state = decoded.identity(root, names)
    pictures = decoded.decode("folders", root, names, size=size, data_dir=data_dir, state=state)
    part, note = _split(given, classes, pictures.digests)
    label_names = tuple(sorted(set(classes)))
    labels = np.array([[name == label for label in label_names] for name in classes], np.uint8)
    return Splits(
        name=printable(root.resolve().name),
        task="multi-class",
        label_names=tuple(map(printable, label_names)),
        sha256=state,
        note=note,
        **splitting.dealt(root, part, pictures, labels),
    ).limited(limits)


def _files(root):
    """The split (None where there is none), the class and the path of every image."""
    for table, source in (("Data_Entry_2017*.csv", "nih"), ("metadata.csv", "covid")):
        if any(root.glob(table)):
            raise DataError(f"{root}: expected a folder for each class. Received a table too. Use --data {source}.")
    parts = {part: _subfolder(root, names) for part, names in NAMES.items()}
    if not any(parts.values()):
        parts = {None: root}
    elif not (parts["train"] and parts["test"]):
        raise DataError(
            f"{root}: expected train and test (and perhaps val), or folders of classes. "
            f"Received only {', '.join(path.name for path in parts.values() if path)}."
        )
    found = []
    for part, folder in parts.items():
        for path in _classes(folder) if folder else ():
            images = sorted(file for file in path.rglob("*") if _is_image(file))
            if not images and part in (None, "train"):
                raise DataError(f"{path}: expected PNG or JPEG images of this class. Received none.")
            found += [(part, path.name, str(image.relative_to(root))) for image in images]
    trained = {name for part, name, _ in found if part in (None, "train")}
    if len(trained) < 2:
        raise DataError(f"{root}: expected a folder for each of at least two classes. Received: {_list(trained)}.")
    for part, name, path in found:
        if name not in trained:
            raise DataError(f"{root}: {part}: expected the classes of train, {_list(trained)}. Received {path}.")
    return zip(*found, strict=True)


def _subfolder(root, names):
    return next((path for path in _classes(root) if path.name.lower() in names), None)


def _classes(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(HIDDEN))


def _is_image(file):
    return file.suffix.lower() in decoded.SUFFIXES and not file.name.startswith(HIDDEN) and file.is_file()


def _split(given, classes, digests):
    """Number of each image's part, and a note for the results."""
    copies = splitting.connected(digests)
    if given[0] is None:
        return splitting.by_group(copies, strata=classes), "split by class"
    part = np.array([splitting.PARTS.index(name) for name in given])
    leaked = int(np.isin(copies[part == 2], copies[part != 2]).sum())
    if leaked:
        decoded.say("folders", f"{leaked} test images are in the training or validation images too, byte for byte.")
    note = f"{leaked} test images also in train" if leaked else ""
    if 1 not in part:
        rest = np.flatnonzero(part == 0)
        strata = np.array(classes)[rest]
        part[rest] = splitting.by_group(copies[rest], shares=(1 - VAL_SHARE, VAL_SHARE), strata=strata)
        note = ", ".join(filter(None, (note, "val taken from train")))
    return part, note


def _list(names):
    return ", ".join(sorted(names)) or "none"
