"""Random changes of training images, such as small shifts. Validation and test images never come here.

What happens to an image is a function of (seed, epoch, number of the image), whatever its batch and device.
"""

import dataclasses
import math

import tensorflow as tf

from chestrobust.data import metadata

STREAM = 0x617567  # keeps these random numbers apart from those of the attacks, which have the same seed


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far images are changed.

    Attributes:
        rotation: Largest angle either way, in degrees.
        translation: Largest shift either way, as a share of width and of height.
        flip: Whether half of the images are mirrored. A mirrored chest has its heart on the right, and left and right
            tell findings apart: not for X-rays unless asked for.
        crop: Share of width and height that a random crop keeps; it is enlarged to the full size again.
        scale: Largest change of size either way, as a share of it.
        edges: Whether what is moved in from outside repeats the pixels at the edge; else it is black.
    """

    rotation: float = 0.0
    translation: float = 0.0
    flip: bool = False
    crop: float = 1.0
    scale: float = 0.0
    edges: bool = False


# But for the first two, as the systems of these models augment.
PRESETS = {
    "none": Augmentation(),
    # Black edges would be seen in training alone: docs/recipe.md has what they cost.
    "light": Augmentation(rotation=4, translation=1 / 28, scale=0.05, edges=True),
    "vgg": Augmentation(rotation=15, translation=0.1, flip=True),
    "covid_cnn": Augmentation(rotation=30, flip=True, crop=112 / 128),
}


def of(preset, **changes):
    """The `Augmentation` of a preset, by name, changed by what isn't None."""
    return dataclasses.replace(PRESETS[preset], **{name: value for name, value in changes.items() if value is not None})


def augmented(images, augmentation, *, seed, indices):
    """Changed images.

    Args:
        images: Floats in [0, 1], `(batch, height, width, channels)`.
        augmentation: An `Augmentation`.
        seed: Two integers, of seed and epoch.
        indices: Number of each image in the training split, `(batch,)`.

    Returns:
        Images in [0, 1], shaped like `images`; `images` themselves if nothing is to be changed.
    """
    if augmentation == Augmentation():
        return images
    stream = tf.random.experimental.stateless_fold_in(seed, STREAM)
    size = tf.shape(images)[1:3]

    def transform(index):
        numbers = tf.random.stateless_uniform([7], tf.random.experimental.stateless_fold_in(stream, index), -1.0, 1.0)
        return _transform(augmentation, numbers, tf.cast(size, tf.float32))

    # One by one: the sine of a vector differs in the last bit with the place in it, so with the batch.
    transforms = tf.map_fn(transform, indices, fn_output_signature=tf.float32)
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=metadata.pixels(images),
        transforms=transforms,
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST" if augmentation.edges else "CONSTANT",
    )
    return tf.concat([changed, images[..., metadata.pixel_channels(images.shape) :]], axis=-1)


def _transform(augmentation, numbers, size):
    """From a pixel of the output to the one of the input, `(8,)`, as TensorFlow wants it.

    Args:
        augmentation: An `Augmentation`.
        numbers: Seven random numbers in [-1, 1].
        size: Height and width in pixels.
    """
    turn, right, down, mirror, crop_right, crop_down, larger = tf.unstack(numbers)
    angle = turn * (augmentation.rotation * math.pi / 180)
    sign = tf.where(mirror < 0, -1.0, 1.0) if augmentation.flip else 1.0
    zoom = augmentation.crop / (1 + augmentation.scale * larger)
    cos, sin = zoom * tf.cos(angle), zoom * tf.sin(angle)
    slack = 1 - augmentation.crop
    y, x = tf.unstack((size - 1) / 2)  # the centre, about which images turn
    to_x = x - (cos * sign * x - sin * y) + size[1] * augmentation.translation * right + slack * x * crop_right
    to_y = y - (sin * sign * x + cos * y) + size[0] * augmentation.translation * down + slack * y * crop_down
    return tf.stack([cos * sign, -sin, to_x, sin * sign, cos, to_y, 0.0, 0.0])
