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
    candidates, named, answers = named_by_all(models, splits, thresholds)
    if not len(candidates):
        return np.arange(min(count, len(splits.test)))
    there = named.any(axis=1)
    truth = splits.test.labels[candidates] == 1
    confidence = np.where(named if there.any() else truth, answers, 0).max(axis=1)
    left = np.flatnonzero(there) if there.any() else np.arange(len(candidates))
    ordered = left[np.argsort(confidence[left], kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)) + 2)[1:-1].round().astype(int)
    return np.sort(candidates[np.unique(ordered[places])])


def named_by_all(models, splits, thresholds):
    """Which true findings every model names in the first test images with a finding, clean.

    Returns:
        Numbers of these images; bool, `(images, num_labels)`: whether all models name the finding; the last model's
        probabilities, likewise.
    """
    candidates = np.flatnonzero(splits.test.labels.any(axis=1))[:CANDIDATES]
    images, named = as_floats(splits.test.images[candidates]), splits.test.labels[candidates] == 1
    logits = np.zeros(named.shape, np.float32)
    for name, model in models.items():
        # Not by Keras's `predict`, for which the other workers would have to be here too.
        pieces = [outcomes.answers(model, images[begin : begin + 16]) for begin in range(0, len(images), 16)]
        logits = np.concatenate([logits[:0], *pieces])
        named = named & splits.task.predicted(logits, thresholds[name])
    return candidates, named, splits.task.probabilities(logits)


def taken(models, splits, thresholds, attack):
    """How many of the findings that every model names in the first test images an attack takes from each model.

    Args:
        attack: An `Attack`, made anew for each model.

    Returns:
        Number of the images; that of the findings; share taken from each model by name, if there are any.
    """
    candidates, named, _ = named_by_all(models, splits, thresholds)
    count, shares = int(named.sum()), {}
    for name, model in models.items() if count else ():
        logits = outcomes.run(model, splits.task, splits.test.view(candidates), attack).logits
        shares[name] = float((named & ~splits.task.predicted(logits, thresholds[name])).sum() / count)
    return len(candidates), count, shares
