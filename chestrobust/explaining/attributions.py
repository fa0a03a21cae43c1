"""Where a model looks: Grad-CAM and integrated gradients of one logit per image, and how alike two such maps are.

maps = attributions.grad_cam(models.logits(classifier), images, labels=[3] * len(images))
"""

import functools
import math

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import rankdata

from chestrobust import interruption
from chestrobust.data import metadata
from chestrobust.errors import ModelError

PIXELS_PER_BATCH = 64 * 28 * 28


def grad_cam(model, images, labels, *, layer=None):
    """Grad-CAM: the features of a layer, weighted by how much a logit rises with each, where their sum is positive.

    Args:
        model: A functional `keras.Model` that returns logits, e.g. from `models.logits`.
        images: Float images in [0, 1], `(count, height, width, channels)`.
        labels: Index of the logit that is explained, one per image, `(count,)`.
        layer: Name of a layer, `outer/inner` inside a nested model; default: `feature_layer`. Its output is
            `(batch, rows, columns, features)`, or `(batch, tokens, features)` whose last tokens are a square grid.

    Returns:
        Float32 maps, `(count, height, width)`, 0 or more; all 0 where no feature speaks for the label.

    Raises:
        ModelError: If there is no such layer.

    Reference: Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391
    """
    images = np.asarray(images, np.float32)
    compute = _grad_cam(model, layer or feature_layer(model))
    return _in_batches(lambda part: compute(images[part], np.asarray(labels)[part]).numpy(), images)


