"""How a script is stopped from outside: by Ctrl-C, or by SIGTERM, which SLURM and spot machines send before a kill.

The first signal is remembered and raises an exception where the program is, unless that is a block that mustn't be
broken into, or a destructor, from which Python lets none out. What was held back or got lost is raised by the next
`check`, which every step, batch and trial begins or ends with. A second signal ends the process.
"""

import signal
import sys
import threading
from contextlib import contextmanager

from chestrobust.errors import ExpectedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where Ctrl-C would be a `KeyboardInterrupt`."""


class _Handler:
    """The handler of both signals; `received` is the first one's number, `delays` the number of blocks around."""

    def __init__(self):
        self.received, self.delays = None, 0

    def __call__(self, number, frame):
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        while frame and frame.f_code.co_name != "__del__":
            frame = frame.f_back
        if not frame:
            self.check()

    def check(self):
        if self.received is not None and not self.delays:
            raise Terminated if self.received == signal.SIGTERM else KeyboardInterrupt


_handler = None


@contextmanager
def handled():
    """Within the block, and at its end, a signal raises `KeyboardInterrupt` or `Terminated`, wherever it arrived."""
    with _installed() as handler:
        try:
            yield
        except ExpectedError:
            raise
        except Exception:
            handler.check()  # NumPy makes an ImportError of a signal that arrives while a package of C code loads.
            raise
        handler.check()


def check():
    """Raise what a signal couldn't raise when it came."""
    if _handler:
        _handler.check()


@contextmanager
def delayed():
    """A block that SIGINT and SIGTERM don't break into: the first takes effect at its end, a second ends the process.

    If the block fails, its error counts. Other threads than the main one get no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outside = _handler is None
    with _installed() as handler:
        handler.delays += 1
        try:
            yield
        finally:
            handler.delays -= 1
        if not outside:
            handler.check()
    if outside and handler.received is not None:
        signal.raise_signal(handler.received)


@contextmanager
def _installed():
    """The handler that is in place, or a new one for as long as the block lasts."""
    global _handler
    if _handler:
        yield _handler
        return
    # Those that are ignored, as under nohup, stay ignored.
    before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    report = sys.unraisablehook
    _handler = _Handler()
    # What Python can't raise it would print; a signal isn't lost by it, and is no news.
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, KeyboardInterrupt) else report(lost)
    try:
        for number in before:
            signal.signal(number, _handler)
        yield _handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook, _handler = report, None
