"""Which test images stand for all others in pictures: a rule that knows the clean answers alone, no attack."""

import numpy as np

from chestrobust.data.splits import as_floats
from chestrobust.evaluation import outcomes

CANDIDATES = 256
RULE = (
    "of the first test images with a finding those of which every model names a true one, the same, on the clean "
    "image; of these the one in the middle by how sure the last model is of it"
)


def chosen(models, splits, thresholds, count):
    """Numbers of test images, in file order: no pictures that are fooled more easily than others, nor harder to fool.

    Of the first images with a finding those of which every model names a true one, the same, as there an attack has
    something to hide, evenly spaced by how sure the last model is of it; all of the first images where there are none.

    Args:
        models: Callables that return logits, by name.
        splits: The `Splits`.
        thresholds: Of each model's probabilities by the same names, `(num_labels,)`.
        count: How many at most; one is in the middle.

    Returns:
        int array, in rising order.
    """
    task, test = splits.task, splits.test
    candidates = np.flatnonzero(test.labels.any(axis=1))[:CANDIDATES]
    if not len(candidates):
        return np.arange(min(count, len(test)))
    images, labels = as_floats(test.images[candidates]), test.labels[candidates] == 1
    named = labels.copy()
    for name, model in models.items():
        # Not by Keras's `predict`, for which the other workers would have to be here too.
        pieces = [outcomes.answers(model, images[begin : begin + 16]) for begin in range(0, len(images), 16)]
        logits = np.concatenate(pieces)
        named &= task.predicted(logits, thresholds[name])
    there = named.any(axis=1)
    confidence = np.where(named if there.any() else labels, task.probabilities(logits), 0).max(axis=1)
    left = np.flatnonzero(there) if there.any() else np.arange(len(candidates))
    ordered = left[np.argsort(confidence[left], kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)) + 2)[1:-1].round().astype(int)
    return np.sort(candidates[np.unique(ordered[places])])
