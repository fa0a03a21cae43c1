"""The front door to data: `load` returns `Splits`, `batches` feeds them to a model, uint8 until the last moment."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from chestrobust import catalogue, commandline
from chestrobust.catalogue import resolve
from chestrobust.config import DATA_DIR
from chestrobust.data.metadata import beside
from chestrobust.data.sources import medmnist_npz
from chestrobust.data.splits import Splits
from chestrobust.errors import DataError, did_you_mean


def load_for(*, data, **given) -> Splits:
    """`load` what a script's options of `config.DATA` ask for, and say so."""
    commandline.under_way(f"Loading {data}")
    return load(data, **given)


def load(
    data,
    *,
    root=None,
    size=None,
    labels=None,
    data_dir=DATA_DIR,
    limit=None,
    train_subset=None,
    val_subset=None,
    metadata=False,
) -> Splits:
    """Load a data set; TensorFlow isn't needed. Arguments are the scripts' options of `config.DATA`.

    Args:
        data: A key of `catalogue.SOURCES`, such as `"chestmnist"`, `"nih"` or `"phantom"`, or a path to an npz file.
        root: Folder of the images, if the data are one.
        size: Height and width in pixels; None takes what a file holds, else 28.
        labels: Names of the labels of an npz file, or a text with commas between them. Default: the names in the array
            `label_names` of the file, else those of the MedMNIST set that its stem names, else ChestMNIST's.
        data_dir: Folder where files are looked for by name, and downloaded to.
        limit: Largest number of images per split, chosen by a fixed shuffle.
        train_subset, val_subset: As `limit`, of the training and of the validation images.
        metadata: Whether age, sex and view stand beside the pixels; see `metadata.beside`.

    Raises:
        DataError: With one line that says what is wrong, where, what was expected and what to do.
    """
    check_name(data)
    data_dir, name = Path(data_dir).expanduser(), data.lower()
    subsets = {"train": train_subset, "val": val_subset, "test": None}
    limits = {part: min(filter(None, (limit, subset)), default=None) for part, subset in subsets.items()}
    row = catalogue.SOURCES.get(name)
    if row and labels:
        raise DataError(f"--labels: expected --data with the path of an .npz file. Received {name}, whose are known.")
    if row:
        known = {
            "name": name,
            "root": root,
            "size": size or row.size,
            "data_dir": data_dir,
            "limit": limit,
            "limits": limits,
            "progress": lambda chunks: tqdm(chunks, f"Drawing the {name}", leave=False, disable=None),
        }
        splits = resolve(row.loader)(**{parameter: known[parameter] for parameter in row.parameters})
    else:
        splits = medmnist_npz.load_path(Path(data).expanduser(), size=size, labels=labels, data_dir=data_dir)
    splits = splits.limited(limits)
    return beside(splits) if metadata else splits


def check_name(data):
    """Refuse what is neither the name of a data set nor the path of a file."""
    if data.lower() not in catalogue.SOURCES and not is_path(data):
        raise DataError(
            f"Unknown data set {data.lower()!r}. Expected one of {', '.join(catalogue.SOURCES)}, or a path to an .npz "
            f"file.{did_you_mean(data.lower(), catalogue.SOURCES)}"
        )


def is_path(data):
    """Whether `data` is the path of an npz file, which has a size of its own, rather than the name of a data set."""
    path = Path(data).expanduser()
    return data.lower() not in catalogue.SOURCES and (len(path.parts) > 1 or bool(path.suffix) or path.exists())


def check_trainable(splits):
    """Refuse data on which no checkpoint could be chosen or nothing be reported."""
    for part in ("val", "test"):
        labels = splits.parts[part].labels
        if not np.any(labels.min(axis=0) < labels.max(axis=0)):
            raise DataError(
                f"{splits.name}: {part}: expected a label with positives and negatives among {len(labels)} images, "
                "else no AUC is defined. Received none. Use more images (--limit)."
            )
