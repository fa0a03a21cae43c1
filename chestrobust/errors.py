"""What every script says in one line."""

import difflib


def printable(text):
    """Text in one line, without characters that steer a terminal or that no encoding knows: they are escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def did_you_mean(received, names):
    """A question to end a message with: the name that is closest to what was received, or nothing if none is close."""
    close = difflib.get_close_matches(received, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""


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
