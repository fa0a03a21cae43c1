"""The run folder, and saved models in it."""

from chestrobust.errors import RunError
from chestrobust.runs.earlier import baseline_of, check_fits, check_same_model, finished, label_names, read_back
from chestrobust.runs.folder import SCHEMA, Run, claim, clear, lock, make_writable, task

__all__ = [
    "SCHEMA",
    "Run",
    "RunError",
    "baseline_of",
    "check_fits",
    "check_same_model",
    "claim",
    "clear",
    "finished",
    "label_names",
    "lock",
    "make_writable",
    "read_back",
    "task",
]
