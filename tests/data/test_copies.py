"""Test images that are copies of training images are counted."""

import numpy as np

from chestrobust.data import copies
from chestrobust.data.lazy import Lazy, Rows

IMAGES = np.random.default_rng(0).integers(0, 256, (copies.AT_ONCE + 10, 2, 2, 1), dtype=np.uint8)


def test_equal_images_are_counted_wherever_they_stand():
    others = np.concatenate([IMAGES[3:5], 255 - IMAGES[:1], IMAGES[-1:]])
    expected = sum((other == IMAGES).all(axis=(1, 2, 3)).any() for other in others)
    assert copies.count(others, IMAGES) == expected >= 3
    almost = IMAGES[:1] ^ np.uint8([[[[0], [0]], [[0], [1]]]])
    assert copies.count(almost, IMAGES[:1]) == 0


def test_images_of_a_mapped_file_are_read_and_none_are_decoded(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert copies.count(Rows(mapped, np.array([7, 9])), mapped) == 2
    assert copies.count(Rows(mapped, np.array([7])), IMAGES[8:20]) == 0
    decoded = Lazy(IMAGES.shape, IMAGES.dtype, None)
    assert copies.count(decoded, IMAGES) is None
    assert copies.count(IMAGES, Rows(decoded, np.array([1]))) is None
