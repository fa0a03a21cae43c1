"""Classifiers by name, and saved ones.

    >>> import numpy as np
    >>> import models
    >>> classifier = models.build_cnn((28, 28, 1), 14)
    >>> classifier.count_params()
    111662
    >>> images = np.zeros((1, 28, 28, 1), np.float32)
    >>> probabilities, logits = classifier(images), models.logits(classifier)(images)
    >>> bool(np.allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6))
    True

The contract: a `keras.Model` from float images in [0, 1] to probabilities, with a layer named `logits` right before the
activation. Normalization and resizing are layers inside, so that a radius always means pixels. `logits(classifier)` has
the same weights and ends there, and is always the same model: attacks and losses call it.
"""

from chestrobust.models import ModelError, build, build_cnn, build_covid_cnn, build_vgg, load, load_logits, logits

__all__ = ["ModelError", "build", "build_cnn", "build_covid_cnn", "build_vgg", "load", "load_logits", "logits"]
