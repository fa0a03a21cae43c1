import numpy as np

from chestrobust import data
from chestrobust.data import sampling

# 90 images without a finding, 9 with the first, 1 with both.
LABELS = np.array([[0, 0]] * 90 + [[1, 0]] * 9 + [[1, 1]], np.uint8)


def test_shuffling_shows_each_image_once():
    order = sampling.order("shuffle", LABELS, seed=3, epoch=1)
    np.testing.assert_array_equal(order, data.shuffled(100, seed=3, epoch=1))


def test_balancing_draws_each_label_and_no_label_equally_often():
    orders = [sampling.order("balanced", LABELS, seed=0, epoch=epoch) % 100 for epoch in range(100)]
    assert {len(order) for order in orders} == {100}
    drawn = np.concatenate(orders)
    # A third each: no finding, the first (of whose ten images one is the last), the second (always the last).
    np.testing.assert_allclose(np.mean(drawn < 90), 1 / 3, atol=0.02)
    np.testing.assert_allclose(np.mean(drawn == 99), 1 / 3 + 1 / 30, atol=0.02)


def test_balancing_is_a_function_of_seed_and_epoch():
    first, again = (sampling.balanced(LABELS, seed=1, epoch=2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for seed, epoch in ((1, 3), (2, 2)):
        assert (sampling.balanced(LABELS, seed=seed, epoch=epoch) != first).any()


def test_classes_are_balanced_and_empty_labels_left_out():
    classes = np.eye(4, dtype=np.uint8)[[0] * 900 + [1] * 90 + [2] * 10]
    drawn = sampling.balanced(classes, seed=0, epoch=0)
    counts = classes[drawn].sum(axis=0)
    np.testing.assert_allclose(counts[:3], 1000 / 3, atol=60)
    assert counts[3] == 0


def test_an_image_that_is_drawn_again_has_another_number():
    numbers = sampling.order("balanced", LABELS, seed=0, epoch=0)
    np.testing.assert_array_equal(numbers % 100, sampling.balanced(LABELS, seed=0, epoch=0))
    assert len(np.unique(numbers)) == 100
    last = numbers[numbers % 100 == 99]
    assert len(last) > 20
    np.testing.assert_array_equal(last, 99 + 100 * np.arange(len(last)))
