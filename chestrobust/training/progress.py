"""What is seen of a training while it lasts: the bar, and logs for TensorBoard."""

import re
import sys
from contextlib import contextmanager, suppress

import keras
import tensorflow as tf

from chestrobust import devices
from chestrobust.errors import RunError


def callbacks(model, run, callback, *, epochs, steps):
    """The `keras.callbacks.CallbackList` of a training; empty but for the chief.

    Args:
        model: The model that is trained.
        run: The `Run` whose `logs/` TensorBoard reads.
        callback: A `keras.callbacks.Callback` in the place of the bar, or None.
        epochs, steps: Of the training, and of an epoch.
    """
    wanted = []
    if devices.chief():
        wanted = [keras.callbacks.TensorBoard(str(run.path / "logs"), write_graph=False), *filter(None, [callback])]
    return keras.callbacks.CallbackList(
        wanted,
        add_progbar=devices.chief() and callback is None,
        # In a file a bar would be a line for each of its steps.
        **{"model": model, "verbose": 1 if sys.stdout.isatty() else 2, "epochs": epochs, "steps": steps},
    )


@contextmanager
def writing(run):
    """Turns TensorFlow's errors of its own, where logs can't be written, into a `RunError`."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{run.path / 'logs'}: expected to be able to write here. Received: {reason}. "
            "The last checkpoint is intact: put this right, then continue."
        ) from error


def forget_host(run):
    """Take the name of this machine out of TensorBoard's file names, now that they are closed; for the chief."""
    if not devices.chief():
        return
    for path in (run.path / "logs").rglob("events.out.tfevents.*.v2"):
        with suppress(OSError):
            path.rename(path.with_name(re.sub(r"(tfevents\.\d+)\..*(\.\d+\.\d+\.v2)$", r"\1\2", path.name)))
