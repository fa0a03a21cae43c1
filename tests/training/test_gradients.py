"""Gradients at the weights and at the worst ones near them, by models whose loss is known by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust.training import gradients


def quadratic(kernel, bias):
    """Half the squared length of a kernel, and the sum of a bias: gradients are the kernel itself and ones."""
    return lambda: (tf.reduce_sum(tf.square(kernel) / 2) + tf.reduce_sum(bias), "other")


@pytest.fixture
def variables():
    return [keras.Variable([[3.0, 4.0]]), keras.Variable([1.0, 2.0])]


def test_they_are_those_at_the_weights(variables):
    total, other, found = gradients.computed(quadratic(*variables), variables)
    assert (float(total), other) == (12.5 + 3, "other")
    np.testing.assert_allclose(found[0], [[3, 4]])
    np.testing.assert_allclose(found[1], [1, 1])


def test_the_sum_of_their_squares_is_held_to_the_largest_length(variables):
    _, _, found = gradients.computed(quadratic(*variables), variables, clip_norm=1.5)
    # Their length is the root of 25 + 2.
    np.testing.assert_allclose(found[0], np.array([[3, 4]]) * 1.5 / np.sqrt(27), rtol=1e-6)
    np.testing.assert_allclose(gradients.computed(quadratic(*variables), variables, clip_norm=9.0)[2][0], [[3, 4]])


def test_those_by_images_come_beside_them_unclipped_and_at_the_weights_as_they_are(variables):
    images = tf.constant([[5.0], [6.0]])

    def loss():
        return tf.reduce_sum(variables[0] @ images), None

    found = gradients.computed(loss, variables[:1], images=(images,), clip_norm=1.0, weight_epsilon=0.1)[2]
    np.testing.assert_allclose(found[0], np.array([[5, 6]]) / np.sqrt(61), rtol=1e-6)
    np.testing.assert_array_equal(found[1], [[3], [4]])


def test_those_of_the_worst_weights_are_taken_a_step_up_the_loss_and_the_weights_stay(variables):
    before = [variable.numpy() for variable in variables]
    total, _, found = gradients.computed(quadratic(*variables), variables, weight_epsilon=0.1)
    # The kernel's length is 5, its gradient points its own way: it is a tenth longer there. A bias doesn't move.
    np.testing.assert_allclose(found[0], [[3.3, 4.4]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [1, 1])
    assert float(total) == 12.5 + 3
    for old, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_a_kernel_without_a_gradient_stays_where_it_is(variables):
    idle = keras.Variable([[7.0]])
    flat = keras.Variable([[0.0]])

    def loss():
        return quadratic(*variables)()[0] + 0 * tf.reduce_sum(flat), None

    moved = gradients.raised([idle, flat], [None, tf.zeros((1, 1))], 0.1)
    assert [float(weights[0, 0]) for weights in moved] == [7.0, 0.0]
    found = gradients.computed(loss, [*variables, flat], weight_epsilon=0.1)[2]
    np.testing.assert_array_equal(found[2], [[0.0]])


def test_the_second_pass_leaves_statistics_and_seeds_as_the_first_one_left_them():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    images = tf.random.stateless_normal((8, 4), (0, 1))
    initial = [variable.numpy() for variable in model.variables]
    after = []
    for weight_epsilon in (0.0, 0.1):
        for variable, value in zip(model.variables, initial, strict=True):
            variable.assign(value)

        def loss():
            return tf.reduce_mean(tf.square(model(images, training=True))), None

        found = gradients.computed(loss, model.trainable_variables, weight_epsilon=weight_epsilon)[2]
        after.append([variable.numpy() for variable in model.variables])
    for plain, worst in zip(*after, strict=True):
        np.testing.assert_array_equal(plain, worst)
    assert any((old != new).any() for old, new in zip(initial, after[0], strict=True))
    assert all(np.isfinite(gradient).all() for gradient in found)
