"""Images sorted into a folder per class, as many Kaggle data sets are.

ROOT/train/CLASS/..., ROOT/test/CLASS/... and, if it is there, ROOT/val/CLASS/...
ROOT/CLASS/...                                                   without a split

Images may lie deeper below their class. Masks beside them, and files that are no PNG or JPEG images, are left out.
"""

import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from chestrobust.data.sources import decoded, splitting
from chestrobust.data.splits import Splits
from chestrobust.errors import DataError, printable

NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
HIDDEN = (".", "__MACOSX")  # what archives made on a Mac bring along
MASK_FOLDER = re.compile(r"(?<![a-z])(masks?|segmentations?)(?![a-z])", re.IGNORECASE)
MASK_FILE = re.compile(r"[ _-]+masks?([ _-]?\d+)?$", re.IGNORECASE)  # `x_mask.png` beside `x.png`
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
    if parts.keys() == {None}:
        _check_depth(root, _classes(root))
    found, left = [], _beside(root, [folder for folder in parts.values() if folder])
    for part, folder in parts.items():
        for path in _classes(folder) if folder else ():
            images = _images(path, left)
            if not images and part in (None, "train"):
                raise DataError(f"{path}: expected PNG or JPEG images of this class. Received none.{_hint(root)}")
            found += [(part, path.name, str(image.relative_to(root))) for image in images]
    trained = {name for part, name, _ in found if part in (None, "train")}
    if len(trained) < 2:
        received = f"Received: {_list(trained)}.{_hint(root)}"
        raise DataError(f"{root}: expected a folder for each of at least two classes. {received}")
    for part, name, path in found:
        if name not in trained:
            raise DataError(f"{root}: {part}: expected the classes of train, {_list(trained)}. Received {path}.")
    _say(root, found, left)
    return zip(*found, strict=True)


def _subfolder(root, names):
    return next((path for path in _classes(root) if path.name.lower() in names), None)


def _classes(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(HIDDEN))


def _is_image(file):
    return file.suffix.lower() in decoded.SUFFIXES and not file.name.startswith(HIDDEN) and file.is_file()


def _images(path, left):
    """The images below a class's folder; what else is there is added to `left`, a dict from reason to paths."""
    found = []
    for folder, folders, names in os.walk(path):
        folder, stems = Path(folder), {Path(name).stem for name in names}
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        left["links to folders are"] += [folder / name for name in folders if (folder / name).is_symlink()]
        masks = any(map(MASK_FOLDER.search, folder.relative_to(path).parts))
        for name in sorted(name for name in names if not name.startswith(HIDDEN)):
            file, stem = folder / name, Path(name).stem
            if not _is_image(file):
                left["files that are no PNG or JPEG images are"].append(file)
            elif masks or (MASK_FILE.search(stem) and MASK_FILE.sub("", stem) in stems):
                left["masks beside images are"].append(file)
            else:
                found.append(file)
    return sorted(found)


def _beside(root, folders):
    """What lies beside the folders of classes and is left out: a dict from reason to paths."""
    left = defaultdict(list)
    if folders != [root]:
        left["folders beside train and test are"] = [path for path in _classes(root) if path not in folders]
    for folder in {root, *folders}:
        left["images outside of classes are"] += sorted(filter(_is_image, folder.iterdir()))
    return left


def _say(root, found, left):
    """Tell what is taken from deeper folders, and what is left out."""
    shallow = 2 if found[0][0] is None else 3
    deeper = sorted({str(Path(path).parent) for _, _, path in found if len(Path(path).parts) > shallow})
    if deeper:
        more = f" and of {len(deeper) - 1} more" if deeper[1:] else ""
        decoded.say("folders", f"images in subfolders of a class are taken as of this class: of {deeper[0]}{more}.")
    for reason, paths in left.items():
        if paths:
            decoded.say("folders", f"{len(paths)} {reason} left out. The first: {paths[0].relative_to(root)}.")


def _check_depth(root, classes):
    """Refuse folders of data sets, which would become classes, and splits within each class."""
    for path in classes:
        for part in (part for names in NAMES.values() if (part := _subfolder(path, names))):
            if not _classes(part):
                raise DataError(
                    f"{root}: expected train and test with a folder per class in each. "
                    f"Received {part.relative_to(root)}: splits within classes. Move them to {part.name}/{path.name}."
                )
            raise DataError(f"{root}: expected a folder for each class. Received folders of data sets.{_hint(root)}")
    inner = [set() if _has_images(path) else _inner(path) for path in classes]
    direct = any(map(_has_images, classes))
    if len(classes) > 1 and (len(set.intersection(*inner)) > 1 or (direct and any(len(names) > 1 for names in inner))):
        raise DataError(
            f"{root}: expected a folder for each class. Received folders of folders of images.{_hint(root)}"
        )


def _has_images(folder):
    return any(map(_is_image, folder.iterdir()))


def _inner(folder):
    """Names of a folder's subfolders with images that are no masks."""
    return {path.name for path in _classes(folder) if not MASK_FOLDER.search(path.name) and _has_images(path)}


def _hint(root):
    """Which folder below may have been meant, in words; empty if none looks like it."""
    for folder, folders, _ in os.walk(root):
        folders.sort()
        path = Path(folder)
        is_split = all(_subfolder(path, NAMES[part]) for part in ("train", "test"))
        if path != root and (is_split or (len(_inner(path)) > 1 and not _has_images(path))):
            return f" Is it {path}?"
    return ""


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