@functools.lru_cache(maxsize=32)
def _grad_cam(model, layer):
    both = with_features(model, layer)
    if len(shape := both.outputs[0].shape) not in (3, 4):
        raise ModelError(
            f"{layer}: expected a layer whose output is (batch, rows, columns, features) or (batch, tokens, features). "
            f"Received {shape}. The last one here is {feature_layer(model)}."
        )

    @tf.function(reduce_retracing=True)
    def compute(images, labels):
        with tf.GradientTape() as tape:
            tape.watch(images)  # so that features are recorded even where nothing is trainable
            features, logits = both(images, training=False)
            logit = tf.gather(logits, labels, batch_dims=1)
        gradient = tape.gradient(logit, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        features, gradient = (_as_grid(tensor) for tensor in (features, gradient))
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        maps = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
        return tf.image.resize(maps, tf.shape(images)[1:3])[..., 0]

    return compute


def _as_grid(features):
    """Features as `(batch, rows, columns, features)`; of tokens, those before the square grid are left out."""
    if len(features.shape) == 4:
        return features
    tokens = features.shape[1]
    side = math.isqrt(tokens)
    return tf.reshape(features[:, tokens - side * side :], (-1, side, side, features.shape[2]))


def feature_layer(model):
    """Name of the last layer whose output is still an image, `outer/inner` if it is in a nested model.

    Of a transformer, whose encoder is a single layer in Keras, it is the first with an output per patch: the embedding.

    Raises:
        ModelError: If there is none.
    """
    images = [name for name, shape in _learned(model) if len(shape) == 4 and 1 not in shape[1:3]]
    tokens = [name for name, shape in _learned(model) if len(shape) == 3]
    if not images + tokens:
        raise ModelError(
            f"{model.name}: expected a layer whose output is (batch, rows, columns, features). Received none. "
            "Choose one with --layer."
        )
    return images[-1] if images else tokens[0]


def _learned(model, seen=False):
    """Names and output shapes of all layers from the first that has weights on, those of nested models too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from ((f"{layer.name}/{name}", shape) for name, shape in _learned(layer, seen))
        seen = seen or bool(layer.weights)
        if seen and hasattr(layer.output, "shape") and not isinstance(layer, keras.layers.InputLayer):
            yield layer.name, layer.output.shape


def with_features(model, layer):
    """A model of the same layers and weights that returns a layer's output besides its own.

    Args:
        model: A functional `keras.Model` or a `keras.Sequential`.
        layer: Name of the layer, `outer/inner` inside a nested model.

    Raises:
        ModelError: If there is no such layer.
    """
    name, _, inside = layer.partition("/")
    here = [one.name for one in model.layers if isinstance(one, keras.Model) or not inside]
    if name not in here:
        names = ", ".join(here) or "none"
        raise ModelError(
            f"{model.name}: expected a layer {name!r}{' with layers inside' if inside else ''}. "
            f"Received a model with: {names}."
        )
    nested, found = with_features(model.get_layer(name), inside) if inside else None, []

    def call(layer, *args, **kwargs):
        if layer.name != name:
            return layer(*args, **kwargs)
        features, output = nested(*args, **kwargs) if nested else [layer(*args, **kwargs)] * 2
        found.append(features)
        return output

    # Keras walks the graph anew, so that the output of a nested model's layer belongs to the outer graph too.
    graph = keras.Model(model.inputs[0], model.outputs[0])
    again = keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(again.inputs[0], [found[-1], again.outputs[0]])


def integrated_gradients(model, images, labels, *, steps=64, baseline=0.0):
    """Integrated gradients: what each pixel adds to a logit on the straight way from a baseline to the image.

    Args:
        model: Callable `model(images, training=False)` that returns logits.
        images: Float images in [0, 1], `(count, height, width, channels)`.
        labels: Index of the logit that is explained, one per image, `(count,)`.
        steps: Points on the way at which the gradient is taken (midpoint rule).
        baseline: Brightness of the image at its start, 0 to 1; 0 is black. Metadata are the same all the way.

    Returns:
        Float32, shaped like `images`, and the `completeness` of each image, `(count, 2)`: the sum of its attributions
        and the difference of logits that they must sum to.

    Reference: Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365
    """
    images, labels = np.asarray(images, np.float32), np.asarray(labels)
    starts = np.where(np.arange(images.shape[-1]) < metadata.pixel_channels(images.shape), np.float32(baseline), images)
    gradient = _logit_and_gradient(model)

    def attribute(part):
        total = 0.0
        for step in range(steps):
            interruption.check()
            share = np.float32((step + 0.5) / steps)
            total += gradient(starts[part] + share * (images[part] - starts[part]), labels[part])[1].numpy()
        return (images[part] - starts[part]) * total / steps

    def difference(part):
        after, before = (gradient(points[part], labels[part])[0].numpy() for points in (images, starts))
        return after.astype(np.float64) - before

    attributions = _in_batches(attribute, images)
    sums = attributions.sum(axis=(1, 2, 3), dtype=np.float64)
    return attributions, np.stack([sums, _in_batches(difference, images)], axis=1)


@functools.lru_cache(maxsize=32)
def _logit_and_gradient(model):
    @tf.function(reduce_retracing=True)
    def compute(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logit = tf.gather(model(images, training=False), labels, batch_dims=1)
        return logit, tape.gradient(logit, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return compute


def _in_batches(function, images):
    """The outputs of `function(slice)` for one batch of images after the other, joined."""
    size = max(1, PIXELS_PER_BATCH // (images.shape[1] * images.shape[2]))
    return np.concatenate([function(slice(begin, begin + size)) for begin in range(0, len(images), size)])


def cosine(maps, others):
    """Cosine of the angle between two maps of each image, `(count,)`, -1 to 1; NaN where a map is 0 everywhere."""
    a, b = (np.reshape(array, (len(array), -1)).astype(np.float64) for array in (maps, others))
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0)


def rank_correlation(maps, others):
    """Spearman's rank correlation of two maps of each image, `(count,)`; NaN where a map is the same everywhere."""
    ranks = (rankdata(np.reshape(array, (len(array), -1)), axis=1) for array in (maps, others))
    return cosine(*(rank - rank.mean(axis=1, keepdims=True) for rank in ranks))
