"""The twin computes what the model computes: forward, backward and in training."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from chestrobust import attacks, losses, models
from chestrobust.attacks import gradient
from chestrobust.models import graph, twin


def shake(model, seed=0):
    """Give BatchNorm a past and some negative scales, which a fresh model doesn't have."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            shake(layer, seed + 1)
        elif isinstance(layer, layers.BatchNormalization):
            count = layer.moving_mean.shape[0]
            layer.moving_mean.assign(rng.normal(0, 0.3, count))
            layer.moving_variance.assign(rng.uniform(0.5, 2, count))
            for weight in layer.trainable_weights:
                weight.assign(rng.normal(0.2, 1, count))
    return model


def branches():
    """Every kind of layer that the small CNN doesn't have."""
    inputs = layers.Input((12, 12, 3))
    x = layers.Rescaling(2.0, -1.0)(inputs)
    x = layers.ZeroPadding2D(1)(x)
    x = stem = layers.Conv2D(8, 5, strides=2, padding="same", activation="silu")(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.ReLU(6.0)(x)
    x = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Add()([layers.Multiply()([x, gate]), stem])
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(layers.ReLU()(x))])
    inner = keras.Sequential([layers.Input(x.shape[1:]), layers.Conv2D(8, 3, groups=2), layers.LeakyReLU(0.1)])
    x = layers.Flatten()(keras.Model(inner.inputs, [inner.outputs[0]])(x)[0])
    x = layers.Dense(6)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(4)(layers.Dropout(0.5)(layers.Activation("relu")(x)))
    return keras.Model(inputs, x[:, 1:] - x[:, :1])


@pytest.fixture(params=["cnn", "robust_cnn", "branches"])
def model(request):
    keras.utils.set_random_seed(0)
    branched = request.param == "branches"
    return shake(branches() if branched else models.logits(models.build(request.param, (12, 12, 1), 3)))


@pytest.fixture
def images(model):
    return tf.constant(np.random.default_rng(0).uniform(size=(5, *model.input_shape[1:])), tf.float32)


LABELS = tf.constant([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]], tf.float32)


@pytest.mark.parametrize(("low", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03), ("float16", 0.005)])
def test_logits_and_input_gradients_are_those_of_the_model(model, images, low, tolerance):
    fast = twin.of(model, low)
    assert fast is not model
    logits = model(images, training=False)
    np.testing.assert_allclose(fast(images), logits, atol=tolerance * float(tf.reduce_max(tf.abs(logits))))
    if low == "float32":  # In low precision a ReLU near 0 may switch.
        values, gradients = gradient.value_and_gradient(model, losses.binary_cross_entropy, images, LABELS)
        fast_values, fast_gradients = gradient.value_and_gradient(fast, losses.binary_cross_entropy, images, LABELS)
        np.testing.assert_allclose(fast_values, values, rtol=1e-5)
        np.testing.assert_allclose(fast_gradients, gradients, atol=1e-4 * float(tf.reduce_max(tf.abs(gradients))))


