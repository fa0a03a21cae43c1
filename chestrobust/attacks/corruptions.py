"""What really happens to X-rays: the corruptions of MedMNIST-C, and exposures that differ from the usual.

    corrupt(images, "gaussian_noise", 0.12)

Images are uint8, `(count, height, width, channels)`, gray or RGB, and stay so. As there, gray images are worked on as
RGB and turned back, so that noise is drawn for three channels. What is random is drawn for each image from `seed` and
its index: every severity of a kind sees the same draws. Nothing here looks at a model.

Reference: Di Salvo et al., 2024, https://arxiv.org/abs/2406.17536
"""

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

from chestrobust.attacks import storage
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats

PUBLISHED_SIZE = 224  # pixels along a side of the images that strengths were chosen for


def _pixelate(image, factor, _):
    size = [max(1, int(side * factor)) for side in image.size]
    return image.resize(size, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def _jpeg(image, quality, _):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _gaussian_noise(image, deviation, generator):
    pixels = _floats(image)
    return _image(pixels + generator.normal(size=pixels.shape, scale=deviation))


def _speckle_noise(image, deviation, generator):
    pixels = _floats(image)
    return _image(pixels + pixels * generator.normal(size=pixels.shape, scale=deviation))


def _impulse_noise(image, share, generator):
    pixels = _floats(image)
    changed, white = generator.random(pixels.shape) <= share, generator.random(pixels.shape) <= 0.5
    return _image(np.where(changed, white, pixels))


def _shot_noise(image, photons, generator):
    return _image(generator.poisson(_floats(image) * photons) / photons)


def _gaussian_blur(image, width, _):
    # torchvision's: the width is the kernel's, in pixels, and sets the deviation.
    places = np.arange(width) - (width - 1) / 2
    kernel = np.exp(-0.5 * (places / (0.15 * width + 0.35)) ** 2)
    pixels = np.asarray(image, np.float64)
    for axis in (0, 1):
        pixels = ndimage.correlate1d(pixels, kernel / kernel.sum(), axis=axis, mode="mirror")
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _brightness(image, factor, _):
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image, factor, _):
    return ImageEnhance.Contrast(image).enhance(factor)


def _gamma(image, gamma, _):
    # torchvision's table: it rounds down, but white stays white.
    table = np.floor((256 - 1e-3) * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return Image.fromarray(table[np.asarray(image)])


def _floats(image):
    return np.asarray(image) / 255


def _image(pixels):
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))


@dataclass(frozen=True)
class Corruption:
    """A row of the table.

    Attributes:
        function: `function(image, strength, generator)` of a PIL image in RGB, which returns such an image.
        chest, pneumonia: MedMNIST-C's parameter of the severities 1 to 5 for ChestMNIST and for PneumoniaMNIST.
    """

    function: Callable
    chest: tuple[float, ...]
    pneumonia: tuple[float, ...]


def _same(function, *strengths):
    return Corruption(function, strengths, strengths)


# By MedMNIST-C's names.
CORRUPTIONS = {
    "pixelate": Corruption(_pixelate, (0.3, 0.25, 0.2, 0.15, 0.1), (0.8, 0.7, 0.6, 0.5, 0.4)),
    "jpeg_compression": _same(_jpeg, 50, 30, 15, 10, 7),
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.08, 0.12, 0.18, 0.26), (0.04, 0.05, 0.06, 0.07, 0.08)),
    "speckle_noise": Corruption(_speckle_noise, (0.05, 0.15, 0.2, 0.35, 0.45), (0.05, 0.07, 0.1, 0.15, 0.2)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.03, 0.06, 0.09, 0.17), (0.005, 0.01, 0.013, 0.017, 0.02)),
    "shot_noise": Corruption(_shot_noise, (60, 25, 18, 10, 5), (300, 200, 150, 100, 80)),
    "gaussian_blur": _same(_gaussian_blur, 3, 5, 7, 9, 11),
    "brightness_up": _same(_brightness, 1.1, 1.2, 1.3, 1.4, 1.5),
    "brightness_down": _same(_brightness, 0.9, 0.8, 0.7, 0.6, 0.5),
    "contrast_up": _same(_contrast, 1.1, 1.2, 1.3, 1.4, 1.6),
    "contrast_down": _same(_contrast, 0.9, 0.8, 0.7, 0.6, 0.4),
    "gamma_corr_up": _same(_gamma, 1.1, 1.2, 1.3, 1.4, 1.6),
    "gamma_corr_down": _same(_gamma, 0.9, 0.8, 0.7, 0.6, 0.4),
}


