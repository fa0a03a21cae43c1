"""What every source of images returns, and how it refuses. One file per kind of source."""

from dataclasses import dataclass, replace

import numpy as np

from chestrobust.data.lazy import Lazy, Rows
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


def as_floats(images):
    """uint8 images as models take them: float32 in [0, 1]; a `Lazy` array is made as a whole."""
    return np.asarray(images, np.float32) / 255


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, `(count, height, width, channels)`, 0 to 255; a memory-mapped or `Lazy` array if large.
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
        """At most `limit` of the images; of memory-mapped and `Lazy` ones none are copied."""
        if limit is None or limit >= len(self):
            return self
        rows = selection(len(self), limit)
        return self.view(rows) if isinstance(self.images, np.memmap | Lazy) else self[rows]

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
