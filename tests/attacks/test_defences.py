"""Attacks see through defences that are random or have no gradient."""

import numpy as np
import pytest
import tensorflow as tf

from chestrobust import attacks

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(16, 2)).astype(np.float32)
IMAGES = RNG.uniform(0.2, 0.8, (12, 4, 4, 1)).astype(np.float32)
LABELS = RNG.integers(0, 2, (12, 2)).astype(np.float32)
EPSILON = 0.05


def linear(images, training=False):
    return tf.reshape(images, (-1, 16)) @ WEIGHTS


def harm(adversarial):
    """How far the logits move to the wrong side, without the defence."""
    moved = linear(adversarial) - linear(IMAGES)
    return float(tf.reduce_mean((1 - 2 * LABELS) * moved))


def random_signs(images, training=False, seed=(0, 0)):
    """Half of the pixels are dropped at random, and the logits drown in noise."""
    keep = tf.random.stateless_uniform(tf.shape(images), seed) < 0.5
    noise = tf.random.stateless_normal(tf.shape(linear(images)), seed)
    return linear(tf.where(keep, 2 * images, 0)) + noise


def attacked(model):
    return attacks.pgd(
        model, IMAGES, LABELS, epsilon=EPSILON, step_size=0.02, steps=10, random_start=False, precision="float32"
    )


def test_an_expectation_is_the_mean_over_its_draws_and_the_same_at_every_call():
    model = attacks.expectation(random_signs, samples=5, seed=3)
    expected = np.mean([random_signs(IMAGES, seed=(3, sample)) for sample in range(5)], axis=0)
    np.testing.assert_allclose(model(IMAGES), expected, atol=1e-5)
    np.testing.assert_array_equal(attacked(model), attacked(attacks.expectation(random_signs, samples=5, seed=3)))


def test_more_draws_find_the_way_past_a_random_defence():
    one, many = (harm(attacked(attacks.expectation(random_signs, samples=count))) for count in (1, 64))
    assert many > 1.2 * one


def test_a_model_without_a_seed_draws_as_it_likes():
    calls = []

    def model(images, training=False):
        calls.append(training)
        return linear(images)

    np.testing.assert_allclose(attacks.expectation(model, 4)(IMAGES), linear(IMAGES), atol=1e-6)
    assert calls == [False] * 4


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="samples=0"):
        attacks.expectation(linear, 0)


def test_a_step_without_a_gradient_takes_that_of_another():
    def rounded(images):
        return tf.round(10 * images) / 10

    step = attacks.straight_through(rounded)
    np.testing.assert_allclose(step(IMAGES), rounded(IMAGES), atol=1e-6)
    blind, seeing = (
        attacked(lambda images, training=False, step=step: linear(step(images), training)) for step in (rounded, step)
    )
    np.testing.assert_array_equal(blind, IMAGES)
    assert harm(seeing) > 0.9 * harm(attacked(linear)) > 0


def test_the_substitute_may_be_any_function():
    step = attacks.straight_through(tf.round, backward=tf.square)
    images = tf.constant([0.3, 0.8])
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = step(images)
    np.testing.assert_allclose(value, [0, 1], atol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, images), [0.6, 1.6], atol=1e-6)
