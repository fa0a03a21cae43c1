"""Which range of pixels a model was made for: what its first layers say, and what validation images say."""

import keras
import numpy as np
from keras import layers

from chestrobust.data import ranges
from chestrobust.errors import ModelError, setting
from chestrobust.models import graph

BETTER = 0.8  # of the validation loss: what a range must reach to be clearly the better one
AUC_SLACK, CLEARLY = 0.01, 0.05  # of the AUC: what may be chance, and what isn't
NONSENSE = 2  # times the loss of who knows the labels' frequencies alone: no model of these pixels is that wrong
DESPITE = 0.15  # of the AUC: what outweighs a range that the user gave
# From which divisor or mean on pixels can't have been in [0, 1].
BYTES = 50


def told(model):
    """The name of the range that the first layers of a functional model speak of, or None.

    A division by some hundred, or a mean of some hundred, is of pixels from 0 to 255.
    """
    found = graph.of(model)
    following = {id(tensor) for tensor in found.inputs} if found else set()
    for operation, arguments, _, result in found.calls if found else ():
        if not any(id(one) in following for one in keras.tree.flatten(arguments)):
            continue
        if isinstance(operation, keras.Model):
            return told(graph.functional(operation, None)) if graph.is_graph(operation) else None
        if isinstance(operation, layers.Rescaling):
            return "0 255" if np.abs(np.max(operation.scale)) <= 1 / BYTES else None
        if isinstance(operation, layers.Normalization):
            return "0 255" if np.max(operation.mean) >= 5 else None
        kind = type(operation).__name__
        if kind in ("TrueDivide", "Divide", "Multiply", "Subtract") and len(arguments) == 2:
            number = next((one for one in arguments if isinstance(one, int | float)), None)
            if number is not None and (0 < number <= 1 / BYTES if kind == "Multiply" else number >= BYTES):
                return "0 255"
        if any(np.prod(one.shape) for one in getattr(operation, "weights", ())):
            return None
        following |= {id(one) for one in keras.tree.flatten(result)}
    return None


def check(losses, declared, first_layers=None, *, given=False):
    """Refuse a range if another one fits clearly better.

    Args:
        losses: By the name of each range, the mean validation loss of a label and the macro AUC.
        declared: Name of the range in use.
        first_layers: What `told` says, if the range was not given by the user.
        given: Whether the user gave the range: then only one in which the model ranks clearly better is another.

    Raises:
        ModelError: With the option to give.
    """
    hint = "Give {}, so that epsilon stays in the data's pixels."
    loss, auc, _ = losses[declared]
    # Unless it was trained on pixels that its first layers then made still smaller.
    if first_layers not in (None, declared) and BETTER * losses[first_layers][0] <= loss:
        raise ModelError(
            f"expected a model of pixels in {ranges.shown(declared)}. Received one whose first layers take "
            f"pixels of {ranges.shown(first_layers)} (validation loss {loss:.3f}, there "
            f"{losses[first_layers][0]:.3f}). {hint.format(_option(first_layers))}"
        )
    # Stretched pixels make an unsure model surer, and nonsense is no better than other nonsense. So the one must know
    # less than how frequent the labels are, or rank clearly worse, and the other must know more than that. On images
    # from elsewhere a model may know less in its own range too, so that the user's word counts for more.
    nonsense = not given and loss >= NONSENSE * losses[declared][2]
    better = [
        name
        for name, (other, other_auc, chance) in sorted(losses.items(), key=lambda item: item[1][0])
        if (other_auc >= auc + DESPITE if given else loss >= chance or other_auc >= auc + CLEARLY)
        and (other < min(BETTER * loss, chance) or (nonsense and other <= loss / NONSENSE))
        and other_auc >= auc - AUC_SLACK
    ]
    if better:
        fitting = ", ".join(f"{ranges.shown(name)} (loss {losses[name][0]:.3f})" for name in better)
        raise ModelError(
            f"expected a model of pixels in {ranges.shown(declared)}. Received one whose validation loss there is "
            f"{loss:.3f}, and which fits better: {fitting}. "
            + hint.format(f"the one that it was trained on, such as {' or '.join(map(_option, better))}")
        )


def _option(name):
    return setting("input_range", name)


def fit(task, labels, logits):
    """Mean loss of a label, macro AUC, and the loss of an answer that knows the labels' frequencies alone.

    Args:
        task: The `Splits.task`.
        labels: 0 or 1, `(count, num_labels)`.
        logits: `(count, num_labels)`.
    """
    logits, rows = np.asarray(logits, np.float64), labels.astype(np.float64)
    if task.exclusive:
        true = (logits * rows).sum(axis=1)
        losses = np.logaddexp.reduce(logits, axis=1) - true
        shares = rows.mean(axis=0)
        chance = -np.sum(shares * np.log(np.maximum(shares, 1e-12)))
    else:
        losses = np.logaddexp(0, (1 - 2 * rows) * logits)
        shares = np.clip(rows.mean(axis=0), 1e-12, 1 - 1e-12)
        chance = -np.mean(shares * np.log(shares) + (1 - shares) * np.log1p(-shares))
    ranked = task.ranks(logits)
    aucs = [_auc(rows[:, label], ranked[:, label]) for label in range(rows.shape[1])]
    known = [auc for auc in aucs if auc is not None]
    return float(losses.mean()), float(np.mean(known)) if known else 0.5, float(chance)


def _auc(labels, scores):
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        return None
    above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(above)
