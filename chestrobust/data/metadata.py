"""Age, sex and view beside the pixels: three more channels of every image, each the same all over.

So whatever takes images takes them along, attacks and explanations too. A model reads the mean of such a channel,
rounded to quarters, which lets no gradient through (`models.with_metadata`): whoever may change pixels by less than 1/8
can't change what it reads there. The patient's data are no pixels, and not the attacker's.
"""

import dataclasses

import numpy as np

from chestrobust.data.lazy import Lazy, white_of
from chestrobust.data.subgroups import age_bands
from chestrobust.errors import DataError

CHANNELS = ("age", "sex", "view")
STEPS = 4  # what is between 0 and 1 is known in quarters; what is unknown is in the middle


def joined(images, values):
    """Images with channels of metadata, a `Lazy` array.

    Args:
        images: uint8, `(count, height, width, channels)`; any array, also a memory-mapped one.
        values: uint8, `(count, 3)`.
    """

    def take(index):
        pixels = images[index]
        planes = np.broadcast_to(values[index][..., None, None, :], (*pixels.shape[:-1], len(CHANNELS)))
        return np.concatenate([pixels, planes], axis=-1)

    return Lazy((*images.shape[:3], images.shape[3] + len(CHANNELS)), images.dtype, take, white_of(images))


def beside(splits):
    """`Splits` whose images have the channels `CHANNELS` after those of their pixels.

    Raises:
        DataError: If the source doesn't tell age, sex and view.
    """
    for split in splits.parts.values():
        if missing := [name for name in CHANNELS if name not in (split.attributes or {})]:
            raise DataError(
                f"--metadata: expected data that tell {', '.join(CHANNELS)}, such as nih and covid. "
                f"Received {splits.name}, which doesn't tell {missing[0]}."
            )
    return dataclasses.replace(
        splits,
        **{
            part: dataclasses.replace(split, images=joined(split.images, values(split.attributes)))
            for part, split in splits.parts.items()
        },
    )


def values(attributes):
    """What the channels hold, uint8 `(count, 3)`: age in five bands from 0 to 255, F or M, PA or AP."""
    ages = attributes["age"]
    columns = [np.where(np.isnan(ages), 0.5, age_bands(ages) / STEPS)]
    for name, (zero, one) in (("sex", "FM"), ("view", ("PA", "AP"))):
        columns.append(np.select([attributes[name] == zero, attributes[name] == one], [0.0, 1.0], 0.5))
    return np.rint(255 * np.stack(columns, axis=1)).astype(np.uint8)


def pixels(images):
    """Images without channels of metadata; arrays or tensors, gray or RGB, whole splits or a single image."""
    return images[..., : pixel_channels(images.shape)]


def pixel_channels(shape):
    """How many channels of an image's shape are pixels: 1 or 3, so what is beyond them is metadata."""
    return shape[-1] - len(CHANNELS) if shape[-1] > 3 else shape[-1]
