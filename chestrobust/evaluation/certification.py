"""What no attack can change: scores that bounds of the logits guarantee, the mirror image of the floor.

A label's AUC is lowest if each positive has its lowest logit and each negative its highest, in the whole ball at once.
No attack reaches less, so that the truth lies between this certified score and the lowest that an attack has found. A
tie counts half, as in any AUC: where a positive's lowest equals a negative's highest, attacks can but make them equal.
"""

import contextlib
import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from chestrobust import catalogue, devices, interruption, titles
from chestrobust.data.splits import as_floats
from chestrobust.evaluation import outcomes
from chestrobust.models import bounds

SHARE = 4  # bounds hold some four arrays where an answer holds one


@dataclass(frozen=True)
class Bounds:
    """What a model answers at least and at most to each image of a split, wherever it is in its ball.

    Attributes:
        low, high: Logits, float32 `(count, num_labels)`.
    """

    low: np.ndarray
    high: np.ndarray

    def corners(self, task):
        """Logits that each label's worst are among, `(candidates, count, num_labels)`, as `outcomes.floor` takes them.

        Independent labels are worst all at once. Of classes, one against the rest, each is worst alone: it at one end,
        the others at the other.
        """
        if not task.exclusive:
            return np.stack([self.low, self.high])
        own = np.eye(self.low.shape[1], dtype=bool)[:, None]
        return np.concatenate([np.where(own, *ends) for ends in ((self.low, self.high), (self.high, self.low))])

    def worst(self, task, labels):
        """Per image and label, the logit that is furthest on the wrong side, `(count, num_labels)`."""
        return outcomes.floor(task, labels, self.corners(task))

    def excess(self, answers):
        """How far any of these logits, `answers` to images of the balls, lies outside; negative if none does."""
        return max((float(np.maximum(self.low - one, one - self.high).max()) for one in answers), default=0.0)

    def unchanged(self, task, thresholds):
        """Whether nothing in the ball changes which labels an image's report names, bool `(count,)`."""
        if task.exclusive:
            surest = self.low.argmax(axis=1)[:, None]
            others = np.where(np.arange(self.high.shape[1]) == surest, -np.inf, self.high).max(axis=1)
            return np.take_along_axis(self.low, surest, axis=1)[:, 0] > others
        return (task.predicted(self.low, thresholds) == task.predicted(self.high, thresholds)).all(axis=1)

    def record(self, epsilon, task, thresholds, known):
        """What results say of the bounds at a radius, beside scores.

        Args:
            epsilon: The radius.
            task: The `Splits.task`.
            thresholds: Of probabilities, `(num_labels,)`.
            known: Dictionary from `Attack`s to their `outcomes.Outcome`s on the same images.
        """
        inside = [
            outcome.logits
            for attack, outcome in known.items()
            if attack.epsilon <= epsilon and catalogue.in_a_ball(attack.attack)
        ]
        unchanged = float(self.unchanged(task, thresholds).mean())
        return {"attack": "certified", "epsilon": epsilon, "unchanged": unchanged, "excess": self.excess(inside)}


@dataclass(frozen=True)
class Certified:
    """The certified score at a radius, which a checkpoint is chosen by in the place of an attack's."""

    epsilon: float
    attack = "certified"

    @property
    def title(self):
        return titles.title({"attack": self.attack, "epsilon": self.epsilon})

    def outcome(self, model, task, split):
        """The worst logits of a split as an `outcomes.Outcome`, of independent labels."""
        return outcomes.Outcome(of(model, split, self.epsilon).worst(task, split.labels), self.epsilon, 0.0, 1.0)


def of(model, split, epsilon):
    """The `Bounds` of a split, the same on every worker.

    Args:
        model: A functional `keras.Model` that returns logits.
        split: A `Split`.
        epsilon: Radius in pixel units of [0, 1].

    Raises:
        ModelError: If the bounds of a layer aren't known.
    """
    pieces, mine = outcomes.pieces([model], split, share=SHARE)
    found = np.zeros((2, *split.labels.shape), np.float32)

    def bound(piece, model):
        interruption.check()
        images = as_floats(split.images[pieces[piece]])
        found[:, pieces[piece]] = _compiled(model, images.shape[1:])(images, tf.constant(epsilon, tf.float32))

    with _whole_float32():
        devices.spread(bound, mine, model)
    return Bounds(*(devices.total(end) for end in found))


@functools.lru_cache(maxsize=32)
def _compiled(model, image_shape):
    bounded, largest = bounds.of(model), np.finfo(np.float32).max

    @tf.function(input_signature=[tf.TensorSpec((None, *image_shape)), tf.TensorSpec(())], autograph=False)
    def compiled(images, epsilon):
        low, high = bounded(*bounds.around(images, epsilon))
        # Of a deep model they can be infinite, or the difference of two infinities: nothing is known then.
        low, high = tf.where(tf.math.is_nan(low), -largest, low), tf.where(tf.math.is_nan(high), largest, high)
        return tf.stack([tf.clip_by_value(end, -largest, largest) for end in (low, high)])

    return compiled


@contextlib.contextmanager
def _whole_float32():
    """A GPU shortens float32 to TensorFloat-32 in its products unless it is told not to, which no bound allows for."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
