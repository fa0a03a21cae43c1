"""Any classifier as a model from the data's pixels to logits of the data's labels, checked before it is believed."""

from dataclasses import dataclass

import keras
import numpy as np

from chestrobust import runs
from chestrobust.data import matching, ranges
from chestrobust.data.splits import as_floats, selection
from chestrobust.errors import ModelError
from chestrobust.models import adapters, graph, loading, logit_graph, pixel_ranges
from chestrobust.runs import saved

PIXELS = 256 * 64 * 64  # of the validation images that checks look at
# How far the answers of logits may be from the classifier's, by what it computes in: some units of its last place.
TOLERANCE = {"float16": 2e-2, "bfloat16": 6e-2, "int8": 1e-3}
EXACT = 1e-4
SATURATED = 1e-6  # from 0 or 1, where float32 probabilities have lost their logits


@dataclass(frozen=True)
class Opened:
    """A classifier that is ready to be attacked.

    Attributes:
        model: A functional `keras.Model` from images in [0, 1] to logits, float32.
        activation: `"sigmoid"`, `"softmax"` or `"linear"`: what turned its own logits into its answers.
        adapters: In words, what was put around it; empty if nothing was.
        agreement: Largest difference of activation(logits) and the classifier's own answers on validation images.
        tolerance: How large it may be.
        pixel_range: Name of the range of its own pixels.
        fits: By the name of each range, the mean validation loss of a label; empty if there was no doubt.
    """

    model: keras.Model
    activation: str
    adapters: tuple[str, ...]
    agreement: float
    tolerance: float
    pixel_range: str
    fits: dict[str, float]

    def classifier(self, task):
        """The same weights as training takes them: probabilities of a `Task`, from a layer named `logits`."""
        logits = self.model.output
        if self.model.layers[-1].name != "logits":  # else it is a model of ours, which has that layer already
            logits = keras.layers.Activation("linear", name="logits")(logits)
        probabilities = keras.layers.Activation(task.activation, name="probabilities")(logits)
        return keras.Model(self.model.inputs[0], probabilities, name=self.model.name.removesuffix("_logits"))

    def record(self):
        """What results say about it."""
        return {
            "activation": self.activation,
            "adapters": list(self.adapters),
            "agreement": {"largest_difference": self.agreement, "tolerance": self.tolerance},
            "input_range": {"name": self.pixel_range, "validation_loss": self.fits},
        }


def opened(path, splits, pixel_range=None, custom_objects=None):
    """A saved model that answers with the logits of the data's labels alone.

    Args:
        path: A run's `model.keras`, or a file of any classifier's.
        splits: The `Splits`; validation images tell whether it was understood.
        pixel_range: The `ranges.Range` of a file's pixels if it was given; models of runs take [0, 1].
        custom_objects: Classes of the model that Keras doesn't know, by name.

    Returns:
        An `Opened`.

    Raises:
        ModelError: If it can't be loaded, is for other images or labels, isn't understood, or takes other pixels.
    """
    classifier, names = loading.load(path, custom_objects), runs.label_names(path)
    try:
        return understood(classifier, splits, pixel_range=None if names else pixel_range, names=names, own=bool(names))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def opened_all(subjects, splits, pixel_range=None):
    """The models of `saved.Saved` runs and files, which return logits, by their names; arguments as in `opened`."""
    names = saved.names(subjects)
    return {name: opened(one.path, splits, pixel_range).model for name, one in zip(names, subjects, strict=True)}


def understood(classifier, splits, *, pixel_range=None, names=None, own=False):
    """A classifier in memory as `opened` returns it; it is left as it is.

    Args:
        classifier: A `keras.Model`, or a layer.
        splits, pixel_range: As in `opened`.
        names: Names of its labels, or None for the data's.
        own: Whether it is a model of this program's, which takes [0, 1].
    """
    given, pixel_range = pixel_range is not None, pixel_range or ranges.OWN
    whole = graph.functional(classifier, loading.input_shape(classifier) or splits.image_shape)
    if len(whole.inputs) != 1:
        raise ModelError(f"expected one image in. Received a model of {len(whole.inputs)} inputs.")
    whole = _in_order(whole, classifier, names or splits.label_names)
    plain = loading.in_float32(whole)
    images = as_floats(splits.val.images[_few(splits.val)])
    tail = logit_graph.of(plain)
    answers = _answers(_put_before(whole, splits, pixel_range)[0], images)
    said = []
    if tail.activation == logit_graph.UNTOLD:
        tail, said = _told_by_numbers(tail.logits, answers)
    if len(tail.logits.output.shape) != 2:
        raise ModelError(f"expected one row of answers. Received: {tuple(tail.logits.output.shape)}.")
    inner, put_before = _put_before(tail.logits, splits, pixel_range)
    logits = _answers(inner, images)
    if not np.isfinite(logits).all():
        raise ModelError("expected finite logits. Received NaN or infinity on validation images. Is the model trained?")
    agreement, tolerance = _agreement(logits, tail.activation, answers), _tolerance(whole)
    if not agreement <= tolerance:
        raise ModelError(
            f"expected logits whose {tail.activation} is what the model answers. Received a difference of "
            f"{agreement:.3g} on validation images. Save a model that ends in its sigmoid, softmax or logits."
        )
    rest = _to_labels(tail, splits, names)
    model, activation, put_after = rest(inner)
    fits = {}
    if not own:
        tried = {one.name: one for one in (pixel_range, *ranges.PLAUSIBLE)}
        fits = {
            name: _fit(rest(_put_before(tail.logits, splits, one)[0])[0], splits, images) for name, one in tried.items()
        }
        pixel_ranges.check(fits, pixel_range.name, None if given else pixel_ranges.told(plain), given=given)
    return Opened(
        model,
        activation,
        (*put_before, *said, *put_after),
        agreement,
        tolerance,
        pixel_range.name,
        {name: loss for name, (loss, *_) in fits.items()},
    )


