"""Models by name, and saved ones; each takes images in [0, 1] and ends in a layer `logits` before its activation."""

from chestrobust.catalogue import MODELS, resolve
from chestrobust.data import metadata
from chestrobust.errors import ModelError
from chestrobust.models import backbones
from chestrobust.models.loading import copied, load, load_logits, logits
from chestrobust.models.networks import (
    build_certified_cnn,
    build_cnn,
    build_covid_cnn,
    build_robust_cnn,
    build_vgg,
    with_metadata,
)
from chestrobust.models.opening import Opened, opened, opened_all, understood

__all__ = [
    "ModelError",
    "Opened",
    "build",
    "build_certified_cnn",
    "build_cnn",
    "build_covid_cnn",
    "build_robust_cnn",
    "build_vgg",
    "copied",
    "load",
    "load_logits",
    "logits",
    "opened",
    "opened_all",
    "understood",
]


def build(name, input_shape, num_labels, *, weights="none", freeze=False, backbone_size=None, **settings):
    """The model of a `--model`, by its row in `catalogue.MODELS`; see `build_cnn` and `backbones.build`.

    Raises:
        ModelError: If the weights can't be had.
    """
    pixels = metadata.pixel_channels(input_shape)
    if pixels < input_shape[-1]:
        settings |= {"weights": weights, "freeze": freeze, "backbone_size": backbone_size}
        return with_metadata(build(name, (*input_shape[:2], pixels), num_labels, **settings), input_shape)
    if MODELS[name].hand_made:
        return resolve(MODELS[name].builder)(input_shape, num_labels, **settings)
    return backbones.build(
        name, input_shape, num_labels, weights=weights, freeze=freeze, size=backbone_size, **settings
    )
