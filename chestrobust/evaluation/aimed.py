"""An attack that aims at the macro AUC, by which the audit judges all others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Aimed:
    """An attack that aims at the macro AUC: its loss is linear in the logits, in units of each label's clean spread.

    An AUC doesn't change when a label's logits are multiplied by a positive number or something is added to them, and
    neither does this attack. Elsewhere `Attack`s of the same aim are part of the suite; this one needs no name.

    Attributes:
        function: An attack that takes `loss`.
        settings: What else it takes.
        loss: From `auc_loss`.
        title: As of an `Attack`.
    """

    function: Callable
    settings: dict
    loss: Callable
    title: str = "aimed at AUC"

    def __call__(self, model, images, labels, *, task, indices):
        return self.function(model, images, labels, loss=self.loss, indices=indices, **self.settings)


def auc_loss(task, labels, clean):
    """The loss of `Aimed`, a function `loss(labels, logits)` returning a value per image.

    Args:
        task: The `Splits.task`.
        labels: 0 or 1, `(count, num_labels)`.
        clean: Logits of the clean images, `(count, num_labels)`.
    """
    present, absent = (each.astype(np.float32) for each in weights(task, labels, clean))
    return lambda labels, logits: task.linear(labels * -present + (1 - labels) * absent, logits)


def weights(task, labels, clean):
    """What a logit of a present and of an absent label counts, each `(num_labels,)`; 0 where a label has no AUC."""
    spread = np.std(task.ranks(clean), axis=0)
    positives = np.sum(labels > 0, axis=0)
    counts = positives, len(labels) - positives
    usable = (spread > 0) & (counts[0] > 0) & (counts[1] > 0)
    # Of an image, the weights are of the order of 1, so that the loss is in units of spread.
    shares = [np.where(usable, len(labels) / (2 * np.maximum(count, 1)), 0) for count in counts]
    return [share / np.where(usable, spread, 1) / max(1, usable.sum()) for share in shares]
