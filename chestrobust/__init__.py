"""Attack chest-X-ray classifiers, train robust ones, and say how far the numbers can be trusted.

result = chestrobust.evaluate(model, images, labels, epsilon=4 / 255)     any Keras classifier; see `Evaluation`
robust = chestrobust.harden(model, images, labels, epsilon=4 / 255)       the same one, trained against attacks
"""

import importlib

__version__ = "1.0.0"

# By name, where it is: importing the package needs no TensorFlow.
_LATER = {
    "Evaluation": "chestrobust.evaluation.memory",
    "evaluate": "chestrobust.evaluation.memory",
    "harden": "chestrobust.training.hardening",
}


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


def __dir__():
    return [*globals(), *_LATER]
