import numpy as np
import pytest
import tensorflow as tf

from chestrobust.attacks import apgd, norms, pgd, storage
from chestrobust.data.splits import as_floats


def test_a_radius_is_counted_in_whole_levels():
    for levels in range(256):
        assert storage.whole_levels(levels / 255) == levels
        assert storage.whole_levels(float(np.float32(levels / 255))) == levels
    assert [storage.whole_levels(k / 255) for k in (0.25, 0.5, 0.99, 1.5, 7.65)] == [0, 0, 0, 1, 7]


def test_images_are_rounded_to_levels_inside_the_ball():
    clean = np.float32([10, 10, 10, 10, 1, 254]) / 255
    moved = np.float32([10.4, 10.6, 8.4, 11.5, 0, 255]) / 255
    # With 1.5 levels: 0.4 is gone, 0.6 becomes 1, -1.6 and 1.5 become 1 and not 2.
    np.testing.assert_array_equal(storage.stored(moved, clean, 1.5 / 255), [10, 11, 9, 11, 0, 255])
    np.testing.assert_array_equal(storage.stored(moved, clean, 0.5 / 255), [10, 10, 10, 10, 1, 254])


@pytest.mark.parametrize("radius", (0.25, 1, 1.5, 4, 7.65))
def test_stored_images_never_leave_the_ball_and_are_the_nearest(radius):
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    floats = clean.astype(np.float32) / 255
    moved = np.clip(floats + np.float32(radius / 255) * rng.uniform(-1, 1, clean.shape).astype(np.float32), 0, 1)
    stored = storage.stored(moved, floats, radius / 255)
    levels = storage.changed_levels(stored, floats)
    assert (stored.dtype, levels) == (np.uint8, int(radius))
    inside = np.arange(256)[:, None] - clean.reshape(-1).astype(int)
    distance = np.where(np.abs(inside) <= radius, np.abs(np.arange(256)[:, None] - 255 * moved.reshape(-1)), np.inf)
    gap = np.abs(stored.reshape(-1) - 255 * moved.reshape(-1))
    np.testing.assert_allclose(gap, distance.min(axis=0), atol=1e-4)


def test_clean_images_between_levels_are_refused():
    with pytest.raises(ValueError, match="8 bits"):
        storage.stored(np.float32([0.5]), np.float32([0.5]), 0.1)


WEIGHTS = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)


def linear(images, training=False):
    return tf.reshape(images, (-1, 64)) @ WEIGHTS


@pytest.mark.parametrize("radius", (0.25, 0.99, 1, 1.5, 4, 7.65))
@pytest.mark.parametrize("norm", (norms.LINF, norms.LEVELS))
def test_of_a_linear_model_the_stored_attack_is_the_integer_optimum(radius, norm):
    clean = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    clean[0], clean[1] = 0, 255  # which can't go lower and higher
    labels = (np.arange(40) % 2)[:, None]
    images, settings = as_floats(clean), {"epsilon": radius / 255, "norm": norm}
    # A present finding is hidden, an absent one made up, by as many whole levels as fit into the ball.
    away = np.where(labels == 1, -1, 1)[:, :, None, None] * np.sign(WEIGHTS).reshape(8, 8, 1)
    best = np.clip(clean + int(radius) * away, 0, 255)
    for attacked in (
        pgd(linear, images, labels, step_size=max(1, radius) / 255, steps=9, random_start=False, **settings),
        apgd(linear, images, labels, steps=9, **settings),
    ):
        np.testing.assert_array_equal(storage.stored(attacked, images, radius / 255), best)
        if norm is norms.LEVELS:
            np.testing.assert_array_equal(attacked, as_floats(best))  # what a file holds, to the last bit
    if radius < 1:
        np.testing.assert_array_equal(best, clean)


def test_attacks_on_whole_levels_stay_there_and_in_the_ball():
    clean = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
    images, labels = as_floats(clean), np.ones((20, 1))

    def curved(images, training=False):
        return tf.sin(40 * linear(images))

    for radius in (0.5, 1.5, 3):
        settings = {"epsilon": radius / 255, "norm": norms.LEVELS, "restarts": 2}
        for attacked in (
            pgd(curved, images, labels, step_size=0.7 / 255, steps=7, **settings),
            apgd(curved, images, labels, steps=7, **settings),
        ):
            levels = np.rint(255 * attacked.astype(np.float64)).astype(np.uint8)
            np.testing.assert_array_equal(attacked, as_floats(levels))
            assert storage.changed_levels(levels, images) == int(radius)
    with pytest.raises(ValueError, match="8 bits"):
        pgd(curved, images * 0.999, labels, epsilon=0.1, step_size=0.1, steps=1, norm=norms.LEVELS)
