"""Models by name, and saved ones; each takes images in [0, 1] and ends in a layer `logits` before its activation."""

from chestrobust.data import metadata
from chestrobust.errors import ModelError
from chestrobust.models import backbones
from chestrobust.models.loading import answering, check_fits, load, load_logits, logits, opened, opened_all
from chestrobust.models.networks import HAND_MADE, build_cnn, build_covid_cnn, build_vgg, with_metadata

__all__ = [
    "ModelError",
    "answering",
    "build",
    "build_cnn",
    "build_covid_cnn",
    "build_vgg",
    "check_fits",
    "load",
    "load_logits",
    "logits",
    "opened",
    "opened_all",
]


def build(name, input_shape, num_labels, *, weights="none", freeze=False, backbone_size=None, **settings):
    """The model of a `--model`: see `build_cnn`, `build_vgg`, `build_covid_cnn` and `backbones.build`.

    Raises:
        ModelError: If the weights can't be had.
    """
    pixels = metadata.pixel_channels(input_shape)
    if pixels < input_shape[-1]:
        own = {"weights": weights, "freeze": freeze, "backbone_size": backbone_size, **settings}
        return with_metadata(build(name, (*input_shape[:2], pixels), num_labels, **own), input_shape)
    if name in HAND_MADE:
        return HAND_MADE[name](input_shape, num_labels, **settings)
    return backbones.build(
        name, input_shape, num_labels, weights=weights, freeze=freeze, size=backbone_size, **settings
    )
