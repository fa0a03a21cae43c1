"""A signal that Python lost, as in a destructor, stops every attack and explanation at its next step or batch."""

import functools
import signal

import keras
import numpy as np
import pytest

from chestrobust import attacks, interruption, models
from chestrobust.attacks import gradient, universal
from chestrobust.explaining import attributions

IMAGES = np.full((4, 8, 8, 1), 0.5, np.float32)
LABELS = np.zeros((4, 2), np.float32)
WORK = {
    "fgsm": functools.partial(gradient.fgsm, images=IMAGES, labels=LABELS, epsilon=0.1),
    "pgd": functools.partial(
        gradient.pgd, images=IMAGES, labels=LABELS, epsilon=0.1, step_size=0.1, steps=2, batch_size=2
    ),
    "apgd": functools.partial(attacks.apgd, images=IMAGES, labels=LABELS, epsilon=0.1, steps=2),
    "square": functools.partial(attacks.square, images=IMAGES, labels=LABELS, epsilon=0.1, queries=5),
    "one_pixel": functools.partial(attacks.one_pixel, images=IMAGES, labels=LABELS, popsize=5, maxiter=1),
    "universal": functools.partial(universal.fit, images=np.uint8(255 * IMAGES), wanted=1, epsilon=0.1, steps=2),
    "attributions": functools.partial(
        attributions.integrated_gradients, images=IMAGES, labels=np.zeros(4, int), steps=2
    ),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.logits(models.build_cnn((8, 8, 1), 2))


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_it_stops_work_at_the_next_batch(model, work):
    work(model)  # as a whole without a signal
    with pytest.raises(interruption.Terminated), interruption.handled():
        interruption._handler.received = signal.SIGTERM
        work(model)
        pytest.fail("went on to its end")
