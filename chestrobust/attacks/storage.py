"""Attacked images as a file holds them: whole grey levels of 8 bits, inside the ball, counted in integers.

Rounding alone would do harm: a change of 0.4 levels is gone, one of 1.5 levels becomes 2 and leaves its ball.
"""

import numpy as np
from PIL import Image

LEVELS = 255  # steps between the grey levels of 8 bits


def whole_levels(epsilon):
    """How many grey levels a pixel of an image of 8 bits may change inside a ball: 4 of 4/255, none below 1/255.

    Args:
        epsilon: Radius in pixel units of [0, 1].
    """
    return int(np.floor(LEVELS * epsilon + 1e-6))  # 255 * (k / 255) may lie just below k


def levels(images):
    """Grey levels of images of 8 bits, float64 of whole numbers from 0 to 255.

    Args:
        images: Floats in [0, 1] that are k/255.

    Raises:
        ValueError: If they aren't of 8 bits.
    """
    values = LEVELS * np.asarray(images, np.float64)
    whole = np.rint(values)
    if np.abs(whole - values).max(initial=0) > 1e-3:
        raise ValueError("`clean` must be images of 8 bits divided by 255. Received values between grey levels.")
    return whole


def stored(adversarial, clean, epsilon):
    """The images of 8 bits nearest to attacked ones, none farther from the clean ones than the ball allows.

    Args:
        adversarial: Floats in [0, 1].
        clean: The clean images, which are of 8 bits: floats in [0, 1] that are k/255, of the same shape.
        epsilon: Radius of the L-infinity ball, in pixel units of [0, 1].

    Returns:
        uint8, 0 to 255, of that shape.

    Raises:
        ValueError: If clean images aren't of 8 bits.
    """
    before, most = levels(clean), whole_levels(epsilon)
    change = np.clip(np.rint(LEVELS * np.asarray(adversarial, np.float64)) - before, -most, most)
    return np.clip(before + change, 0, LEVELS).astype(np.uint8)


def changed_levels(images, clean):
    """The largest change of a pixel in grey levels, an integer; images of 8 bits, the clean ones as in `stored`."""
    before = np.rint(LEVELS * np.asarray(clean, np.float64)).astype(np.int64)
    return int(np.abs(images.astype(np.int64) - before).max(initial=0))


def picture(pixels):
    """A PIL image of uint8 pixels, gray `(height, width, 1)` or RGB `(height, width, 3)`."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
