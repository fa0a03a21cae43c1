"""Layers put around a stranger's model, so that it takes the data's pixels and answers with the data's labels.

Epsilon stays in the data's pixels, and gradients go through all of it.
"""

import math

from keras import layers, ops

from chestrobust.data import ranges
from chestrobust.errors import ModelError


def before(images, wanted, pixel_range):
    """Images of the data as a model takes them.

    Args:
        images: Symbolic images in [0, 1], `(batch, height, width, channels)`.
        wanted: Shape of the model's input, without the batch; None where any size will do.
        pixel_range: The `ranges.Range` of its pixels.

    Returns:
        What the model takes, and a list that says in words what was put in front; empty if nothing was.

    Raises:
        ModelError: If the model takes no images, or other channels.
    """
    x, said = images, []
    height, width, channels = _as_image(wanted, images.shape[1:])
    if (height or x.shape[1], width or x.shape[2]) != tuple(x.shape[1:3]):
        said.append(f"resized from {x.shape[1]}x{x.shape[2]} to {height}x{width}")
        x = layers.Resizing(height, width, name="to_its_size")(x, training=False)
    if channels == 3 and x.shape[-1] == 1:
        said.append("gray to RGB")
        x = layers.Concatenate(name="gray_to_rgb")([x, x, x])
    elif channels == 1 and x.shape[-1] == 3:
        said.append("RGB to gray")
        x = ops.image.rgb_to_grayscale(x)
    elif channels not in (None, x.shape[-1]):
        raise ModelError(f"expected images of {x.shape[-1]} channels, as in the data. Received a model for {channels}.")
    if pixel_range != ranges.OWN:
        said.append(f"pixels from 0 ... 1 to {pixel_range.shown}")
        x = _ranged(x, pixel_range)
    if len(wanted) < 3:
        said.append(f"shape {tuple(x.shape[1:])} to {tuple(wanted)}")
        x = layers.Reshape(wanted, name="to_its_shape")(x)
    return x, said


def _as_image(wanted, shape):
    """Height, width and channels of what a model takes, also if it takes no channel or one long row."""
    if len(wanted) == 3:
        return tuple(wanted)
    if len(wanted) == 2:
        return (*wanted, 1)
    if len(wanted) == 1 and wanted[0]:
        for channels in (shape[-1], 1, 3):
            side = math.isqrt(wanted[0] // channels)
            if shape[0] * shape[1] * channels == wanted[0]:
                return (*shape[:2], channels)
            if side * side * channels == wanted[0]:
                return (side, side, channels)
    raise ModelError(f"expected a model of images. Received one of {tuple(wanted)}.")


def _ranged(x, pixel_range):
    plain = pixel_range.scale == 1 and pixel_range.offset == 0
    if not plain:
        if isinstance(pixel_range.scale, tuple) and x.shape[-1] != len(pixel_range.scale):
            # A gray image has the mean of the colours.
            scale, offset = (sum(values) / len(values) for values in (pixel_range.scale, pixel_range.offset))
        else:
            scale, offset = (
                list(value) if isinstance(value, tuple) else value for value in (pixel_range.scale, pixel_range.offset)
            )
        x = layers.Rescaling(scale, offset, name="to_its_range")(x)
    if pixel_range.per_image:
        axes = tuple(range(1, len(x.shape)))
        centred = x - ops.mean(x, axis=axes, keepdims=True)
        least = 1 / math.sqrt(math.prod(x.shape[1:]))
        deviation = ops.sqrt(ops.mean(ops.square(centred), axis=axes, keepdims=True) + 1e-12)
        x = centred / ops.maximum(deviation, least)
    return x


def after(logits, activation, splits):
    """Logits of a model as those of the data's labels.

    Args:
        logits: Symbolic, `(batch, columns)`.
        activation: What turns them into the model's answers: `"sigmoid"`, `"softmax"` or `"linear"`.
        splits: The `Splits`.

    Returns:
        The logits, their activation, and a list that says in words what was done.

    Raises:
        ModelError: If the columns aren't those of the data.
    """
    names, columns = splits.label_names, logits.shape[-1]
    if columns == 2 and len(names) == 1 and activation in ("softmax", "linear"):
        # A softmax of two is the sigmoid of their difference.
        said = f"two columns to one: the second is {names[0]}, the first its absence"
        return logits[:, 1:] - logits[:, :1], "sigmoid" if activation == "softmax" else activation, [said]
    if columns == 1 and len(names) == 2 and splits.task.exclusive and activation in ("sigmoid", "linear"):
        said = f"one column to two: it is {names[1]}, its absence {names[0]}"
        both = layers.Concatenate(name="absent_present")([ops.zeros_like(logits), logits])
        return both, "softmax" if activation == "sigmoid" else activation, [said]
    if columns != len(names):
        raise ModelError(f"expected a model for {len(names)} labels, as in the data. Received one for {columns}.")
    if activation not in ("linear", splits.task.activation):
        wanted = "a softmax" if splits.task.exclusive else "sigmoids"
        raise ModelError(f"expected {wanted} for {splits.task} data. Received {activation}.")
    return logits, activation, []
