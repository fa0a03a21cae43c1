"""What every attack refuses: options out of range, and images or labels that can't be what they seem."""

import functools
import warnings

import numpy as np
import tensorflow as tf

from chestrobust import losses
from chestrobust.attacks.norms import L2, LINF

LOOK_AT = 32  # images: enough outputs to tell probabilities from logits that happen to lie in [0, 1]


def check_options(epsilon, norm=LINF, *, steps=1, restarts=1, random_start=True, step_size=0.0):
    """Raise ValueError unless the options of an attack make sense; every message has the value received."""
    if epsilon < 0 or step_size < 0 or (norm is not L2 and max(epsilon, step_size) > 1):
        raise ValueError(
            f"Lengths are in pixel units of [0, 1], as in 8 / 255. Received: epsilon={epsilon}, step_size={step_size}"
        )
    if steps < 1 or restarts < 1:
        raise ValueError(f"`steps` and `restarts` must be >= 1. Received: steps={steps}, restarts={restarts}")
    if restarts > 1 and not random_start:
        raise ValueError(
            f"Restarts differ by their random start alone. Received: restarts={restarts}, random_start=False"
        )


def check(images, labels, loss):
    """Raise ValueError unless these are images in [0, 1] with a row of labels each, or of the loss's weights."""
    if images.ndim != 4 or images.dtype.kind != "f" or not len(images):
        raise ValueError(
            "`images` must be floats in [0, 1] of shape (count, height, width, channels); divide uint8 images by 255. "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.ndim != 2 or len(labels) != len(images):
        raise ValueError(
            f"`labels` must be of shape ({len(images)}, num_labels), a row per image. Received: {labels.shape}"
        )
    low, high = images.min(), images.max()
    # Written so that NaN fails too.
    if not (low >= 0 and high <= 1):
        raise ValueError(f"`images` must lie in [0, 1]. Received: minimum {low}, maximum {high}")
    wrong = labels[~(np.isfinite(labels) if loss in losses.WEIGHTED else np.isin(labels, (0, 1)))]
    if len(wrong):
        raise ValueError(
            "`labels` must be 0 or 1; decide on uncertain and missing ones first, or leave their images out. "
            f"Received: {wrong[0]}"
        )


def check_outputs(model, images):
    """Warn if a model's answers look like probabilities; looks at each model once, not at those of `models.logits`."""
    looked = _looked(model)
    if not looked and not getattr(model, "name", "").endswith("_logits"):
        looked.append(True)
        outputs = np.asarray(model(tf.constant(images[:LOOK_AT], tf.float32), training=False))
        if outputs.size and outputs.min() >= 0 and outputs.max() <= 1:
            warnings.warn(
                "All outputs of the model lie in [0, 1], as probabilities do. Attacks need logits: a sure "
                "sigmoid has no gradient. Give them the model up to its activation, e.g. `models.logits(classifier)`.",
                stacklevel=4,
            )


@functools.lru_cache(maxsize=32)
def _looked(model):
    return []


def stored(adversarial, clean):
    """Attacked images in the clean ones' data type; where that is coarse, rounded toward these, to stay in the ball."""
    rounded = adversarial.astype(clean.dtype)
    beyond = np.abs(rounded - clean) > np.abs(adversarial - clean)
    return np.where(beyond, np.nextafter(rounded, clean), rounded) if clean.dtype.itemsize < 4 else rounded
