"""A small chain of layers written down for who computes it without TensorFlow: the script of the report page.

    transcript.of(models.logits(classifier))    # {"input": [28, 28, 1], "layers": [{"kind": "convolution", ...}, ...]}

BatchNorm is folded into the convolution before it, and what does nothing in inference is left out. A model with any
layer that isn't in the table at the end, or with more work than a browser does while one waits, has no transcript.
"""

import base64
import math

import keras
import numpy as np
from keras import layers

from chestrobust.models import graph

MAX_WEIGHTS = 200_000  # about 1 MB in Base64
MAX_PRODUCTS = 50_000_000  # for one image: the default model at 64 px


def of(model):
    """What a model computes, as JSON holds it; None of a model that isn't small or isn't a chain of known layers.

    Args:
        model: A callable that returns logits; only a functional `keras.Model` can have a transcript.

    Returns:
        A dictionary with `input`, `(height, width, channels)`, and `layers`, each with its `kind` and, of convolutions
        and dense layers, float32 `kernel` and `bias`, little-endian in Base64, with the kernel's `shape` as in Keras.
    """
    found = graph.of(model)
    if found is None or not len(found.inputs) == len(found.outputs) == 1:
        return None
    written, last, products = [], found.inputs[0], 0
    shape = list(last.shape[1:])
    if len(shape) != 3 or None in shape:
        return None
    for operation, arguments, options, result in found.calls:
        rule = RULES.get(type(operation))
        chained = len(arguments) == 1 and arguments[0] is last and not any(options.values())
        if rule is None or not chained or not graph.ordinary(operation) or not rule(operation, written):
            return None
        if type(operation) in (layers.Conv2D, layers.Dense):
            products += math.prod(result.shape[1:-1]) * math.prod(operation.kernel.shape)
        last = result
    weights = sum(layer[name].size for layer in written for name in ("kernel", "bias") if name in layer)
    if last is not found.outputs[0] or weights > MAX_WEIGHTS or products > MAX_PRODUCTS:
        return None
    return {"input": shape, "layers": [_as_text(layer) for layer in written]}


def _as_text(layer):
    packed = {name: layer[name].astype("<f4").tobytes() for name in ("kernel", "bias") if name in layer}
    return layer | {name: base64.b64encode(content).decode("ascii") for name, content in packed.items()}


# Each rule writes a layer down and tells whether it could.


def _convolution(layer, written):
    if layer.groups != 1 or {*layer.dilation_rate} != {1} or layer.padding not in ("same", "valid"):
        return False
    written.append({"kind": "convolution", "stride": list(layer.strides), "same": layer.padding == "same"})
    return _weighted(layer, written)


def _dense(layer, written):
    if len(layer.input.shape) != 2:
        return False
    written.append({"kind": "dense"})
    return _weighted(layer, written)


def _weighted(layer, written):
    """Add the weights of a layer, and its activation, to what was begun of it."""
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.zeros(kernel.shape[-1]) if layer.bias is None else np.asarray(layer.bias, np.float64)
    written[-1] |= {"shape": list(kernel.shape), "kernel": kernel, "bias": bias}
    return _activation(layer, written)


def _batch_normalization(layer, written):
    if not written or written[-1]["kind"] != "convolution":
        return False
    mean, variance = (np.asarray(moving, np.float64) for moving in (layer.moving_mean, layer.moving_variance))
    scale = (np.asarray(layer.gamma, np.float64) if layer.scale else 1.0) / np.sqrt(variance + layer.epsilon)
    offset = (np.asarray(layer.beta, np.float64) if layer.center else 0.0) - mean * scale
    written[-1] |= {"kernel": written[-1]["kernel"] * scale, "bias": written[-1]["bias"] * scale + offset}
    return True


def _activation(layer, written):
    if layer.activation is keras.activations.relu:
        written.append({"kind": "relu"})
    return layer.activation in (keras.activations.relu, keras.activations.linear)


def _relu(layer, written):
    written.append({"kind": "relu"})
    return layer.max_value is None and not layer.negative_slope and not layer.threshold


def _max_pooling(layer, written):
    written.append({"kind": "pool", "size": list(layer.pool_size), "stride": list(layer.strides)})
    return layer.padding == "valid"


def _average(layer, written):
    written.append({"kind": "average"})
    return not layer.keepdims


def _nothing(layer, written):
    return True


RULES = {
    layers.Activation: _activation,
    layers.BatchNormalization: _batch_normalization,
    layers.Conv2D: _convolution,
    layers.Dense: _dense,
    layers.Dropout: _nothing,
    layers.Flatten: _nothing,
    layers.GlobalAveragePooling2D: _average,
    layers.MaxPooling2D: _max_pooling,
    layers.ReLU: _relu,
}
