"""Bounds hold: in exact arithmetic, on random networks under attack, and to the last digits where they can be exact."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from test_twin import shake

from chestrobust import attacks, losses, models
from chestrobust.errors import ModelError
from chestrobust.models import bounds

IMAGES = np.random.default_rng(0).uniform(size=(4, 12, 12, 1)).astype(np.float32)


def exact(array):
    """An array of fractions, as NumPy adds and multiplies them."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, np.float64))


def root(value):
    """A square root to 60 digits."""
    return Fraction(math.isqrt(int(value * 10**120)), 10**60)


def through(low, high, kernel, bias):
    """The exact box of `x @ kernel + bias`, by the sign of each weight."""
    up, down = np.maximum(kernel, 0), np.minimum(kernel, 0)
    return low @ up + high @ down + bias, high @ up + low @ down + bias


def windows(array, size, strides):
    """Rows of the pixels that a convolution without padding sums."""
    places = range(0, array.shape[0] - size + 1, strides)
    return np.array([[array[i : i + size, j : j + size].ravel() for j in places] for i in places], object)


def exact_bounds(model, low, high):
    """The bounds of one image in exact arithmetic: convolution, BatchNorm, ReLU, mean of all, dense, in this order."""
    convolution, norm, _, dense = model.layers[1], model.layers[2], model.layers[4], model.layers[5]
    kernel, bias = (exact(weight) for weight in convolution.get_weights())
    ends = [windows(end, kernel.shape[0], convolution.strides[0]) for end in (low, high)]
    low, high = through(*ends, kernel.reshape(-1, kernel.shape[-1]), bias)
    gamma, beta, mean, variance = (exact(weight) for weight in norm.get_weights())
    scale = np.array([g / root(v + Fraction(norm.epsilon)) for g, v in zip(gamma, variance, strict=True)], object)
    ends = low * scale, high * scale
    low, high = (np.maximum(pick(*ends) + beta - mean * scale, 0) for pick in (np.minimum, np.maximum))
    low, high = (end.sum(axis=(0, 1)) / Fraction(end.shape[0] * end.shape[1]) for end in (low, high))
    return through(low, high, *(exact(weight) for weight in dense.get_weights()))


def small(seed):
    """A network whose sums cancel, so that rounding shows."""
    keras.utils.set_random_seed(seed)
    inputs = x = layers.Input((12, 12, 1))
    x = layers.Conv2D(6, 4, strides=2, bias_initializer="normal", kernel_initializer=scaled(2.0))(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return shake(keras.Model(inputs, layers.Dense(3, bias_initializer="normal")(x)), seed)


def scaled(deviation):
    return keras.initializers.RandomNormal(stddev=deviation)


def test_bounds_hold_in_exact_arithmetic_which_takes_rounding_outward():
    kept = {True: [], False: []}
    for seed in range(5):
        model = small(seed)
        box = bounds.around(IMAGES, 0.0)
        for rounded, found in kept.items():
            low, high = bounds.of(model, rounded=rounded)(*box)
            for image in range(2):
                ends = exact_bounds(model, *(exact(end[image, ..., 0]) for end in box))
                found += list(exact(low[image]) <= ends[0]) + list(exact(high[image]) >= ends[1])
                size = float(max(abs(ends[1])))
                np.testing.assert_allclose(low[image], ends[0].astype(float), atol=1e-4 * size)
                np.testing.assert_allclose(high[image], ends[1].astype(float), atol=1e-4 * size)
    assert all(kept[True])
    assert not all(kept[False])


def test_bounds_of_a_linear_model_are_exact_and_an_attack_reaches_them():
    inputs = layers.Input((12, 12, 1))
    x = layers.Rescaling(2.0, -1.0)(inputs)
    x = layers.Dense(2, kernel_initializer=scaled(1.0), bias_initializer="normal")(layers.Flatten()(x))
    model, epsilon = keras.Model(inputs, x), 0.1
    kernel, bias = (weight.astype(np.float64) for weight in model.get_weights())
    pixels = IMAGES.reshape(4, -1).astype(np.float64)
    box = 2 * np.maximum(pixels - epsilon, 0) - 1, 2 * np.minimum(pixels + epsilon, 1) - 1
    lowest = box[0] @ np.maximum(kernel, 0) + box[1] @ np.minimum(kernel, 0) + bias
    highest = box[1] @ np.maximum(kernel, 0) + box[0] @ np.minimum(kernel, 0) + bias
    low, high = bounds.of(model)(*bounds.around(IMAGES, epsilon))
    np.testing.assert_allclose(low, lowest, atol=0.01)
    np.testing.assert_allclose(high, highest, atol=0.01)
    assert (low < lowest).numpy().all() and (high > highest).numpy().all()
    for label in range(2):
        for end, sign in ((lowest, -1), (highest, 1)):
            weights = np.zeros((4, 2), np.float32)
            weights[:, label] = sign
            found = attacks.fgsm(model, IMAGES, weights, epsilon=epsilon, loss=losses.linear, precision="float32")
            np.testing.assert_allclose(model(found)[:, label], end[:, label], atol=1e-4)


def branches():
    """Every kind of layer whose bounds are known."""
    inputs = layers.Input((12, 12, 1))
    x = layers.Resizing(14, 14)(layers.Normalization(mean=0.4, variance=0.1)(inputs))
    x = layers.Concatenate()([x, layers.Rescaling(2.0, -1.0)(x)])
    x = layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x))
    x = stem = layers.Conv2D(8, 3, strides=2, padding="same", activation="leaky_relu")(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(center=False)(x))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(8, 1, groups=2)(x))
    x = layers.Average()([layers.Add()([x, stem]), layers.Maximum()([x, stem]), layers.Minimum()([x, stem])])
    x = layers.SpatialDropout2D(0.3)(layers.GaussianNoise(0.1)(x))
    x = layers.Concatenate()([layers.AveragePooling2D(2, padding="same")(x), layers.MaxPooling2D(2, padding="same")(x)])
    inner = layers.Input(x.shape[1:])
    inner = keras.Model(inner, layers.Activation("tanh")(layers.Conv2D(4, 3)(inner)))
    x = inner(x)
    flat = layers.Permute((2, 1))(layers.Reshape((-1, 4))(x))
    pools = [layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D()]
    pools = [pool(x) for pool in pools] + [layers.GlobalAveragePooling1D()(flat), layers.GlobalMaxPooling1D()(flat)]
    x = layers.Dropout(0.5)(layers.Concatenate()([*pools, layers.Flatten()(x)]))
    x = layers.Dense(6, activation="softplus")(layers.Identity()(x))
    x = layers.Dense(4)(layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.ops.take(x[:, 1:] - x[:, :1], [2, 0, 1], axis=-1))


