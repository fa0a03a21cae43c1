"""Test images that training images are copies of: a model may know their answers by heart."""

import hashlib

import numpy as np

from chestrobust.data.lazy import Lazy

AT_ONCE = 1024  # images read together


def count(images, others):
    """How many of the images are among the others, byte by byte; None if either is made when asked for (`Lazy`).

    Args:
        images, others: uint8, `(count, height, width, channels)`; memory-mapped ones are read piece by piece.
    """
    if isinstance(images, Lazy) or isinstance(others, Lazy):
        return None
    known = set(_digests(others))
    return sum(digest in known for digest in _digests(images))


def _digests(images):
    for begin in range(0, len(images), AT_ONCE):
        for image in np.ascontiguousarray(images[begin : begin + AT_ONCE]):
            yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()
