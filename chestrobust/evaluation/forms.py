"""Whether a model knows images in another form: inverted, upside down, transposed, or with blue for red."""

import numpy as np

from chestrobust.data import metadata
from chestrobust.evaluation import metrics, outcomes
from chestrobust.evaluation.lines import NOTE, judged, not_run
from chestrobust.evaluation.published import LEAST, SLACK

GAIN = 0.05  # of the macro AUC; of a weak model some form is a little better by chance


def _forms(images):
    """Images as somebody else may have stored them, by what that is called.

    Not mirrored ones, which many a model ranks as well, and of few images better by chance.
    """
    forms = {"inverted": 1 - images, "upside down": images[:, ::-1]}
    if images.shape[1] == images.shape[2]:
        forms["transposed"] = images.swapaxes(1, 2)
    if images.shape[3] == 3:
        forms["with blue for red"] = images[..., ::-1]
    return forms


def line(model, task, images, labels):
    """The `Line` of an audit that asks for the form in which a model ranks images best.

    Args:
        model: Callable returning logits.
        task: The `Task`.
        images: Float32 in [0, 1], `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`.
    """
    name = "images as they are"
    if len(images) < LEAST:
        return not_run(name, f"needs {LEAST} images; received {len(images)}")
    if metadata.pixel_channels(images.shape) != images.shape[-1]:
        return not_run(name, "needs images without metadata beside their pixels")
    before = _aucs(model, task, images, labels)
    if not abs(before.mean() - 0.5) > SLACK:
        return not_run(name, f"needs a clean macro AUC that isn't chance; it is {before.mean():.3f}")
    forms = _forms(images)
    gains = np.stack([_aucs(model, task, changed, labels) - before for changed in forms.values()])
    # The best on one half, judged on the other: of several forms, one is always better by chance.
    found = gains[gains.argmax(axis=0), [1, 0]]
    best = list(forms)[gains.mean(axis=1).argmax()]
    text = (
        f"gain of the macro AUC from images that are {best}; expected under {GAIN}, as found on one half of them, on "
        f"the other ({found[0]:.3f}, {found[1]:.3f}), else the model was trained on such"
    )
    return judged(name, found.min() <= GAIN, found.min(), text, severity=NOTE, may_be_undefined=True)


def _aucs(model, task, images, labels):
    """Macro AUC of either half of the images; what fits one by chance doesn't fit the other."""
    ranks = task.ranks(np.nan_to_num(outcomes.answers(model, np.ascontiguousarray(images))))
    return np.array([metrics.macro(metrics.auc(labels[half::2], ranks[half::2])) for half in range(2)])
