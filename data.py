"""Data sets as `Splits`, and batches of them; TensorFlow isn't needed to load them.

    >>> import data
    >>> splits = data.load("phantom", limit=20)
    >>> str(splits.task), splits.train.images.shape, str(splits.train.images.dtype), splits.train.labels.shape
    ('multi-label', (20, 28, 28, 1), 'uint8', (20, 14))

The contract: every source returns `Splits` with a name, a task, label names, and `train`, `val` and `test`, each with
uint8 images, `(count, height, width, channels)`, and uint8 labels, `(count, num_labels)`; where patients are known none
is in two splits. A source that isn't as expected raises `DataError` before any training starts.
"""

from chestrobust.data import DataError, Split, Splits, batches, check_trainable, load, shuffled

__all__ = ["DataError", "Split", "Splits", "batches", "check_trainable", "load", "shuffled"]
