"""Who goes where: training, validation and test images of data that come without a split, or with half of one."""

import numpy as np

from chestrobust.data.lazy import Rows
from chestrobust.data.splits import Split
from chestrobust.errors import DataError

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
SEED = 0  # Fixed, so that runs with different `--seed` are compared on the same images.


def by_group(groups, *, shares=SHARES, strata=None):
    """Deal images out, so that all images of a group (a patient) land in one part.

    Args:
        groups: Group of each image, `(count,)`, any numbers or strings.
        shares: Share of the images that each part should have; sums to 1.
        strata: Class of each image, `(count,)`, or None. Each class is then dealt out for itself; a group belongs to
            the class of its first image.

    Returns:
        Number of each image's part, int64, `(count,)`: a function of the arguments alone. A class with as many groups
        as there are parts is in all of them.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(group)
    classes = np.zeros(len(sizes), np.int64) if strata is None else np.asarray(strata)[first]
    part = np.zeros(len(sizes), np.int64)
    random = np.random.default_rng(SEED)
    for name in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == name))
        middle = np.cumsum(sizes[members]) - sizes[members] / 2
        numbers = np.searchsorted(np.cumsum(shares)[:-1] * sizes[members].sum(), middle, side="right")
        if len(members) >= len(shares):
            for missing in set(range(len(shares))) - set(numbers.tolist()):
                numbers[np.flatnonzero(numbers == np.bincount(numbers).argmax())[-1]] = missing
        part[members] = numbers
    return part[group]


def connected(*keys):
    """Groups of images that have a key in common, directly or over others.

    Args:
        keys: Sequences with a key per image, such as patients and checksums; an empty one connects nothing.

    Returns:
        Number of each image's group, int64, `(count,)`.
    """
    parent = list(range(len(keys[0])))

    def root(image):
        while parent[image] != image:
            parent[image] = image = parent[parent[image]]
        return image

    for column in keys:
        seen = {}
        for image, key in enumerate(column):
            if key:
                parent[root(image)] = root(seen.setdefault(key, image))
    return np.array([root(image) for image in range(len(parent))])


def dealt(name, part, decoded, labels, patients=None, attributes=None):
    """The splits by name, without the images that can't be read.

    Args:
        name: Of the data, for the error.
        part: Number of each image's part, `(count,)`.
        decoded: `Decoded` images.
        labels, patients, attributes: As in `Split`, for all images.

    Raises:
        DataError: If a part has no images.
    """
    splits = {}
    for number, key in enumerate(PARTS):
        rows = np.flatnonzero((part == number) & decoded.readable)
        if not len(rows):
            raise DataError(f"{name}: {key}: expected at least one image. Received none of {len(part)}.")
        splits[key] = Split(
            Rows(decoded.images, rows),
            labels[rows],
            None if patients is None else patients[rows],
            None if attributes is None else {key: values[rows] for key, values in attributes.items()},
        )
    return splits
