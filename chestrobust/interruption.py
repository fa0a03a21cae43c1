"""How a script is stopped from outside: by Ctrl-C, or by SIGTERM, which SLURM and spot machines send before a kill."""

import signal
import threading
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C would be a `KeyboardInterrupt`."""


@contextmanager
def sigterm_raises():
    """Within the block, SIGTERM raises `Terminated` instead of ending the process on the spot."""

    def terminate(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def delayed():
    """A block that SIGINT and SIGTERM don't break into: the first takes effect at its end, a second ends the process.

    If the block fails, its error counts and the signal is forgotten. Other threads than the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []

    def remember(number, _):
        received.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    # Those that are ignored, as under nohup, stay ignored.
    before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in received:
        signal.raise_signal(number)