@pytest.mark.parametrize(("low", "tolerance"), [("float32", 1e-3), ("float16", 0.1)])
def test_a_training_step_is_that_of_the_model(model, images, low, tolerance):
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0.0
    before = model.get_weights()

    def step(call):
        model.set_weights(before)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.binary_cross_entropy(LABELS, call(images, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        return gradients, [variable.numpy() for variable in model.non_trainable_variables]

    (expected, averages), (received, moved) = step(model), step(twin.of(model, low))
    largest = max(float(tf.reduce_max(tf.abs(slopes))) for slopes in expected)
    for slopes, other in zip(expected, received, strict=True):
        np.testing.assert_allclose(other, slopes, atol=tolerance * largest)
    for average, other in zip(averages, moved, strict=True):
        np.testing.assert_allclose(other, average, rtol=5e-3 if low == "float32" else 0.05, atol=tolerance)


def test_training_drops_out_and_freezing_is_respected():
    model = models.logits(models.build_cnn((12, 12, 1), 3))
    fast, images = twin.of(model, "float32"), tf.ones((4, 12, 12, 1))
    assert not np.allclose(fast(images, training=True), fast(images, training=True))
    for layer in model.layers:
        layer.trainable = False
    before = [variable.numpy() for variable in model.get_layer("norm1").variables]
    fast(images, training=True)
    for variable, value in zip(model.get_layer("norm1").variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_a_change_of_the_weights_is_seen_at_once(model, images):
    fast = tf.function(twin.of(model, "float32"))
    before = fast(images)
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(variable * 0.5 + 0.01)
    assert not np.allclose(fast(images), before)
    np.testing.assert_allclose(fast(images), model(images, training=False), atol=1e-5)


class Subclassed(layers.ReLU):
    """A layer whose name says nothing about what it does."""


def defences():
    """Layers and arguments that may hide a defence."""
    noise = keras.layers.GaussianNoise(0.1)
    yield "noise", lambda x: noise(x, training=True)
    yield "dropout in training mode", lambda x: layers.Dropout(0.5)(x, training=True)
    yield "BatchNorm in training mode", lambda x: layers.BatchNormalization()(x, training=True)
    yield "rounding as an operation", lambda x: keras.ops.round(8 * x) / 8
    yield "rounding as an activation", lambda x: layers.Activation(keras.ops.round)(x)
    yield "rounding in a convolution", lambda x: layers.Conv2D(4, 3, activation=keras.ops.round)(x)
    yield "enlarging", lambda x: layers.UpSampling2D(2)(x)
    yield "a subclass", lambda x: Subclassed()(x)
    yield "another policy", lambda x: layers.ReLU(dtype="mixed_bfloat16")(x)
    yield "channels first", lambda x: layers.GlobalAveragePooling2D(data_format="channels_first")(x)


@pytest.mark.parametrize("defence", [pytest.param(defence, id=name) for name, defence in defences()])
def test_what_is_not_known_runs_as_it_is(defence):
    inputs = layers.Input((12, 12, 1))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(defence(inputs))))
    assert twin.of(model, "bfloat16") is model
    wrapped = keras.Model(inputs, model(inputs))
    assert twin.of(wrapped, "bfloat16") is wrapped


SLOW = (
    *("mobilenet_v2", "resnet18", "resnet34", "resnet50", "efficientnet_b0", "densenet121", "vgg16"),
    *("cnn-se", "resnet18-cbam"),
)


@pytest.mark.parametrize(
    "name, share",  # Of float32's gain: rounding grows from layer to layer of a deep network that has learned nothing.
    [
        *((name, 0.9) for name in ("vgg", "covid_cnn", "cnn-cbam")),
        *(pytest.param(name, 0.3, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_every_convolutional_model_has_a_twin_that_is_attacked_as_well(name, share):
    keras.utils.set_random_seed(0)
    architecture, _, attention = name.partition("-")
    model = models.logits(models.build(architecture, (28, 28, 1), 3, attention=attention or "none"))
    images, labels = np.random.default_rng(0).random((5, 28, 28, 1), np.float32), LABELS.numpy()
    for layer in graph.layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)  # Now the moving averages are the batch's, so that signals don't fade on their way.
    assert twin.known(model)
    logits = model(images, training=False)
    largest = float(tf.reduce_max(tf.abs(logits)))
    np.testing.assert_allclose(twin.of(model, "float32")(tf.constant(images)), logits, atol=0.01 * largest)

    def gain(precision):
        attacked = attacks.pgd(
            model, images, labels, epsilon=0.05, step_size=0.02, steps=5, random_start=False, precision=precision
        )
        before, after = (losses.binary_cross_entropy(labels, model(x, training=False)) for x in (images, attacked))
        return float(tf.reduce_sum(after - before))

    assert gain("float32") > 0
    assert gain("bfloat16") > share * gain("float32")


def changed_graphs(monkeypatch):
    """A Keras that keeps its graphs in another way."""
    monkeypatch.delattr(keras.Function, "_run_through_graph")


def other_clones(monkeypatch):
    """A Keras whose `clone_model` can't say what it calls."""
    monkeypatch.setattr(keras.models, "clone_model", lambda model, clone_function: model)


@pytest.mark.parametrize("change", [changed_graphs, other_clones])
def test_where_keras_shows_no_graph_the_model_runs_as_it_is(model, images, monkeypatch, change):
    kept, radius = twin.of(model, "float32"), {"epsilon": 0.05, "step_size": 0.02, "steps": 2}
    logits = model(images, training=False)
    expected = attacks.pgd(model, images, LABELS, **radius, precision="float32")
    with monkeypatch.context() as patch:
        change(patch)
        assert not twin.known(model)
        assert twin.of(model, "bfloat16") is model
        np.testing.assert_allclose(kept(images), logits, atol=1e-4)  # It was made before, and needs no graph.
    gradient.compiled.cache_clear()
    monkeypatch.setattr(graph, "of", lambda model: None)
    received = attacks.pgd(model, images, LABELS, **radius, precision="bfloat16")
    np.testing.assert_array_equal(received, expected)


def test_looking_at_a_model_leaves_it_as_it_was(model):
    def trace():
        return [(layer, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in graph.layers(model)]

    model.compile("adam")
    before = trace()
    assert twin.known(model)
    assert trace() == before


def test_nothing_of_keras_that_is_private_is_used_but_in_one_module():
    # Where no public name tells how a stranger's output came about.
    allowed = {"graph.py": {"_keras_history", "_inbound_nodes"}}
    used, own = set(), set()
    for path in Path(models.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                if node.attr not in allowed.get(path.name, ()):
                    (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith("keras.src"), path
    assert used - own <= {"_actions", "_replace"}  # argparse's and named tuples'


def test_a_function_runs_as_it_is():
    def model(images, training=False):
        return images

    assert twin.of(model, "bfloat16") is model


def test_precision_is_checked_and_auto_names_a_data_type():
    assert twin.dtype("auto") in ("float32", "bfloat16", "float16")
    with pytest.raises(ValueError, match="Received: 'float64'"):
        twin.dtype("float64")


def test_a_model_without_a_twin_names_the_layer_that_it_lacks(model):
    assert twin.stranger(model) is None and twin.note(model) is None
    inputs = keras.Input((8, 8, 4))
    x = layers.GroupNormalization(2, name="groups")(layers.Conv2D(4, 3)(inputs))
    assert twin.stranger(keras.Model(inputs, x)) == "GroupNormalization (groups)"
    assert "doesn't know GroupNormalization (groups), so" in twin.note(keras.Model(inputs, x))
    assert "layers are called" in twin.stranger(keras.Model(inputs, layers.Dropout(0.5)(inputs, training=True)))
