"""The radiologists' boxes of NIH ChestX-ray14, and how well maps agree with them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chestrobust.data.sources import csvfile, images, nih
from chestrobust.data.splits import CHEST_LABELS
from chestrobust.errors import DataError

ORIGINAL = 1024  # pixels on each side of the images in which the boxes were drawn
NAMES = {"infiltrate": "infiltration", "pleural_thickening": "pleural"}


@dataclass(frozen=True)
class Boxed:
    """Images with a box each; an image with two boxes is there twice.

    Attributes:
        images: uint8, `(count, size, size, 1)`.
        labels: uint8, `(count, 14)`, ChestMNIST's.
        found: Index of the label that each box is about, `(count,)`.
        boxes: Left, top, right and bottom in pixels of `images`, float, `(count, 4)`.
        files: Name of each image's file.
    """

    images: np.ndarray
    labels: np.ndarray
    found: np.ndarray
    boxes: np.ndarray
    files: tuple[str, ...]


def load(path, size):
    """The boxes in `BBox_List_2017.csv`, with the images and the table that lie in its folder or below.

    Args:
        path: The file. Its coordinates are those of the original 1024 x 1024 pixels.
        size: Height and width to which images and boxes are scaled.

    Raises:
        DataError: If the file isn't such a list, or no image in it is there.
    """
    path = Path(path).expanduser()
    listed = csvfile.read(path, ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"))
    table = next(iter(sorted(path.parent.glob("Data_Entry_2017*.csv"))), path.parent / "Data_Entry_2017.csv")
    findings = {
        row["Image Index"]: row["Finding Labels"] for row in csvfile.read(table, ("Image Index", "Finding Labels"))
    }
    places = {place.name: place for place in path.parent.rglob("*.png")} | nih.found(path.parent)
    rows = [row for row in listed if row["Image Index"] in places and row["Image Index"] in findings]
    if not rows:
        raise DataError(f"{path}: expected images of this list in its folder or below. Received none of them.")
    scale = size / ORIGINAL
    x, y, width, height = (
        scale * np.array([_number(row[name], path) for row in rows]) for name in ("Bbox [x", "y", "w", "h]")
    )
    names = [row["Image Index"] for row in rows]
    return Boxed(
        np.stack([images.read(places[name], size) for name in names]),
        np.stack([_multi_hot(findings[name].split("|"), table) for name in names]),
        np.array([_multi_hot([row["Finding Label"]], path).argmax() for row in rows]),
        np.stack([x, y, x + width, y + height], axis=1),
        tuple(names),
    )


def _number(text, path):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: expected numbers for each box. Received: {text!r:.60}.")
    return value


def _multi_hot(findings, path):
    names = [NAMES.get(finding.strip().lower(), finding.strip().lower()) for finding in findings]
    unknown = [name for name in names if name not in (*CHEST_LABELS, "no finding")]
    if unknown:
        raise DataError(f"{path}: expected findings of ChestX-ray14. Received: {unknown[0]!r}.")
    return np.isin(CHEST_LABELS, names).astype(np.uint8)


def mass_inside(maps, boxes):
    """Share of each map inside its box, pixels at the edge by the share of them that is inside.

    Args:
        maps: 0 or more, `(count, height, width)`.
        boxes: Left, top, right and bottom in pixels, `(count, 4)`.

    Returns:
        Float64, `(count,)`, 0 to 1; 0 where a map is 0 everywhere.
    """
    maps = np.asarray(maps, np.float64)
    inside = np.array([(m * _cover(box, m.shape)).sum() for m, box in zip(maps, boxes, strict=True)])
    total = maps.sum(axis=(1, 2))
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def points_inside(maps, boxes):
    """The pointing game: whether the middle of each map's largest pixel is in its box; a map of zeros points nowhere.

    Reference: Zhang et al., 2016, https://arxiv.org/abs/1608.00507
    """
    hits = []
    for m, (left, top, right, bottom) in zip(maps, boxes, strict=True):
        row, column = np.unravel_index(np.argmax(m), m.shape)
        hits.append(m.max() > 0 and left <= column + 0.5 <= right and top <= row + 0.5 <= bottom)
    return np.array(hits, np.float64)


def area(boxes, shape):
    """Share of the image that each box covers, `(count,)`: what a map without any knowledge would have inside."""
    return np.array([_cover(box, shape).mean() for box in boxes])


def _cover(box, shape):
    """Share of each pixel that is inside a box, `shape`."""
    left, top, right, bottom = box
    rows, columns = (np.arange(length) for length in shape)
    tall = np.clip(np.minimum(rows + 1, bottom) - np.maximum(rows, top), 0, 1)
    wide = np.clip(np.minimum(columns + 1, right) - np.maximum(columns, left), 0, 1)
    return tall[:, None] * wide
