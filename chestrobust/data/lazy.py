"""Arrays that are too large to copy or don't exist as a whole: what is indexed is made, and nothing else."""

import numpy as np


class Lazy:
    """An array that is made of what is indexed alone.

    Args:
        shape: The shape of the whole.
        dtype: The data type.
        take: Function from an index into the first axis (a number, a slice, or an array of numbers) to that part.
    """

    def __init__(self, shape, dtype, take):
        self.shape, self.dtype, self.ndim, self.take = tuple(shape), np.dtype(dtype), len(shape), take

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return self.take(index)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


class Rows(Lazy):
    """Some rows of an array.

    Args:
        array: Any array.
        rows: Indices into its first axis.
    """

    def __init__(self, array, rows):
        self.array, self.rows = array, rows
        super().__init__((len(rows), *array.shape[1:]), array.dtype, lambda index: array[rows[index]])
