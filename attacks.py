"""Attacks on any classifier that returns logits.

    >>> import keras, numpy as np
    >>> import attacks, models
    >>> classifier = models.build_cnn((28, 28, 1), 14)
    >>> images, labels = np.full((2, 28, 28, 1), 0.5, np.float32), np.zeros((2, 14), np.float32)
    >>> attacked = attacks.pgd(models.logits(classifier), images, labels, epsilon=4 / 255, step_size=1 / 255, steps=10)
    >>> attacked.shape, bool(np.abs(attacked - images).max() <= 4 / 255 + 1e-6)
    ((2, 28, 28, 1), True)

The contract: `attack(model, images, labels, *, epsilon, ...) -> images`. `model` is any callable
`model(images, training=False)` that returns logits. Images are floats in [0, 1], and so are all lengths, in these pixel
units. The result has the images' kind, shape and dtype, stays in the ball and in [0, 1], and is a pure function of the
arguments and a seed. The model isn't changed.

`expectation` and `straight_through` let an attack see through a defence that is random or has no useful gradient.
"""

from chestrobust.attacks import apgd, expectation, fgsm, ni_fgsm, noise, one_pixel, pgd, square, straight_through

__all__ = ["apgd", "expectation", "fgsm", "ni_fgsm", "noise", "one_pixel", "pgd", "square", "straight_through"]