def strengths(kind, data):
    """MedMNIST-C's parameters of a corruption for severities 1 to 5.

    Args:
        kind: A key of `CORRUPTIONS`.
        data: Name of the data; PneumoniaMNIST's are milder, all others take ChestMNIST's.
    """
    row = CORRUPTIONS[kind]
    return row.pneumonia if data.startswith("pneumoniamnist") else row.chest


def corrupt(images, kind, strength, *, seed=0, indices=None):
    """Corrupted images.

    Args:
        images: uint8, `(count, height, width, channels)`, one channel or three.
        kind: A key of `CORRUPTIONS`.
        strength: What `strengths` has of it, e.g. a factor, or a deviation in pixel units of [0, 1].
        seed: Seed of what is random, >= 0.
        indices: Number of each image, which fixes what is random together with `seed`; default: 0 to `count - 1`.

    Returns:
        uint8, of the same shape.
    """
    found, gray = np.empty_like(images), images.shape[-1] == 1
    for place, generator in enumerate(_generators(len(images), seed, indices)):
        before = storage.picture(images[place]).convert("RGB")
        after = CORRUPTIONS[kind].function(before, strength, generator)
        found[place] = np.asarray(after.convert("L"))[..., None] if gray else np.asarray(after)
    return found


@dataclass(frozen=True)
class Exposure:
    """How an image was taken and kept, as a change of one that was taken as usual.

    Attributes:
        gamma: Exponent of the pixels in [0, 1].
        contrast: Factor of their distance from the image's mean.
        blur: Standard deviation, as a share of the image's longer side.
        noise: Standard deviation of Gaussian noise, in pixel units of [0, 1].
        rotation: Degrees; what is turned in repeats the edge.
    """

    gamma: float = 1.0
    contrast: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    rotation: float = 0.0


# The range of exposures that are searched, each value with each other one; what is as usual is among them.
RANGE = {
    "gamma": (0.8, 1.0, 1.25),
    "contrast": (0.8, 1.0, 1.25),
    "blur": (0.0, 0.02),
    "noise": (0.0, 0.02),
    "rotation": (-5.0, 0.0, 5.0),
}


def exposures():
    """All exposures of `RANGE`, a list of `Exposure`s."""
    return [Exposure(*values) for values in itertools.product(*RANGE.values())]


def exposed(images, exposure, *, seed=0, indices=None):
    """Images of another `Exposure`: turned, then gamma, contrast, blur and noise; the rest is as in `corrupt`."""
    pixels = as_floats(images).astype(np.float64)
    if exposure.rotation:
        pixels = ndimage.rotate(pixels, exposure.rotation, axes=(1, 2), reshape=False, order=1, mode="nearest")
    pixels = np.clip(pixels, 0, 1) ** exposure.gamma
    means = pixels.mean(axis=(1, 2, 3), keepdims=True)
    pixels = means + exposure.contrast * (pixels - means)
    deviation = exposure.blur * max(images.shape[1:3])
    pixels = ndimage.gaussian_filter(pixels, (0, deviation, deviation, 0), mode="nearest")
    if exposure.noise:
        generators = _generators(len(images), seed, indices)
        pixels += np.stack([one.normal(scale=exposure.noise, size=images.shape[1:]) for one in generators])
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def corruption(model, images, labels, *, kind, strength, seed=0, indices=None):
    """`corrupt` by the contract of `attacks.py`, but without a radius.

    Args:
        model, labels: Not looked at.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`; what is between grey levels is
            rounded. Channels of metadata are left alone.
        kind, strength, seed, indices: As in `corrupt`.
    """
    return _of_pixels(images, lambda pixels: corrupt(pixels, kind, strength, seed=seed, indices=indices))


def exposure(model, images, labels, *, strength, seed=0, indices=None):
    """`exposed` likewise; `strength` has the values of an `Exposure`."""
    return _of_pixels(images, lambda pixels: exposed(pixels, Exposure(*strength), seed=seed, indices=indices))


def _of_pixels(images, change):
    whole = np.rint(255 * np.asarray(images, np.float64)).astype(np.uint8)
    pixels = metadata.pixel_channels(whole.shape)
    return np.concatenate([as_floats(change(whole[..., :pixels])), np.asarray(images)[..., pixels:]], axis=-1)


def _generators(count, seed, indices):
    return [np.random.default_rng((seed, int(index))) for index in (range(count) if indices is None else indices)]
