"""What a model can answer to any image of a box: interval bound propagation, from the pixels to the logits.

    low, high = bounds.of(models.logits(classifier))(*bounds.around(images, 4 / 255))

Every image within 4/255 of these has logits between `low` and `high`, whatever attack has made it. Bounds know the
layers of the table at the end; a model with any other is refused by that layer's name.

They are rounded outward, so that they hold in real numbers and for the model in float32, whatever the order of its
sums. A sum of n products is computed with an error of at most `gamma(n) = n u / (1 - n u)` times the sum of their
sizes, u = 2**-24 (Higham, 2002, "Accuracy and Stability of Numerical Algorithms", 3.1). The model's own sum has such an
error, and the middle and the spread of its bounds share another; twice both is added, as the sizes and the last
additions are computed in float32 too. What is below the smallest normal number may become 0: it has a slack of its own.
Not covered are convolutions that multiply other numbers than the model's, such as Winograd's on some GPUs.

Reference: Gowal et al., 2018, https://arxiv.org/abs/1810.12715
"""

import math
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import layers

from chestrobust.errors import ModelError
from chestrobust.models import graph

UNIT = 2.0**-24  # half the distance of 1 and the next float32
TINY = 2.0**-120  # more than what a term can lose below the smallest normal number, 2**-126
PIXEL = 2.0**-22  # more than the rounding of a pixel in [0, 1] plus or minus a radius


class Box(NamedTuple):
    """All tensors between two: `low <= x <= high` in each number."""

    low: tf.Tensor
    high: tf.Tensor

    @property
    def size(self):
        """The largest absolute value of each number."""
        return tf.maximum(tf.abs(self.low), tf.abs(self.high))


def around(images, epsilon):
    """The `Box` of all images in [0, 1] within `epsilon` of these, a little widened for the rounding of its ends.

    Args:
        images: Float32 in [0, 1], `(batch, height, width, channels)`.
        epsilon: Radius in pixel units of [0, 1].
    """
    epsilon += PIXEL
    return Box(tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0))


def of(model, *, rounded=True):
    """The bounds of a model in inference.

    Args:
        model: A functional `keras.Model` that returns logits.
        rounded: Whether to round outward; training needs no guarantee, and less work.

    Returns:
        A function `bounds(low, high)` of images, float32 `(batch, height, width, channels)`, that returns the `Box` of
        the logits, each `(batch, num_labels)`. It reads the model's variables whenever it is called.

    Raises:
        ModelError: If the bounds of a layer aren't known.
    """
    known = _known_graph(model)
    return lambda low, high: _run(known, Box(low, high), rounded)


def _known_graph(model):
    """The `graph.Graph` of a model, with one in the place of each nested model."""
    found = graph.of(model)
    if found is None or not len(found.inputs) == len(found.outputs) == 1:
        name = getattr(model, "name", "model")
        raise ModelError(
            f"{name}: expected a model of layers whose bounds are known. Received: {type(model).__name__}, which is no "
            "graph of layers from one input to one output. It can be attacked, but not certified."
        )
    calls = []
    for call in found.calls:
        operation = call.operation
        if not _known(call):
            raise ModelError(
                f"{model.name}: expected layers whose bounds are known. Received: {operation.name}, "
                f"{type(operation).__name__}. It can be attacked, but not certified."
            )
        nested = isinstance(operation, keras.Model)
        calls.append(call._replace(operation=_known_graph(operation)) if nested else call)
    return found._replace(calls=calls)


def _run(known, box, rounded):
    """The `Box` of what a known graph returns."""
    boxes = {id(known.inputs[0]): box}
    for operation, arguments, _, result in known.calls:
        arguments = keras.tree.map_structure(lambda tensor: boxes.get(id(tensor), tensor), arguments)
        (made,) = keras.tree.flatten(result)  # A nested model may return a list of one.
        if isinstance(operation, graph.Graph):
            boxes[id(made)] = _run(operation, *arguments, rounded)
        else:
            boxes[id(made)] = _rule(operation)(operation, *arguments, rounded=rounded)
    return boxes[id(known.outputs[0])]


