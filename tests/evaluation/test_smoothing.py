"""Randomized smoothing, against what is known in closed form of a linear model."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import binomtest, norm

from chestrobust.evaluation import smoothing
from chestrobust.tasks import Task

WEIGHTS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
MIDDLE = (IMAGES.reshape(40, 16) / np.float32(255) @ WEIGHTS).mean(axis=0)


def linear(images, training=False):
    return tf.reshape(images, (-1, 16)) @ WEIGHTS - MIDDLE


def distances():
    """How far each image is from where its report changes, with the sign of what is reported."""
    return linear(IMAGES.astype(np.float32) / 255).numpy() / np.linalg.norm(WEIGHTS, axis=0)


def smoothed(**settings):
    return smoothing.smoothed(linear, Task.MULTI_LABEL, IMAGES, np.full(2, 0.5), sigma=0.3, **settings)


def test_the_interval_of_a_share_is_the_exact_one():
    hits = np.array([0, 1, 7, 19, 20])
    low, high = smoothing.share_between(hits, 20, 0.01)
    for number, *ends in zip(hits, low, high, strict=True):
        expected = binomtest(int(number), 20).proportion_ci(0.99, method="exact")
        assert ends == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_no_radius_is_longer_than_the_way_to_another_report():
    found, way = smoothed(draws=2000), distances()
    assert (found.radius <= np.abs(way)).all()
    sure = found.radius > 0
    np.testing.assert_array_equal(found.reported[sure], (way > 0)[sure])
    # Far from where it changes, most of the way is certified, up to what so many draws can show at all.
    most = 0.3 * norm.ppf((0.001 / 2 / 2) ** (1 / 2000))
    expected = np.minimum(np.abs(way), most)
    assert (found.radius[np.abs(way) > 0.3] > 0.75 * expected[np.abs(way) > 0.3]).all()
    assert (np.abs(way) > 0.3).any() and (~sure).any()


def test_noise_is_a_function_of_the_seed_and_the_number_of_an_image():
    found = smoothed(draws=100)
    few = smoothing.smoothed(
        *(linear, Task.MULTI_LABEL, IMAGES[[7, 3]], np.full(2, 0.5)), sigma=0.3, draws=100, indices=[7, 3]
    )
    np.testing.assert_array_equal(few.radius, found.radius[[7, 3]])
    assert (smoothed(draws=100, seed=1).radius != found.radius).any()


def test_shares_count_what_is_right_and_sure():
    found = smoothing.Smoothed(
        np.array([[True], [True], [False], [False], [True]]), np.array([[0.3], [0.1], [0.3], [0.2], [0.0]])
    )
    labels = np.array([[1], [1], [1], [0], [1]])
    assert found.shares(labels) == (0.5, 1.0)
    assert found.shares(labels, 0.15) == (0.25, 1.0)
    assert found.shares(labels, 0.25) == (0.25, 0.0)
    assert [found.unchanged(radius) for radius in (0, 0.15, 0.25, 0.5)] == [0.8, 0.6, 0.4, 0]


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"draws": 0}, {"alpha": 1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        smoothing.smoothed(linear, Task.MULTI_LABEL, IMAGES, 0.5, **{"sigma": 0.3, **wrong})