def known(name, seed=0):
    keras.utils.set_random_seed(seed)
    return shake(branches() if name == "branches" else models.logits(models.build(name, (12, 12, 1), 3)), seed)


def test_the_network_of_these_tests_has_every_layer_of_the_table():
    def kinds(model):
        for layer in model.layers:
            yield from kinds(layer) if isinstance(layer, keras.Model) else [type(layer)]

    assert set(bounds.RULES) <= {layers.ReLU, layers.Activation, *kinds(branches())}


@pytest.mark.parametrize("name", ["cnn", "robust_cnn", "vgg", "certified_cnn", "branches"])
@pytest.mark.parametrize("epsilon", [0.0, 4 / 255])
def test_no_attack_on_any_label_leaves_the_bounds_of_a_random_network(name, epsilon):
    model = known(name)
    low, high = bounds.of(model)(*bounds.around(IMAGES, epsilon))
    assert np.isfinite(low).all() and np.isfinite(high).all()
    found = [IMAGES + np.float32(epsilon) * np.random.default_rng(1).choice([-1, 1], IMAGES.shape), IMAGES]
    for label in range(3 if epsilon else 0):
        for sign in (-1, 1):
            weights = np.zeros((4, 3), np.float32)
            weights[:, label] = sign
            settings = {"epsilon": epsilon, "steps": 3, "loss": losses.linear}
            found.append(attacks.apgd(model, IMAGES, weights, **settings))
    for images in found:
        logits = model(np.clip(images, 0, 1).astype(np.float32), training=False).numpy()
        assert (low.numpy() <= logits).all() and (logits <= high.numpy()).all()


@pytest.mark.parametrize("name", ["certified_cnn", "branches"])
def test_bounds_of_training_are_those_of_certification_but_for_rounding(name):
    model = known(name)
    box = bounds.around(IMAGES, 2 / 255)
    for one, other in zip(bounds.of(model)(*box), bounds.of(model, rounded=False)(*box), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02 * float(tf.reduce_max(tf.abs(other))))


def test_at_the_image_itself_bounds_are_the_logits_but_for_rounding():
    model = known("cnn")
    low, high = bounds.of(model, rounded=False)(IMAGES, IMAGES)
    for end in (low, high):
        np.testing.assert_allclose(end, model(IMAGES, training=False), rtol=1e-4, atol=1e-4)


def test_the_box_is_the_ball_inside_the_pixel_range():
    low, high = bounds.around(np.float32([0, 0.05, 0.5, 1]), 0.1)
    np.testing.assert_allclose(low, [0, 0, 0.4, 0.9], atol=3e-7)
    np.testing.assert_allclose(high, [0.1, 0.15, 0.6, 1], atol=3e-7)
    assert high.numpy()[0] > 0.1 and low.numpy()[3] < 0.9


def test_a_constant_may_be_taken_from_what_is_bounded_or_the_other_way_round():
    inputs = layers.Input((12, 12, 1))
    box = bounds.of(keras.Model(inputs, 0.75 - (inputs - 0.25)))(IMAGES / 2, IMAGES)
    low, high = (end.numpy() for end in box)
    np.testing.assert_allclose(low, 1 - IMAGES, atol=1e-5)
    np.testing.assert_allclose(high, 1 - IMAGES / 2, atol=1e-5)
    assert (low < 1 - IMAGES.astype(np.float64)).all() and (high > 1 - IMAGES.astype(np.float64) / 2).all()


def test_another_layer_is_refused_by_its_name_and_kind():
    inputs = layers.Input((12, 12, 1))
    x = layers.Flatten()(inputs)
    for layer, message in (
        (layers.LayerNormalization(name="norm"), "Received: norm, LayerNormalization"),
        (layers.Dense(3, activation="gelu", name="bent"), "Received: bent, Dense"),
        (layers.Dense(3, dtype="mixed_bfloat16", name="low"), "Received: low, Dense"),
    ):
        with pytest.raises(ModelError, match=message):
            bounds.of(keras.Model(inputs, layer(x)))
    with pytest.raises(ModelError, match="no graph of layers"):
        bounds.of(lambda images: images)