def _slack(terms, size):
    """What a sum of so many terms is widened by; `size` is the sum of their absolute values."""
    return 4 * gamma(terms + 4) * size + terms * TINY


def gamma(terms):
    """The largest relative error of a float32 sum of so many products, in any order; see above."""
    return terms * UNIT / (1 - terms * UNIT)


def _linear(apply, kernel, bias, box, terms, rounded):
    """The box of `apply(x, kernel) + bias`, a sum of `terms` products for each output: exact but for rounding."""
    bias = 0.0 if bias is None else bias
    middle, weights = (box.low + box.high) / 2, tf.abs(kernel)
    around = apply(middle, kernel) + bias
    if not rounded:
        spread = apply((box.high - box.low) / 2, weights)
        return Box(around - spread, around + spread)
    radius = tf.maximum(box.high - middle, middle - box.low) * (1 + 4 * UNIT) + TINY
    size = apply(tf.abs(middle) + radius, weights) + tf.abs(bias)
    spread = apply(radius, weights) + _slack(terms, size)
    return Box(around - spread, around + spread)


def _convolution(layer, box, *, rounded):
    terms = math.prod(layer.kernel.shape[:-1]) + 1
    return _activated(layer, _linear(layer.convolution_op, layer.kernel, layer.bias, box, terms, rounded), rounded)


def _depthwise(layer, box, *, rounded):
    def convolve(x, kernel):
        x = keras.ops.depthwise_conv(x, kernel, layer.strides, layer.padding, None, layer.dilation_rate)
        return keras.ops.convert_to_tensor(x)

    terms = math.prod(layer.kernel.shape[:2]) + 1
    return _activated(layer, _linear(convolve, layer.kernel, layer.bias, box, terms, rounded), rounded)


def _dense(layer, box, *, rounded):
    terms = layer.kernel.shape[0] + 1
    return _activated(layer, _linear(tf.matmul, layer.kernel, layer.bias, box, terms, rounded), rounded)


def _scaled(box, scale, offset, size, rounded):
    """The box of `scale * x + offset`, where `size` bounds what the offset is a sum of."""
    ends = box.low * scale + offset, box.high * scale + offset
    # As of 32 terms: scale and offset are computed too, with a root and a quotient.
    slack = _slack(32, box.size * tf.abs(scale) + size) if rounded else 0.0
    return Box(tf.minimum(*ends) - slack, tf.maximum(*ends) + slack)


def _batch_normalization(layer, box, *, rounded):
    scale = tf.math.rsqrt(layer.moving_variance + layer.epsilon) * (layer.gamma if layer.scale else 1.0)
    moved, beta = layer.moving_mean * scale, layer.beta if layer.center else 0.0
    return _scaled(box, scale, beta - moved, tf.abs(beta) + tf.abs(moved), rounded)


def _normalization(layer, box, *, rounded):
    scale = 1 / tf.maximum(tf.sqrt(tf.cast(layer.variance, tf.float32)), keras.backend.epsilon())
    scale, mean = (1 / scale, -layer.mean * scale) if layer.invert else (scale, layer.mean)
    return _scaled(box, scale, -mean * scale, tf.abs(mean * scale), rounded)


def _rescaling(layer, box, *, rounded):
    scale, offset = (tf.convert_to_tensor(value, tf.float32) for value in (layer.scale, layer.offset))
    return _scaled(box, scale, offset, tf.abs(offset), rounded)


def _activated(layer, box, rounded):
    error = ACTIVATIONS[layer.activation] if rounded else 0
    box = Box(*(layer.activation(end) for end in box))
    if not error:
        return box
    slack = error * UNIT * (1 + box.size)
    return Box(box.low - slack, box.high + slack)


def _activation(layer, box, *, rounded):
    return _activated(layer, box, rounded)


def _rectified(layer, box, *, rounded):
    slack = 4 * UNIT * box.size if rounded and layer.negative_slope else 0.0
    return Box(layer.call(box.low) - slack, layer.call(box.high) + slack)


def _same(layer, box, *, rounded):
    return box


def _exact(operation, *arguments, rounded):
    """What rises with each input and rounds nothing."""
    return Box(operation.call(*_each(arguments, "low")), operation.call(*_each(arguments, "high")))


