"""What every attack refuses: options out of range, and images or labels that can't be what they seem."""

from chestrobust.attacks.norms import LINF


def check_options(epsilon, norm=LINF, *, steps=1, restarts=1, random_start=True, step_size=0.0):
    """Raise ValueError unless the options of an attack make sense; every message has the value received."""
    if epsilon < 0 or step_size < 0 or (norm is LINF and max(epsilon, step_size) > 1):
        raise ValueError(
            f"Lengths are in pixel units of [0, 1], as in 8 / 255. Received: epsilon={epsilon}, step_size={step_size}"
        )
    if steps < 1 or restarts < 1:
        raise ValueError(f"`steps` and `restarts` must be >= 1. Received: steps={steps}, restarts={restarts}")
    if restarts > 1 and not random_start:
        raise ValueError(
            f"Restarts differ by their random start alone. Received: restarts={restarts}, random_start=False"
        )


def check(images, labels):
    """Raise ValueError unless these are images in [0, 1] with a row of labels each."""
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
