"""Saved classifiers, loaded in safe mode, and the logits of our own."""

import contextlib
import math
import re
import shutil
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

from chestrobust.errors import ModelError
from chestrobust.models import graph, logit_graph
from chestrobust.runs import modelfile

SPARE = 1000  # numbers that need not be stored, such as seeds
OPEN = 224  # pixels a side of images whose size a model leaves open
LARGEST = 1 << 27  # values of one layer for one image: 128 maps of 1024 x 1024


def logits(classifier):
    """The same weights ending at the layer `logits`: what attacks and losses call.

    Of one classifier it is always the same model, so that an attack on it is compiled once.

    Args:
        classifier: A functional `keras.Model` with a layer named `logits`.

    Raises:
        ValueError: If there is no such layer, or it ends in an activation.
    """
    if classifier not in _logits:
        layer = classifier.get_layer("logits")
        activation = logit_graph.activation_name(getattr(layer, "activation", keras.activations.linear))
        if activation != "linear":
            raise ValueError(f"The layer `logits` must return logits, before any activation. Received: {activation}")
        _logits[classifier] = keras.Model(classifier.input, layer.output, name=f"{classifier.name}_logits")
    return _logits[classifier]


# For as long as the classifier is used anywhere else.
_logits = weakref.WeakKeyDictionary()


def load(path, custom_objects=None):
    """A saved classifier, in Keras's safe mode.

    Args:
        path: A `.keras` file, or an `.h5` file with the model in it; capital letters don't matter.
        custom_objects: Classes of the model that Keras doesn't know, by name.

    Raises:
        ModelError: If the file can't be loaded.
    """
    path = Path(path)
    stored = modelfile.check(path, custom_objects or ())
    try:
        with _known_to_keras(path) as file:
            _check_sizes(*_sketched(file, custom_objects), stored)
            return keras.models.load_model(file, custom_objects, compile=False, safe_mode=True)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # Keras raises whatever its reader meets: OSError, ValueError, TypeError, KeyError ...
        reason = str(error).strip() or type(error).__name__
        raise ModelError(f"{path}: expected a model as Keras saves it. {_received(path, reason)}") from None


def _received(path, reason):
    """What a file that Keras can't read holds, and what to do."""
    if (version := modelfile.keras_version(path)) and version.startswith(("1.", "2.")):
        return (
            f"Received one of Keras {version}, which Keras 3 can't read. Build the same model in Keras 3, load the "
            "weights that the old one saved by save_weights, and save it again."
        )
    if unknown := re.search(
        r"[Cc]ould not locate (?:class|function) '([^']+)'|Unknown (?:layer|object): '?([^'.]+)", reason
    ):
        name = unknown[1] or unknown[2]
        return (
            f"Received one with {name}, which Keras doesn't know, and no code is ever taken from a file. Name the "
            f"module that registers {name} by --import FILE."
        )
    return f"Received: {reason.splitlines()[0]:.300}"


@contextlib.contextmanager
def _known_to_keras(path):
    """A path at which Keras knows a file by its name."""
    if path.suffix == path.suffix.lower():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / f"model{path.suffix.lower()}"
        shutil.copyfile(path, copied)
        yield copied


def _sketched(path, custom_objects):
    """How many numbers the model of a file would have, and how many values the largest of its layers returns.

    The model is made for that, of variables without values. In a thread of its own: Keras would give the variables of
    this one their values at the next occasion.
    """

    def measure():
        with keras.StatelessScope(initialize_variables=False):
            if path.suffix == ".h5":  # Keras alone reads its config. The shapes of the weights must fit at once.
                sketch = keras.models.load_model(path, custom_objects, compile=False, safe_mode=True)
            else:
                sketch = keras.saving.deserialize_keras_object(modelfile.config(path), custom_objects, safe_mode=True)
            if isinstance(sketch, keras.Sequential) and not sketch.built:
                raise ModelError("expected a model with weights. Received one that was never built.")
            shapes = [tensor.shape for tensor in graph.tensors(sketch)]
            if graph.is_graph(sketch) and len(sketch.inputs) == 1 and None in sketch.inputs[0].shape[1:]:
                shapes += graph.shapes(sketch, OPEN)
            sizes = [math.prod(side or 1 for side in shape[1:]) for shape in shapes]
            return sum(math.prod(variable.shape) for variable in sketch.variables), max(sizes, default=0)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(measure).result()


def _check_sizes(numbers, largest, stored):
    """Refuse a model whose layers would take more memory than its file allows, before they are made."""
    if numbers > stored + SPARE:
        raise ModelError(f"expected layers for the {stored} numbers in it. Received layers for {numbers}.")
    if largest > LARGEST:
        raise ModelError(f"expected layers of at most {LARGEST} values per image. Received one of {largest}.")


def load_logits(path):
    """Any saved classifier as a model that returns logits.

    Args:
        path: As in `load`. Its output is a sigmoid or a softmax, or logits.

    Returns:
        A functional `keras.Model` and its activation: `"sigmoid"`, `"softmax"` or `"linear"`.

    Raises:
        ModelError: If the file can't be loaded, or its output is none of these.
    """
    classifier = load(path)
    try:
        tail = logit_graph.of(in_float32(graph.functional(classifier, input_shape(classifier))))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if tail.activation == logit_graph.UNTOLD:
        raise ModelError(f"{path}: expected sigmoid, softmax or logits at the end. Received another.")
    return tail


def input_shape(model):
    """Shape of what a model takes, without the batch, as far as it was told when it was built; None if it wasn't."""
    shape = (model.get_build_config() or {}).get("input_shape")
    return tuple(shape[1:]) if isinstance(shape, list | tuple) and not isinstance(shape[0], list | tuple) else None


def in_float32(model):
    """The same weights computed in float32, for any number of images; the model itself if it is so already.

    Low precision hides gradients from an attack: in float16 those below 6e-8 are 0. Quantized layers stay as they are,
    as Keras lets their gradients through.
    """
    kinds = {kind for layer in graph.layers(model) for kind in (layer.compute_dtype, layer.variable_dtype)}
    if kinds <= {"float32"} and all(tensor.shape[0] is None for tensor in model.inputs):
        return model
    try:
        return _from_config(_retyped(keras.saving.serialize_keras_object(model)), model)
    except (NotImplementedError, TypeError, ValueError):  # A class of the user's own, without a configuration.
        return model


def copied(model):
    """A copy of a model, with weights of its own, in float32.

    Raises:
        ModelError: If it can't be copied.
    """
    try:
        return _from_config(_retyped(keras.saving.serialize_keras_object(model)), model)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model.name}: expected a model that Keras can copy: functional, Sequential, or with get_config and "
            f"registered. Received: {reason:.200}"
        ) from None


def _from_config(serialized, model):
    serialized.pop("compile_config", None)
    renewed = keras.saving.deserialize_keras_object(serialized)
    renewed.set_weights(model.get_weights())
    return renewed


def _retyped(part):
    """A layer's configuration without a fixed number of images and without data types but float32."""
    if isinstance(part, list | tuple):
        return [_retyped(one) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("class_name") == "DTypePolicy":
        return part if part["config"]["name"] == "float32" else "float32"
    renewed = {key: _retyped(value) for key, value in part.items()}
    if renewed.get("dtype") in ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"):
        renewed["dtype"] = "float32"
    for key in ("batch_shape", "input_shape"):
        shape = renewed.get(key)
        if isinstance(shape, list) and len(shape) > 1 and (key == "batch_shape" or len(part) == 1):
            renewed[key] = [None, *shape[1:]]
    return renewed
