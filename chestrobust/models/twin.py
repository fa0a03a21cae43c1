"""A twin of a model that computes the same from the same weights, only faster.

    fast = twin.of(models.logits(classifier), twin.dtype("auto"))

It folds BatchNorm into the convolution before it, pools before it rectifies, and convolves in low precision where the
hardware is good at that; dense layers stay in float32. It reads the model's variables whenever it is called, so it
can't go stale. A model with any layer that isn't in the tables at the end runs as it is.
"""

import functools
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

from chestrobust.models import graph

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
# Gradients of float16 values are kept this much larger than they are, so that small ones don't become 0.
GRADIENT_SCALE = {tf.float32: 1.0, tf.bfloat16: 1.0, tf.float16: 1024.0}


@functools.cache
def dtype(precision):
    """The data type that a precision means on this machine: for `auto`, what its processors are made for.

    Args:
        precision: One of `PRECISIONS`.

    Returns:
        `"float32"`, `"bfloat16"` or `"float16"`.

    Raises:
        ValueError: If the precision is none of these.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = map(tf.config.experimental.get_device_details, gpus)
        capability = min(detail.get("compute_capability", (0, 0)) for detail in details)
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    return "bfloat16" if flags & {"amx_bf16", "avx512_bf16"} else "float32"


def of(model, low):
    """The twin of a model, or the model itself if it holds anything that isn't known here.

    Args:
        model: A callable `model(images, training=False)` that returns logits.
        low: Data type of the convolutions, from `dtype`.

    Returns:
        A callable like `model`, with float32 logits. With `training=True` it normalizes by the batch, updates the
        moving averages and drops out, as the model does.
    """
    found, low = _known_graph(model), tf.as_dtype(low)
    if found is None:
        return model
    return lambda images, training=False: _computed(_run(found, images, low, training), tf.float32)


def known(model):
    """Whether a model is a graph of layers in `RULES`, called without arguments that would change what they do."""
    return _known_graph(model) is not None


def stranger(model):
    """A few words on the first layer that keeps a `keras.Model` from having a twin; None if it has one."""
    if known(model):
        return None
    for layer in graph.layers(model):
        if not isinstance(layer, layers.InputLayer | keras.Model) and not _known_layer(layer):
            return f"{type(layer).__name__} ({layer.name})"
    return "the way its layers are called"


def note(model):
    """A line that says why a `keras.Model` runs as it is, or None if it has a twin."""
    found = stranger(model)
    return found and f"Note: the fast twin doesn't know {found}, so this model runs as it is, which takes longer."


def _known_graph(model):
    """The `Graph` of a model, with a graph in the place of each nested model; None if anything in it isn't known."""
    found, calls = graph.of(model), []
    if found is None or not len(found.inputs) == len(found.outputs) == 1:
        return None
    for call in found.calls:
        operation = _known_operation(call)
        if operation is None:
            return None
        calls.append(call._replace(operation=operation))
    return found._replace(calls=calls)


def _known_operation(call):
    """What a call runs, a `Graph` in the place of a nested model; None if it isn't known."""
    operation = call.operation
    if not isinstance(operation, layers.Layer):
        return operation if type(operation).__name__ in OPERATIONS and not call.options else None
    if len(call.arguments) != 1 or any(call.options.values()):
        return None
    return operation if _known_layer(operation) else _known_graph(operation)


def _run(known, images, low, training):
    """What a known graph returns, which may not be computed yet."""
    values = {id(known.inputs[0]): images}
    for operation, arguments, _, result in known.calls:
        arguments = keras.tree.map_structure(lambda tensor: values.get(id(tensor), tensor), arguments)
        compute = _run if isinstance(operation, graph.Graph) else RULES.get(type(operation), _plain)
        (made,) = keras.tree.flatten(result)  # A nested model may return a list of one.
        values[id(made)] = compute(operation, *arguments, low=low, training=training)
    return values[id(known.outputs[0])]


