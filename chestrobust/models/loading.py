"""Saved classifiers as models that return logits."""

import math
import weakref

import keras
from keras import layers

from chestrobust import runs
from chestrobust.data import matching
from chestrobust.errors import ModelError
from chestrobust.models import graph
from chestrobust.runs import modelfile, saved

SPARE = 1000  # numbers that need not be stored, such as seeds
LARGEST = 1 << 27  # values of one layer for one image: 128 maps of 1024 x 1024


def logits(classifier):
    """The same weights ending at the layer `logits`: what attacks and losses call.

    Of one classifier it is always the same model, so that an attack on it is compiled once.

    Args:
        classifier: A functional `keras.Model` with a layer named `logits`.

    Raises:
        ValueError: If there is no such layer.
    """
    if classifier not in _logits:
        output = classifier.get_layer("logits").output
        _logits[classifier] = keras.Model(classifier.input, output, name=f"{classifier.name}_logits")
    return _logits[classifier]


# For as long as the classifier is used anywhere else.
_logits = weakref.WeakKeyDictionary()


def load(path):
    """A saved classifier, in Keras's safe mode.

    Raises:
        ModelError: If the file can't be loaded.
    """
    stored = modelfile.check(path)
    try:
        _check_sizes(path, stored)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its reader meets: OSError, ValueError, TypeError, KeyError ...
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: expected a model as Keras saves it. Received: {reason:.300}") from None


def _check_sizes(path, stored):
    """Refuse a model whose layers would take more memory than its file allows, before they are made."""
    with keras.StatelessScope(initialize_variables=False):  # Variables have a shape there, and no values.
        sketch = keras.saving.deserialize_keras_object(modelfile.config(path), safe_mode=True)
        numbers = sum(math.prod(variable.shape) for variable in sketch.variables)
        made = [keras.tree.flatten(getattr(layer, "output", None)) for layer in graph.layers(sketch)]
        shapes = [output.shape for outputs in made for output in outputs]
    largest = max((math.prod(size or 1 for size in shape[1:]) for shape in shapes), default=0)
    if numbers > stored + SPARE:
        raise ModelError(f"{path}: expected layers for the {stored} numbers in it. Received layers for {numbers}.")
    if largest > LARGEST:
        raise ModelError(f"{path}: expected layers of at most {LARGEST} values per image. Received one of {largest}.")


def load_logits(path):
    """Any saved classifier as a model that returns logits.

    Args:
        path: A `.keras` file that takes images in [0, 1]. Its output is a sigmoid or a softmax, as a layer or as the
            activation of a dense one, or logits.

    Returns:
        A functional `keras.Model` and its activation: `"sigmoid"`, `"softmax"` or `"linear"`.

    Raises:
        ModelError: If the file can't be loaded, or its output is none of these.
    """
    classifier = load(path)
    if len(classifier.inputs) != 1 or len(classifier.outputs) != 1 or len(classifier.outputs[0].shape) != 2:
        shapes = [tensor.shape for tensor in classifier.outputs]
        raise ModelError(f"{path}: expected one image in and one row of answers out. Received: {shapes}.")
    images, answers, last = classifier.inputs[0], classifier.outputs[0], classifier.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    name = {"Sigmoid": "sigmoid", "Softmax": "softmax"}.get(type(last).__name__, activation)
    if name not in ("sigmoid", "softmax", "linear"):
        raise ModelError(f"{path}: expected sigmoid, softmax or logits at the end. Received: {name}.")
    if isinstance(last, layers.Dense):
        # Only in memory: the layer then returns what its activation would have been given.
        last.activation = keras.activations.linear
    elif name != "linear":
        answers = last.input
    return keras.Model(images, answers, name=f"{classifier.name}_logits"), name


def answering(model, columns):
    """A model with some of its logits alone, in this order: what is attacked is what is scored.

    Args:
        model: A functional `keras.Model` that returns logits.
        columns: Indices of the logits wanted.
    """
    return keras.Model(model.input, keras.ops.take(model.output, columns, axis=-1), name=f"{model.name}_some")


def opened(path, splits):
    """A saved model that answers with the logits of the data's labels alone, and its activation.

    Raises:
        ModelError: If it is for other images or labels.
    """
    model, activation = load_logits(path)
    names = runs.label_names(path)
    if names and tuple(names) != tuple(splits.label_names):
        columns = matching.columns(names, splits.label_names)
        if None in columns:
            missing = splits.label_names[columns.index(None)]
            raise ModelError(f"{path}: expected a model that knows {missing}. Received: {', '.join(names)}.")
        model = answering(model, columns)
    _check_answers(model, activation, path, splits)
    return model, activation


def opened_all(subjects, splits):
    """The models of `saved.Saved` runs and files, which return logits, by their names.

    Raises:
        ModelError: If one can't be loaded, or is for other images or labels than the data's.
    """
    names = saved.names(subjects)
    return {name: opened(one.path, splits)[0] for name, one in zip(names, subjects, strict=True)}


def _check_answers(model, activation, path, splits):
    """Refuse a model for other images or other labels than the data's."""
    wanted, count = tuple(splits.image_shape), len(splits.label_names)
    shape, outputs = model.input_shape[1:], model.output_shape[-1]
    fits = len(shape) == len(wanted) and all(map(lambda size, ours: size in (None, ours), shape, wanted))
    if not fits or outputs != count:
        raise ModelError(
            f"{path}: expected a model for images {wanted} and {count} labels, as in the data. "
            f"Received one for {shape} and {outputs}."
        )
    if activation not in ("linear", splits.task.activation):
        wanted = "a softmax" if splits.task.exclusive else "sigmoids"
        raise ModelError(f"{path}: expected {wanted} for {splits.task} data. Received {activation}.")
