"""Arrays in an `.npz` file of a run, which may have been damaged or come from a stranger."""

import numpy as np

from chestrobust import files
from chestrobust.errors import RunError


def load(path):
    """All arrays of an `.npz` file by name; the checksum of each has been compared.

    Raises:
        FileNotFoundError: If nothing is there.
        RunError: If it isn't a whole file of arrays, or is a link.
    """
    path.lstat()
    if not files.is_own(path):
        raise RunError(f"{path}: expected a file of the run. Received a link or no regular file.")
    try:
        with files.open_zip(path, "arrays of the run"), np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except MemoryError:
        raise
    except Exception as error:  # What zipfile, zlib and NumPy raise at damaged files is of many kinds.
        reason = (str(error).splitlines() or ["an empty file"])[0].rstrip(".")
        raise RunError(f"{path}: expected arrays of the run. Received: {reason:.300}.") from None