def _summed(operation, *arguments, rounded):
    """Sums and means: weights of each input that are not negative."""
    box = _exact(operation, *arguments, rounded=rounded)
    if not rounded:
        return box
    slack = _slack(_terms(operation, *arguments), operation.call(*_each(arguments, "size")))
    return Box(box.low - slack, box.high + slack)


def _terms(operation, first):
    if isinstance(operation, layers.AveragePooling2D):
        return math.prod(operation.pool_size)
    if isinstance(operation, layers.Add | layers.Average):
        return len(first)
    if isinstance(operation, layers.Resizing):
        # Of four pixels, by weights that are products; smoothed, of as many as a pixel stands for.
        return math.prod(first.low.shape[1:-1]) + 16 if operation.antialias else 16
    return math.prod(first.low.shape[1:-1])


def _difference(operation, first, second, *, rounded):
    # One of them may be a constant.
    first, second = (one if isinstance(one, Box) else Box(*[tf.cast(one, tf.float32)] * 2) for one in (first, second))
    slack = 4 * UNIT * (first.size + second.size) if rounded else 0.0
    return Box(first.low - second.high - slack, first.high - second.low + slack)


def _each(arguments, name):
    """Arguments of a call with one attribute of each box in its place."""
    if isinstance(arguments, Box):
        return getattr(arguments, name)
    if isinstance(arguments, list | tuple) and any(isinstance(one, Box | list | tuple) for one in arguments):
        return type(arguments)(_each(one, name) for one in arguments)
    return arguments


# Of each layer, and of each operation without a class that Keras exports, by its name.
RULES = {
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _depthwise,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_normalization,
    layers.Normalization: _normalization,
    layers.Rescaling: _rescaling,
    layers.Activation: _activation,
    **dict.fromkeys((layers.ReLU, layers.LeakyReLU), _rectified),
    **dict.fromkeys((layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise, layers.Identity), _same),
    **dict.fromkeys(
        (
            layers.Add,
            layers.Average,
            layers.AveragePooling2D,
            layers.GlobalAveragePooling1D,
            layers.GlobalAveragePooling2D,
            layers.Resizing,
        ),
        _summed,
    ),
    **dict.fromkeys(
        (
            layers.Concatenate,
            layers.Cropping2D,
            layers.Flatten,
            layers.GlobalMaxPooling1D,
            layers.GlobalMaxPooling2D,
            layers.Maximum,
            layers.MaxPooling2D,
            layers.Minimum,
            layers.Permute,
            layers.Reshape,
            layers.ZeroPadding2D,
        ),
        _exact,
    ),
}
OPERATIONS = {"GetItem": _exact, "Take": _exact, "Subtract": _difference}
# Those that never fall, with what their values may be off by, in units of the last place of 1 + |value|.
ACTIVATIONS = {
    keras.activations.linear: 0,
    keras.activations.relu: 0,
    keras.activations.relu6: 0,
    **dict.fromkeys(
        (
            keras.activations.elu,
            keras.activations.hard_sigmoid,
            keras.activations.leaky_relu,
            keras.activations.selu,
            keras.activations.sigmoid,
            keras.activations.softplus,
            keras.activations.tanh,
        ),
        64,
    ),
}


def _rule(operation):
    if isinstance(operation, layers.Layer):
        return RULES.get(type(operation))
    return OPERATIONS.get(type(operation).__name__)


def _known(call):
    """Whether the bounds of an operation are known, called as it is; those of a nested model are asked for later."""
    layer = call.operation
    if any(call.options.values()) and type(layer) is not layers.Resizing:  # which ignores them
        return False
    if isinstance(layer, keras.Model):
        return len(call.arguments) == 1
    if _rule(layer) is None or not isinstance(layer, layers.Layer):
        return _rule(layer) is not None
    plain = getattr(layer, "interpolation", "nearest") in ("nearest", "bilinear")
    activation = getattr(layer, "activation", keras.activations.linear)
    return len(call.arguments) == 1 and plain and activation in ACTIVATIONS and graph.ordinary(layer)
