"""Test images that are training or validation images too, which makes any score of them worth less."""

import hashlib

from tqdm import tqdm

CHUNK = 4096  # images read at once


def count(parts, name):
    """Number of test images that are, byte for byte, among the training or validation images.

    Args:
        parts: `Split`s by name.
        name: Of the data, for the bar that is shown if it takes long.
    """
    total = sum(map(len, parts.values()))
    with tqdm(
        total=total, desc=f"Looking for copies in {name}", unit=" images", leave=False, delay=1, disable=None
    ) as bar:
        seen = {digest for part in ("train", "val") for digest in _digests(parts[part].images, bar)}
        return sum(digest in seen for digest in _digests(parts["test"].images, bar))


def _digests(images, bar):
    for begin in range(0, len(images), CHUNK):
        for image in images[begin : begin + CHUNK]:
            yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            bar.update()