class Linear:
    """A convolution or dense layer that isn't computed yet, so that what follows can still go into its weights.

    Attributes:
        apply: Function from a kernel to the output.
        kernel: Float32 kernel; its last dimensions are `channels`.
        bias: Float32, one per output channel, or None.
    """

    def __init__(self, apply, kernel, bias, channels):
        self.apply, self.kernel, self.channels = apply, tf.convert_to_tensor(kernel), channels
        self.bias = None if bias is None else tf.convert_to_tensor(bias)

    def then(self, scale, offset):
        """The same followed by `scale * x + offset`, one of each per output channel."""
        bias = offset if self.bias is None else self.bias * scale + offset
        return Linear(self.apply, self.kernel * tf.reshape(scale, self.channels), bias, self.channels)

    @functools.cached_property
    def value(self):
        """The output."""
        output = self.apply(self.kernel)
        return output if self.bias is None else tf.nn.bias_add(output, _cast(self.bias, output.dtype))


class Rectified:
    """The ReLU of a tensor, not computed yet, so that it can wait until pooling has left fewer numbers."""

    def __init__(self, before):
        self.before = before

    @functools.cached_property
    def value(self):
        """The output."""
        return tf.nn.relu(self.before)


def _computed(x, dtype=None):
    x = x.value if isinstance(x, Linear | Rectified) else x
    return x if dtype is None else _cast(x, dtype)


def _cast(x, dtype):
    dtype = tf.as_dtype(dtype)
    ratio = GRADIENT_SCALE[x.dtype] / GRADIENT_SCALE[dtype]
    return tf.cast(_with_gradient_times(ratio, tf.cast(x, tf.float32)), dtype) if x.dtype != dtype else x


def _with_gradient_times(ratio, x):
    if ratio == 1:
        return x
    return tf.custom_gradient(lambda x: (tf.identity(x), lambda upstream: upstream * ratio))(x)


def _activated(function, x):
    """An activation of a layer's output `x`, which may not be computed yet."""
    if function is keras.activations.linear:
        return x
    return Rectified(_computed(x)) if function is keras.activations.relu else function(_computed(x))


def _convolution(layer, x, *, low, training):
    x = _computed(x, low)
    convolve = layer.convolution_op
    simple = layer.padding == "same" and {*layer.strides, *layer.dilation_rate, layer.groups} == {1}
    if not training and simple and x.shape[-1] <= 4 and layer.kernel_size[0] % 2 == layer.kernel_size[1] % 2 == 1:
        convolve = _convolution_of_few_channels
    result = Linear(lambda k: convolve(x, _cast(k, low)), layer.kernel, layer.bias, [layer.filters])
    return _activated(layer.activation, result)


@tf.custom_gradient
def _convolution_of_few_channels(images, kernel):
    """A convolution whose gradient by the images doesn't waste a processor's vectors on one or three channels.

    It is computed as a matrix product, one channel per weight of the kernel's window, and a sum of shifted maps.
    """
    rows, columns, channels, filters = kernel.shape

    def gradient(upstream):
        matrix = tf.reshape(tf.transpose(kernel, (3, 0, 1, 2)), (1, 1, filters, rows * columns * channels))
        maps = tf.nn.conv2d(upstream, matrix, 1, "VALID")
        maps = tf.pad(maps, [(0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)])
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        by_images = tf.add_n(
            [
                maps[:, rows - 1 - row :, columns - 1 - column :, place : place + channels][:, :height, :width]
                for row in range(rows)
                for column in range(columns)
                for place in [(row * columns + column) * channels]
            ]
        )
        return by_images, None

    return tf.nn.conv2d(images, kernel, 1, "SAME"), gradient


def _depthwise(layer, x, *, low, training):
    x = _computed(x, low)

    def convolve(kernel):
        return keras.ops.depthwise_conv(x, _cast(kernel, low), layer.strides, layer.padding, None, layer.dilation_rate)

    channels = list(layer.kernel.shape[-2:])
    return _activated(layer.activation, Linear(convolve, layer.kernel, layer.bias, channels))


