"""What a script's end looks like from outside."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chestrobust import startup
from chestrobust.errors import ExpectedError

ROOT = Path(__file__).resolve().parents[1]


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


class Full:
    """A stream that takes so many characters."""

    def __init__(self, room):
        self.room = room

    def write(self, text):
        if len(text) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(text)

    def flush(self):
        pass


def test_figures_need_no_screen_whatever_is_set_for_others(capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://of.a.notebook")
    seen = []
    assert end(capsys, lambda: seen.append(os.environ["MPLBACKEND"])) == (0, "")
    assert seen == ["agg"]


def test_work_goes_on_where_nothing_can_be_printed(monkeypatch, capsys):
    def main():
        for number in range(10):
            print("line", number)
        done.append(True)

    done = []
    monkeypatch.setattr("sys.argv", ["script.py"])
    monkeypatch.setattr("sys.stdout", Full(20))
    code, text = end(capsys, main)
    assert (code, done, text.count("\n")) == (2, [True], 1)
    assert "standard output" in text and "No space left on device" in text


@pytest.mark.parametrize("redirect", [">/dev/full", ">&-", "| head -c 1 >/dev/null"])
def test_a_full_or_closed_output_costs_no_work_and_makes_no_traceback(tmp_path, redirect):
    code = "import sys, time; from chestrobust import startup\n"
    code += "def main():\n    for _ in range(20000): print('a line')\n    open('done', 'w').close()\n"
    code += "sys.exit(startup.run_script(main))"
    (tmp_path / "script.py").write_text(code)
    command = f"'{sys.executable}' script.py 2>err {redirect}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=False)
    assert (tmp_path / "done").exists()
    text = (tmp_path / "err").read_text()
    assert "Traceback" not in text and "Exception ignored" not in text
    assert text.count("\n") <= 1


def test_names_that_are_no_text_can_be_printed(capfdbinary):
    assert startup.run_script(lambda: print(os.fsdecode(b"\xffname"))) == 0
    assert b"name" in capfdbinary.readouterr().out


def test_without_a_home_one_line_says_so(capsys):
    code, text = end(capsys, raiser(RuntimeError("Could not determine home directory.")))
    assert (code, text.count("\n")) == (2, 1)
    assert "HOME" in text


def test_a_name_that_is_too_long_is_one_line(capsys):
    code, text = end(capsys, lambda: os.stat("\x1b" + 5000 * "x"))
    assert (code, text.count("\n")) == (2, 1)
    assert "too long: \\x1bxxx" in text


def test_a_signal_in_a_destructor_ends_the_script_too(capsys):
    class Garbage:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    code, text = end(capsys, lambda: Garbage() and None)
    assert code == 143
    assert text.startswith("\nTerminated.")
