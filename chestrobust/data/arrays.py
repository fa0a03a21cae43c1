"""Arrays in memory as `Splits`."""

import hashlib

import numpy as np

from chestrobust.data import ranges
from chestrobust.data.splits import Split, Splits
from chestrobust.errors import DataError
from chestrobust.tasks import Task

NO_VALIDATION = "no validation images were given: thresholds are 0.5, and the images themselves served for checks"


def pixel_range(given):
    """The `ranges.Range` of an argument: None, a name, or a sequence as the words of `--input-range`."""
    if given is None:
        return None
    return ranges.parse(given.split() if isinstance(given, str) else [_word(one) for one in given])


def _word(one):
    return one if isinstance(one, str) else f"{one:g}"


def splits(
    images, labels, val_images=None, val_labels=None, *, train=None, label_names=None, task=None, pixel_range=None
):
    """Arrays as `Splits` whose test split they are.

    Args:
        images: uint8, or floats in `pixel_range`, `(count, height, width)` or with channels.
        labels: Classes, `(count,)`, or 0 and 1, `(count, num_labels)`.
        val_images, val_labels: The same of the validation split; without them it is the test split again.
        train: Images and labels of the training split; without them it is the validation split again.
        label_names: A name for each label, or None.
        task: Name of the task, or None where the labels tell.
        pixel_range: The `ranges.Range` of floats; None is 0 to 1.

    Raises:
        DataError: If they don't fit each other.
    """
    if (val_images is None) != (val_labels is None):
        raise DataError("val_images and val_labels: expected both or none. Received one of them.")
    labels = _array("labels", labels)
    parts = {"test": (images, labels)}
    if val_images is not None:
        parts["val"] = (val_images, _array("val_labels", val_labels))
    if train is not None:
        parts["train"] = (train[0], _array("labels", train[1]))
    classes = int(max(part[1].max() for part in parts.values() if part[1].ndim == 1)) + 1 if labels.ndim == 1 else None
    found = {
        part: Split(_pixels(f"{part} images", given, pixel_range or ranges.OWN), _columns(part, wanted, classes, task))
        for part, (given, wanted) in parts.items()
    }
    for part, split in found.items():
        if len(split.images) != len(split.labels):
            raise DataError(
                f"{part}: expected labels for {len(split.images)} images. Received {len(split.labels)} of them."
            )
    test, val = found["test"], found.get("val", found["test"])
    train = found.get("train", val)
    count = test.labels.shape[1]
    if len({(split.labels.shape[1], split.images.shape[1:]) for split in found.values()}) > 1:
        raise DataError("val_images and val_labels: expected the shapes of images and labels. Received others.")
    names = tuple(label_names or (f"label {number}" for number in range(count)))
    if label_names and count == 1 and len(names) == 2:
        names = names[1:]  # of the absence and the presence of the one label
    if len(names) != count:
        raise DataError(f"label_names: expected {count}, one for each label. Received {len(names)}.")
    if task is None:
        exclusive = count > 1 and (test.labels.sum(axis=1) == 1).all()
        task = Task.MULTI_CLASS if exclusive else Task.BINARY if count == 1 else Task.MULTI_LABEL
    digest = hashlib.sha256()
    for array in [getattr(split, name) for split in (train, val, test) for name in ("images", "labels")]:
        digest.update(np.ascontiguousarray(array).tobytes())
    note = NO_VALIDATION if val is test else ""
    return Splits("memory", task, names, train, val, test, digest.hexdigest(), note=note)


def _array(name, labels):
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or not len(labels) or labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        raise DataError(
            f"{name}: expected finite numbers, (count,) or (count, num_labels). Received {labels.dtype} of shape "
            f"{labels.shape}."
        )
    if (labels != np.round(labels)).any() or labels.min() < 0 or (labels.ndim == 2 and labels.max() > 1):
        raise DataError(f"{name}: expected classes, or 0 and 1. Received values from {labels.min()} to {labels.max()}.")
    return labels.astype(np.int64)


def _columns(part, labels, classes, task):
    """Labels as columns of 0 and 1: of two classes one, as a diagnosis that is there or not."""
    if labels.ndim == 2:
        return labels.astype(np.uint8)
    if classes > 2 or (task is not None and Task(task).exclusive):
        return np.eye(max(classes, 2), dtype=np.uint8)[labels]
    return labels[:, None].astype(np.uint8)


def _pixels(name, images, pixel_range):
    """Images as `as_floats` takes them: 0 to 255, floats if they were."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype.kind not in "uf" or (images.dtype.kind == "u" and images.dtype != np.uint8):
        raise DataError(
            f"{name}: expected uint8 or floats, (count, height, width) or with channels. Received {images.dtype} of "
            f"shape {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if pixel_range.per_image:
        raise DataError(f"{name}: expected uint8 with input_range per-image, as floats no longer tell the pixels.")
    pixels = (images.astype(np.float64) - np.asarray(pixel_range.offset)) / np.asarray(pixel_range.scale)
    low, high = pixels.min(), pixels.max()
    if not (low >= -1e-5 and high <= 1 + 1e-5):  # NaN too
        raise DataError(
            f"{name}: expected floats within {pixel_range.name}, the input_range. Received {images.min():.4g} to "
            f"{images.max():.4g}. Give input_range=(low, high) of the pixels that the model takes."
        )
    return (255 * np.clip(pixels, 0, 1)).astype(np.float32)
