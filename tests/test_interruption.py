"""Signals, wherever they arrive."""

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from chestrobust import interruption
from chestrobust.errors import ExpectedError

BOTH = pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, interruption.Terminated)]
)


def send(number):
    os.kill(os.getpid(), number)
    for _ in range(100):  # Python handles it between two instructions.
        pass


class Garbage:
    """Something in a cycle, which is collected some time later."""

    def __init__(self):
        self.itself = self


@BOTH
def test_a_signal_is_raised_where_it_arrives(number, kind):
    reached = False
    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        send(number)
        reached = True
    assert stop.type is kind and not reached


@BOTH
def test_one_in_a_destructor_is_raised_by_the_next_check(number, kind, capsys):
    class WithDestructor(Garbage):
        def __del__(self):
            send(number)
            finished.append(True)

    finished = []
    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        WithDestructor()
        gc.collect()
        assert finished  # It isn't broken off.
        interruption.check()
        finished.append("lost")
    assert stop.type is kind and finished == [True]
    assert capsys.readouterr().err == ""


@BOTH
def test_one_in_a_weak_reference_is_raised_by_the_next_check_without_noise(number, kind, capsys):
    garbage, reached = Garbage(), []
    reference = weakref.ref(garbage, lambda _: send(number))
    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        del garbage
        gc.collect()
        reached.append(reference())
        interruption.check()
        reached.append("lost")
    assert stop.type is kind and reached == [None]
    assert capsys.readouterr().err == ""


@BOTH
def test_without_a_check_it_is_raised_at_the_end(number, kind):
    class WithDestructor(Garbage):
        def __del__(self):
            send(number)

    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        WithDestructor()
        gc.collect()
    assert stop.type is kind


@BOTH
def test_delayed_blocks_within_each_other_hold_it_back_to_the_end_of_the_outer_one(number, kind):
    reached = []
    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        with interruption.delayed():
            with interruption.delayed():
                send(number)
                interruption.check()
            reached.append("after the inner one")
        reached.append("after the outer one")
    assert stop.type is kind and reached == ["after the inner one"]


@BOTH
def test_one_of_which_a_package_makes_an_error_of_its_own_is_no_error(number, kind):
    with pytest.raises(KeyboardInterrupt) as stop, interruption.handled():
        try:
            send(number)
        except KeyboardInterrupt:
            raise ImportError("numpy.core.multiarray failed to import") from None
    assert stop.type is kind


def test_an_error_of_the_users_counts_more_than_a_signal_and_others_stay():
    with pytest.raises(ExpectedError, match="disk"), interruption.handled(), interruption.delayed():
        send(signal.SIGTERM)
        raise ExpectedError("disk full")
    with pytest.raises(ZeroDivisionError), interruption.handled():
        raise ZeroDivisionError


def test_afterwards_everything_is_as_it_was():
    before = [signal.getsignal(number) for number in interruption.SIGNALS], sys.unraisablehook
    with pytest.raises(interruption.Terminated), interruption.handled():
        send(signal.SIGTERM)
    assert ([signal.getsignal(number) for number in interruption.SIGNALS], sys.unraisablehook) == before
    interruption.check()
    with interruption.handled():
        interruption.check()


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.handled():
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_delay_too():
    done = []

    def work():
        with interruption.delayed():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_other_unraisable_errors_are_still_reported(capfd):
    class Broken(Garbage):
        def __del__(self):
            raise ZeroDivisionError

    reported, before = [], sys.unraisablehook
    sys.unraisablehook = reported.append
    try:
        with interruption.handled():
            Broken()
            gc.collect()
    finally:
        sys.unraisablehook = before
    assert [one.exc_type for one in reported] == [ZeroDivisionError]


def test_a_second_signal_ends_the_process():
    code = (
        "import os, signal\nfrom chestrobust import interruption\n"
        "with interruption.handled():\n"
        "    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally: print('cleaning up', flush=True); os.kill(os.getpid(), signal.SIGTERM); print('lost')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "cleaning up\n")
