"""What every source of images returns, and how it refuses. One file per kind of source."""

from dataclasses import dataclass, replace

import numpy as np

from chestrobust.tasks import Task

CHEST_LABELS = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural",
    "hernia",
)


class Rows:
    """Some rows of an array that is too large to copy: what is indexed is copied, and nothing else.

    Args:
        array: Any array.
        rows: Indices into its first axis.
    """

    def __init__(self, array, rows):
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.array[self.rows[index]]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, `(count, height, width, channels)`, 0 to 255; a memory-mapped array or `Rows` of one if large.
        labels: uint8, `(count, num_labels)`: multi-hot; one column of 0 and 1 if binary; one-hot if multi-class.
        patients: Number of the patient of each image, `(count,)`, or None where patients are unknown.
        attributes: What else is known of each image, by name, each `(count,)`: `"age"` in years, float32, NaN if
            unknown; `"sex"` (`"F"`, `"M"`) and `"view"` (`"PA"`, `"AP"` ...), strings, empty if unknown. None where
            nothing is.
    """

    images: np.ndarray
    labels: np.ndarray
    patients: np.ndarray | None = None
    attributes: dict[str, np.ndarray] | None = None

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self._with_images(self.images[index], index)

    def limited(self, limit):
        """At most `limit` of the images; of memory-mapped ones none are copied."""
        if limit is None or limit >= len(self):
            return self
        rows = selection(len(self), limit)
        return self.view(rows) if isinstance(self.images, np.memmap | Rows) else self[rows]

    def view(self, rows):
        """The images with these indices, none of them copied."""
        return self._with_images(Rows(self.images, rows), rows)

    def _with_images(self, images, index):
        patients = None if self.patients is None else self.patients[index]
        known = self.attributes
        attributes = None if known is None else {name: values[index] for name, values in known.items()}
        return Split(images, self.labels[index], patients, attributes)


@dataclass(frozen=True)
class Splits:
    """A data set as every source returns it.

    Attributes:
        name: What results call it.
        task: The `Task`; its name is taken too.
        label_names: One name per column of the labels.
        train, val, test: The `Split`s.
        sha256: Identity of the data: of the file, of a folder's list of files, or of the parameters of made-up data.
        synthetic: Whether the data are made up.
        note: What a reader of results must know about the data, or an empty string.
    """

    name: str
    task: Task
    label_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    sha256: str
    synthetic: bool = False
    note: str = ""

    def __post_init__(self):
        object.__setattr__(self, "task", Task(self.task))

    @property
    def parts(self):
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def image_shape(self):
        return self.train.images.shape[1:]

    def limited(self, limits):
        """The same data set with at most `limits[part]` images in each split; None is no limit."""
        return replace(self, **{part: split.limited(limits[part]) for part, split in self.parts.items()})

    def by_label(self, values):
        """A number of each label, as results hold it."""
        return dict(zip(self.label_names, map(float, values), strict=True))

    def summary(self):
        """What `results.json` says about the data."""
        return {
            "name": self.name,
            "task": self.task,
            "sha256": self.sha256,
            "synthetic": self.synthetic,
            "note": self.note,
            "image_shape": list(self.image_shape),
            "label_names": list(self.label_names),
            "counts": {key: len(split) for key, split in self.parts.items()},
        }


def selection(count, limit):
    """Indices of the images that `--limit` keeps: the start of a shuffle that never changes, in file order.

    The seed is fixed, so that runs with different `--seed` are compared on the same images.
    """
    if limit is None or limit >= count:
        return slice(None)
    return np.sort(np.random.default_rng(0).permutation(count)[:limit])