def _few(split):
    """Indices of validation images for checks: fewer of large ones."""
    height, width = split.images.shape[1:3]
    return selection(len(split), max(16, min(256, PIXELS // (height * width))))


def _answers(model, images):
    """What a model answers to float images, float32; several heads side by side."""
    found = []
    for begin in range(0, len(images), 32):
        answers = keras.tree.flatten(model(images[begin : begin + 32], training=False))
        rows = [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(one, "float32"))) for one in answers]
        found.append(np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1))
    return np.concatenate(found)


def _in_order(whole, classifier, names):
    """The model with its heads in the order of the labels, where they are called so."""
    heads = getattr(classifier, "output", None) if len(whole.outputs) > 1 else None
    if not isinstance(heads, dict | list | tuple):
        return whole
    called = sorted(heads) if isinstance(heads, dict) else classifier.output_names
    places = matching.columns(called, names)
    if len(called) != len(names) or None in places:
        if isinstance(heads, dict):  # in no order but that of their names
            raise ModelError(
                f"expected heads called as the labels, {', '.join(names)}. Received: {', '.join(called)}. Rename them, "
                "or return a list in the order of the labels."
            )
        return whole
    return keras.Model(whole.input, [whole.outputs[place] for place in places], name=whole.name)


def _put_before(model, splits, pixel_range):
    """A model with what brings the data's images to it, and what that is in words."""
    images = keras.Input(splits.image_shape, name="images")
    try:
        x, said = adapters.before(images, tuple(model.input_shape[1:]), pixel_range)
        if x is images:
            return model, said
        return keras.Model(images, model(x), name=model.name), said
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"expected a model of images {splits.image_shape}. Received: {str(error).splitlines()[0]:.200}"
        ) from None


def _told_by_numbers(model, answers):
    """The tail of a model whose graph doesn't say what it returns, by what it answers."""
    inside = np.isfinite(answers).all() and answers.min() >= 0 and answers.max() <= 1
    if not inside:
        return logit_graph.Tail(model, "linear"), []
    exclusive = answers.shape[1] > 1 and np.allclose(answers.sum(axis=1), 1, atol=1e-3)
    near = min(float(answers.min()), float((1 - answers).min()))
    if near < SATURATED:
        raise ModelError(
            f"expected logits, or probabilities that still have some. Received probabilities as near as {near:.2g} to "
            "0 or 1, whose gradients are lost. Save the model without what follows its last dense layer's logits."
        )
    activation = "softmax" if exclusive else "sigmoid"
    return logit_graph.Tail(logit_graph.of_probabilities(model, activation), activation), [
        "logits computed from its probabilities"
    ]


def _agreement(logits, activation, answers):
    """Largest difference of the answers that logits stand for and those that were given."""
    z = np.asarray(logits, np.float64)
    if activation == "sigmoid":
        z = 0.5 * (1 + np.tanh(z / 2))
    elif activation == "softmax":
        z = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    else:
        return float((np.abs(z - answers) / np.maximum(1, np.abs(answers))).max())
    return float(np.abs(z - answers).max())


def _tolerance(model):
    """How far rounding may lead, by the lowest precision in a model."""
    kinds = {layer.quantization_mode or layer.compute_dtype for layer in graph.layers(model)}
    return max((TOLERANCE[kind] for kind in kinds & set(TOLERANCE)), default=EXACT)


def _to_labels(tail, splits, names):
    """A function from a model of the tail's logits to one of the data's labels, its activation, and words."""

    def rest(model):
        logits = model.output
        if names and tuple(names) != tuple(splits.label_names):
            columns = matching.columns(names, splits.label_names)
            if None in columns:
                missing = splits.label_names[columns.index(None)]
                raise ModelError(f"expected a model that knows {missing}. Received: {', '.join(names)}.")
            logits = keras.ops.take(logits, columns, axis=-1)
        logits, activation, said = adapters.after(logits, tail.activation, splits)
        if logits is model.output:
            return model, activation, said
        return keras.Model(model.input, logits, name=model.name), activation, said

    return rest


def _fit(model, splits, images):
    labels = splits.val.labels[_few(splits.val)]
    logits = _answers(model, images)
    if not np.isfinite(logits).all():
        return float("inf"), 0.0, 0.0
    return pixel_ranges.fit(splits.task, labels, logits)
