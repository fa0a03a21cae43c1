"""Which options of the model go together."""

from pathlib import Path

from chestrobust import catalogue
from chestrobust.errors import ExpectedError, setting


def check_model(options):
    """Refuse options of the model that contradict each other.

    Raises:
        ExpectedError: With the options and what to do.
    """
    name, row, source = options.model, catalogue.MODELS[options.model], getattr(options, "init_from", None)
    patch, size = row.patch, row.published_size
    weights, freeze, backbone_size = map(setting, ("weights", "freeze", "backbone_size"))
    if row.hand_made and (options.weights != "none" or options.freeze or options.backbone_size):
        raise ExpectedError(
            f"{weights}, {freeze}, {backbone_size}: expected a backbone, such as "
            f"{setting('model', 'resnet18')}. Received: {name}."
        )
    if patch and options.attention != "none":
        raise ExpectedError(
            f"{setting('attention', options.attention)}: expected a model with feature maps. Received: {name}, "
            f"whose blocks are attention already. Use {setting('attention', 'none')}."
        )
    if patch and options.backbone_size and options.backbone_size % patch:
        raise ExpectedError(
            f"{backbone_size}: expected a multiple of {patch} for {name}. Received: {options.backbone_size}."
        )
    if size and options.weights == "imagenet" and options.backbone_size not in (None, size):
        raise ExpectedError(
            f"{backbone_size}: expected {size}, the size of {name}'s ImageNet weights. "
            f"Received: {options.backbone_size}."
        )
    if options.weights not in ("none", "imagenet") and not Path(options.weights).expanduser().is_file():
        raise ExpectedError(f"{weights}: expected none, imagenet or a file. Received: {options.weights}.")
    if source and options.weights != "none":
        raise ExpectedError(f"{setting('init_from')} and {weights}: expected one source of weights. Received both.")
    if options.freeze and options.weights == "none" and not source:
        raise ExpectedError(f"{freeze}: expected {weights}, as a random backbone would stay random. Received none.")
