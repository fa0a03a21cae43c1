"""What a script's end looks like from outside."""

import os
import signal

import pytest

from chestrobust import startup
from chestrobust.errors import ExpectedError


def end(capsys, main):
    """Exit code and standard error of a script."""
    code = startup.run_script(main)
    return code, capsys.readouterr().err


def raiser(error):
    def main():
        raise error

    return main


def test_an_expected_error_is_one_line_and_code_2(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py"])
    code, text = end(capsys, raiser(ExpectedError("a.npz: expected images.")))
    assert (code, text) == (2, "script.py: error: a.npz: expected images.\n")


def test_debug_adds_the_traceback(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py", "--debug"])
    code, text = end(capsys, raiser(ExpectedError("a.npz: expected images.")))
    assert code == 2
    assert text.startswith("Traceback")
    assert text.endswith("script.py: error: a.npz: expected images.\n")


def test_an_unexpected_error_keeps_its_traceback_and_says_where_to_report(capsys):
    code, text = end(capsys, raiser(ZeroDivisionError("oh")))
    assert code == 1
    assert text.startswith("Traceback")
    assert text.splitlines()[-2:] == ["ZeroDivisionError: oh", startup.REPORT]


def test_too_little_memory_is_one_line(capsys):
    code, text = end(capsys, raiser(MemoryError()))
    assert (code, text.count("\n")) == (2, 1)
    assert "memory" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_own_code_and_says_how_to_go_on(capsys, number, code):
    before = signal.getsignal(signal.SIGTERM)
    found, text = end(capsys, lambda: os.kill(os.getpid(), number))
    assert found == code
    assert text.endswith("The same command with --resume continues.\n")
    assert signal.getsignal(signal.SIGTERM) is before
