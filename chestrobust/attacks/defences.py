"""How an attack sees through a defence that is random, or whose gradient says nothing.

    model = expectation(defended, samples=16, seed=0)
    rounding = straight_through(lambda images: tf.round(255 * images) / 255)

Without them, an attack on such a defence is weak and its score too good: Athalye et al., 2018,
https://arxiv.org/abs/1802.00420
"""

import inspect

import tensorflow as tf


def expectation(model, samples, seed=0):
    """Expectation over transformation (EOT): a model that answers with its mean logits over random draws.

    Args:
        model: Callable `model(images, training=False, seed=...)` returning logits, where `seed` is a pair of integers
            for the functions of `tf.random` that start with `stateless_`. The draws are then the same at every call,
            and an attack stays a pure function. A model without `seed` is called as it is and draws as it likes.
        samples: Number of draws, >= 1. The cost of an attack grows with it.
        seed: Seed of the draws.

    Returns:
        Callable `model(images, training=False)` returning logits, for attacks and the audit.

    Raises:
        ValueError: If `samples` is below 1.

    Reference: Athalye et al., 2018, https://arxiv.org/abs/1707.07397
    """
    if samples < 1:
        raise ValueError(f"`samples` must be >= 1. Received: samples={samples}")
    seeded = "seed" in inspect.signature(model).parameters

    def mean(images, training=False):
        draws = [{"seed": (seed, sample)} if seeded else {} for sample in range(samples)]
        return tf.add_n([model(images, training=training, **draw) for draw in draws]) / samples

    return mean


def straight_through(forward, backward=tf.identity):
    """Backward pass differentiable approximation (BPDA): a step of a defence with the gradient of another one.

    Args:
        forward: Function of images, whose gradient is zero, undefined or useless: a rounding, a JPEG, a search.
        backward: Differentiable function of images that comes near to it, and whose gradient is taken.

    Returns:
        Function of images that returns what `forward` does, up to float32's rounding.

    Reference: Athalye et al., 2018, https://arxiv.org/abs/1802.00420
    """

    def step(images):
        near = backward(images)
        return near + tf.stop_gradient(forward(images) - near)

    return step
