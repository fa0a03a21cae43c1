"""What changes in the course of training."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust.tasks import Task
from chestrobust.training import gradients as gradients_of
from chestrobust.training import loop, schedules


@pytest.mark.parametrize(
    ("name", "after"),
    [("cosine", [0.1, 0.1 * 0.5, 0.0]), ("linear", [0.1, 0.05, 0.0]), ("constant", [0.1, 0.1, 0.1])],
)
def test_the_rate_rises_in_the_warm_up_and_then_follows_its_schedule(name, after):
    rate = schedules.learning_rate(name, 0.1, steps=100, warmup=0.2)
    # 20 of 100 steps rise to 0.1 in a straight line; the middle of the other 80 is step 60.
    np.testing.assert_allclose([rate(step) for step in (0, 9, 19)], [0.005, 0.05, 0.1], rtol=1e-6)
    np.testing.assert_allclose([rate(step) for step in (20, 60, 100)], after, atol=1e-8)
    # Models are copied to other devices with their optimizer.
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert [float(copy(step)) for step in (9, 60)] == [float(rate(step)) for step in (9, 60)]


def test_without_a_warm_up_the_rate_begins_at_its_full_size():
    assert float(schedules.learning_rate("exponential", 0.1, steps=100)(0)) == pytest.approx(0.1)
    assert schedules.learning_rate("constant", 0.1, steps=100) == 0.1


def test_the_ramp_follows_the_steps_of_the_optimizer_and_stays_at_its_end():
    model = SimpleNamespace()
    share = schedules.ramp(model, 4)
    model.optimizer = SimpleNamespace(iterations=tf.Variable(0))
    shares = []
    for step in range(6):
        model.optimizer.iterations.assign(step)
        shares.append(float(share()))
    assert shares == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedules.ramp(model, 0)() == 1.0


def test_gradients_are_shortened_together_and_short_ones_stay():
    gradients = [tf.constant([3.0, 0.0]), tf.constant([4.0])]
    np.testing.assert_allclose(gradients_of._clipped(gradients, 1.0)[0], [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(gradients_of._clipped(gradients, 1.0)[1], [0.8], rtol=1e-6)
    np.testing.assert_array_equal(gradients_of._clipped(gradients, 6.0)[1], [4.0])
    assert gradients_of._clipped(gradients, 0) is gradients


@pytest.mark.parametrize(
    ("task", "labels", "softened"),
    [("binary", [[1.0], [0.0]], [[0.9], [0.1]]), ("multi-class", [[1.0, 0, 0, 0]], [[0.85, 0.05, 0.05, 0.05]])],
)
def test_a_smoothed_loss_is_that_of_softer_labels(task, labels, softened):
    task = Task(task)
    logits = tf.constant([[1.5, -2.0, 0.3, 0.0]] if task.exclusive else [[1.5], [-2.0]])
    with_logits = tf.nn.softmax_cross_entropy_with_logits
    expected = (
        with_logits(softened, logits)
        if task.exclusive
        else tf.nn.sigmoid_cross_entropy_with_logits(tf.constant(softened), logits)[:, 0]
    )
    loss = task.training_loss("bce")
    np.testing.assert_allclose(
        loop._smoothed(loss, 0.2, task.exclusive)(tf.constant(labels), logits), expected, rtol=1e-6
    )
    assert loop._smoothed(loss, 0, task.exclusive) is loss
