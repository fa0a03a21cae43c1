"""What changes in the course of training: the learning rate, and the radius of the training attacks."""

import keras
from keras import ops


def learning_rate(name, rate, *, steps, warmup=0.0):
    """The learning rate of each step.

    Args:
        name: `"exponential"` multiplies by 0.9 per 1000 steps, `"cosine"` and `"linear"` end at 0, `"constant"` stays.
        rate: The rate at the start, or at the end of the warm-up.
        steps: Of the whole training.
        warmup: Share of the steps in which the rate first rises from 0, in a straight line. With `"linear"` or
            `"cosine"` it is what is known as one cycle (Smith, 2018, https://arxiv.org/abs/1803.09820).

    Returns:
        A number or a `keras.optimizers.schedules.LearningRateSchedule`.
    """
    rising = int(warmup * steps)
    schedules = keras.optimizers.schedules
    after = {
        "exponential": lambda: schedules.ExponentialDecay(rate, 1000, 0.9),
        "cosine": lambda: schedules.CosineDecay(rate, steps - rising),
        "linear": lambda: schedules.PolynomialDecay(rate, steps - rising, end_learning_rate=0.0),
        "constant": lambda: rate,
    }[name]()
    return WarmUp(after, rate, rising) if rising else after


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0 for some steps, then follows another schedule.

    Args:
        after: The other schedule, or a number.
        rate: What is reached.
        steps: Number of steps until then.
    """

    def __init__(self, after, rate, steps):
        self.after, self.rate, self.steps = after, rate, steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        later = self.after(ops.maximum(step - self.steps, 0.0)) if callable(self.after) else self.after
        return ops.where(step < self.steps, self.rate * (step + 1) / self.steps, later)


def ramp(model, steps):
    """A function without arguments that returns which share of its full size something has that grows with training.

    Args:
        model: The `keras.Model` in training; its optimizer counts the steps, and is only asked for once there is one.
        steps: Number of steps until the full size; 0 for the full size at once.
    """
    if not steps:
        return lambda: 1.0
    return lambda: ops.minimum((ops.cast(model.optimizer.iterations, "float32") + 1) / steps, 1.0)
