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
    if rising:
        return WarmedUp(name, rate, rising, steps - rising)
    schedules = keras.optimizers.schedules
    return {
        "exponential": lambda: schedules.ExponentialDecay(rate, 1000, 0.9),
        "cosine": lambda: schedules.CosineDecay(rate, steps),
        "linear": lambda: schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0),
        "constant": lambda: rate,
    }[name]()


@keras.saving.register_keras_serializable("chestrobust")  # An optimizer is copied to other devices with its model.
class WarmedUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0 to `rate` in `rising` steps, then follows a schedule for `steps`."""

    def __init__(self, schedule, rate, rising, steps):
        self.schedule, self.rate, self.rising, self.steps = schedule, rate, rising, steps
        self.later = learning_rate(schedule, rate, steps=steps)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        later = self.later(ops.maximum(step - self.rising, 0.0)) if callable(self.later) else self.later
        return ops.where(step < self.rising, self.rate * (step + 1) / self.rising, later)

    def get_config(self):
        return {"schedule": self.schedule, "rate": self.rate, "rising": self.rising, "steps": self.steps}


def ramp(model, steps):
    """A function without arguments that returns which share of its full size something has that grows with training.

    Args:
        model: The `keras.Model` in training; its optimizer counts the steps, and is only asked for once there is one.
        steps: Number of steps until the full size; 0 for the full size at once.
    """
    if not steps:
        return lambda: 1.0
    return lambda: ops.minimum((ops.cast(model.optimizer.iterations, "float32") + 1) / steps, 1.0)
