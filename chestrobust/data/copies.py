"""Test images that training images are copies of: a model may know their answers by heart."""

import hashlib

import numpy as np

from chestrobust.data.lazy import Lazy, Rows

AT_ONCE = 1024  # images read together


def count(images, *others):
    """How many of the images are among the others, byte by byte; None if some are only made when asked for.

    Args:
        images, others: uint8, `(count, height, width, channels)`; memory-mapped ones are read piece by piece.
    """
    if not all(map(_held, (images, *others))):
        return None
    known = {digest for each in others for digest in _digests(each)}
    return sum(digest in known for digest in _digests(images))


def _held(images):
    """Whether the images lie in an array, so that none must be decoded."""
    return _held(images.array) if isinstance(images, Rows) else not isinstance(images, Lazy)


def _digests(images):
    for begin in range(0, len(images), AT_ONCE):
        for image in np.ascontiguousarray(images[begin : begin + AT_ONCE]):
            yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()