def _separable(layer, x, *, low, training):
    x = _computed(x, low)
    by_channel = _cast(tf.convert_to_tensor(layer.depthwise_kernel), low)
    x = keras.ops.depthwise_conv(x, by_channel, layer.strides, layer.padding, None, layer.dilation_rate)
    last = layer.pointwise_kernel, layer.bias, [layer.filters]
    return _activated(layer.activation, Linear(lambda k: tf.nn.conv2d(x, _cast(k, low), 1, "VALID"), *last))


def _dense(layer, x, *, low, training):
    x = _computed(x, tf.float32)
    result = Linear(lambda kernel: tf.matmul(x, kernel), layer.kernel, layer.bias, [layer.units])
    return _activated(layer.activation, result)


def _batch_normalization(layer, x, *, low, training):
    if training and layer.trainable:
        return _normalized_by_batch(layer, _computed(x))
    scale = tf.math.rsqrt(layer.moving_variance + layer.epsilon) * (layer.gamma if layer.scale else 1.0)
    offset = (layer.beta if layer.center else 0.0) - layer.moving_mean * scale
    if isinstance(x, Linear):
        return x.then(scale, offset)
    x = _computed(x)
    return x * _cast(scale, x.dtype) + _cast(offset, x.dtype)


def _normalized_by_batch(layer, x):
    if layer.synchronized or len(x.shape) != 4:
        return layer.call(x, training=True)
    ones = tf.ones_like(layer.moving_variance)
    ratio = 1 / GRADIENT_SCALE[x.dtype]
    output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=_with_gradient_times(ratio, tf.convert_to_tensor(layer.gamma)) if layer.scale else ones,
        offset=_with_gradient_times(ratio, tf.convert_to_tensor(layer.beta)) if layer.center else 0 * ones,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
    )
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
    variance *= (count - 1) / count  # The operation returns the sample's variance, Keras averages the batch's.
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    return output


def _activation(layer, x, *, low, training):
    return _activated(layer.activation, x)


def _relu(layer, x, *, low, training):
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return Rectified(_computed(x)) if plain else layer.call(_computed(x))


def _max_pooling(layer, x, *, low, training):
    # The largest of what is rectified is the largest, rectified.
    return Rectified(layer.call(x.before)) if isinstance(x, Rectified) else layer.call(_computed(x))


def _dropout(layer, x, *, low, training):
    return layer.call(_computed(x), training=True) if training else x


def _plain(layer, *arguments, low, training):
    return layer.call(*keras.tree.map_structure(_computed, arguments))


def _merged(layer, inputs, *, low, training):
    inputs = [_computed(x) for x in inputs]
    mixed = len({x.dtype for x in inputs}) > 1
    return layer.call([_cast(x, low) if mixed else x for x in inputs])


RULES = {
    layers.Conv2D: _convolution,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_normalization,
    layers.Activation: _activation,
    layers.ReLU: _relu,
    layers.MaxPooling2D: _max_pooling,
    **dict.fromkeys((layers.Dropout, layers.SpatialDropout2D), _dropout),
    **dict.fromkeys((layers.Add, layers.Average, layers.Concatenate, layers.Maximum, layers.Multiply), _merged),
    **dict.fromkeys(
        (
            layers.AveragePooling2D,
            layers.Cropping2D,
            layers.Flatten,
            layers.GlobalAveragePooling1D,
            layers.GlobalAveragePooling2D,
            layers.GlobalMaxPooling1D,
            layers.GlobalMaxPooling2D,
            layers.LeakyReLU,
            layers.Normalization,
            layers.Permute,
            layers.Rescaling,
            layers.Reshape,
            layers.Resizing,
            layers.ZeroPadding2D,
        ),
        _plain,
    ),
}
# Those without a class that Keras exports, by their names: what picks and joins a stranger's columns.
OPERATIONS = ("GetItem", "Subtract", "Take")
ACTIVATIONS = (
    keras.activations.elu,
    keras.activations.gelu,
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.relu6,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.tanh,
)


def _known_layer(layer):
    activation = getattr(layer, "activation", keras.activations.linear)
    return type(layer) in RULES and activation in ACTIVATIONS and graph.ordinary(layer)
