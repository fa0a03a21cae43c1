"""What goes wrong in one line, in the words of whoever called: a script's options, or a function's arguments."""

import contextlib
import difflib
from contextvars import ContextVar


def printable(text):
    """Text in one line, without characters that steer a terminal or that no encoding knows: they are escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def did_you_mean(received, names):
    """A question to end a message with: the name that is closest to what was received, or nothing if none is close."""
    close = difflib.get_close_matches(received, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""


_renamed = ContextVar("renamed", default=None)  # arguments called otherwise than their options; None in a script


@contextlib.contextmanager
def called_from_python(**renamed):
    """Inside, `setting` names arguments instead of options; also a decorator of the function that has them.

    Args:
        renamed: By the name of an option, that of its argument where it is another.
    """
    token = _renamed.set(renamed)
    try:
        yield
    finally:
        _renamed.reset(token)


def setting(name, value=None):
    """An option as who reads of it gives it: `--input-range 0 255`, or `input_range="0 255"` in Python.

    Args:
        name: Of the dataclass's field.
        value: What it is set to, True for a flag; None names the option alone.
    """
    renamed = _renamed.get()
    if renamed is None:
        return dashed(name) if value is None or value is True else f"{dashed(name)} {value}"
    name = renamed.get(name, name)
    return name if value is None else f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}"


def dashed(name):
    """A field's name as the command line has it."""
    return f"--{name.rstrip('_').replace('_', '-')}"  # `import` can't be a field's name


class ExpectedError(Exception):
    """Something the user can put right: printed as one line, exit code 2, no traceback."""

    def __init__(self, message):
        # Names of files and what is in them come from strangers.
        super().__init__(printable(message))


class DataError(ExpectedError):
    """Data that is missing, broken or not what was asked for."""


class RunError(ExpectedError):
    """A run folder that can't be used as asked."""


class ModelError(ExpectedError):
    """A saved model that can't be used."""


class TrainingError(ExpectedError):
    """Training that can't go on."""
