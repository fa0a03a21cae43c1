"""Arrays that are too large to copy or don't exist as a whole: what is indexed is made, and nothing else."""

import numpy as np

WHITE = 255  # in images of all types, but for those whose array says otherwise


def white_of(images):
    """What white is in the images of a split."""
    return getattr(images, "white", WHITE)


class Lazy:
    """An array that is made of what is indexed alone.

    Args:
        shape: The shape of the whole.
        dtype: The data type.
        take: Function from an index into the first axis (a number, a slice, or an array of numbers) to that part.
        white: What white is, if it holds images.
    """

    def __init__(self, shape, dtype, take, white=WHITE):
        self.shape, self.dtype, self.ndim, self.take = tuple(shape), np.dtype(dtype), len(shape), take
        self.white = white

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
        shape, white = (len(rows), *array.shape[1:]), white_of(array)
        super().__init__(shape, array.dtype, lambda index: array[rows[index]], white)
