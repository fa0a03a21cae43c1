"""Data sets as `Splits`, and batches of them; TensorFlow isn't needed to load them."""

from chestrobust.data.batching import batches, shuffled
from chestrobust.data.loading import check_name, check_trainable, is_path, load, load_for
from chestrobust.data.sources.decoded import is_known_root
from chestrobust.data.sources.fingerprint import is_known_folder
from chestrobust.data.splits import Split, Splits
from chestrobust.errors import DataError

__all__ = [
    "DataError",
    "Split",
    "Splits",
    "batches",
    "check_name",
    "check_trainable",
    "is_known_folder",
    "is_known_root",
    "is_path",
    "load",
    "load_for",
    "shuffled",
]
