"""The running average of a model's weights, which is validated and saved in the place of the weights themselves."""

from contextlib import contextmanager

import keras


class Average:
    """Exponential moving average of all weights of a model, BatchNorm's statistics among them.

    After step t, `min(decay, (1 + t) / (10 + t))` of the average is kept, so that it soon forgets its start.

    Args:
        model: The `keras.Model`, compiled, made in the scope of `devices.strategy()` as the average must be too.
        decay: Share that is kept, in [0, 1); 0 for no average: then there are no variables, and the weights stay.

    Reference: Izmailov et al., 2018, https://arxiv.org/abs/1803.05407; in adversarial training Gowal et al., 2020,
        https://arxiv.org/abs/2010.03593
    """

    def __init__(self, model, decay):
        self.decay, self.steps = decay, model.optimizer.iterations
        self.weights = model.weights if decay else []
        self.variables = [keras.Variable(weight.numpy(), trainable=False) for weight in self.weights]

    def update(self):
        """Take the present weights in. Pure but for the variables: runs inside a graph, outside of replicas."""
        if not self.decay:
            return
        steps = keras.ops.cast(self.steps, "float32")
        kept = keras.ops.minimum(self.decay, (1 + steps) / (10 + steps))
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign(weight + kept * (average - weight))

    def restart(self):
        """Begin anew with the present weights."""
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign(weight)

    @contextmanager
    def in_place(self):
        """Meanwhile the model has the averages for weights."""
        present = [weight.numpy() for weight in self.weights]
        for weight, average in zip(self.weights, self.variables, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, before in zip(self.weights, present, strict=True):
                weight.assign(before)
