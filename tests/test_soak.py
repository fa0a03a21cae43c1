"""A few kills of the soak script, which has 30; and that it would notice a lost signal and a difference."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import soak  # noqa: E402


@pytest.mark.slow
def test_killed_scripts_end_as_if_they_had_not_been():
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--kills", "3", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[1].strip() for row in rows[2:] if row[1].strip()] == ["1", "2", "3"]
    assert done.stdout.splitlines()[-1].startswith("3 kills, ")
    assert done.stdout.splitlines()[-1].endswith(" 0 lost signals, 0 differences")


def test_every_script_is_killed():
    scripts = {path.stem for path in ROOT.glob("*.py") if "startup.run_script(main" in path.read_text()}
    # A killed report.py loses nothing: it takes a second, and replaces its page whole or not at all.
    assert scripts == {*soak.COMMANDS, "report"}


SCRIPT = """
import gc, time
from chestrobust import interruption
def main():
    for _ in range(3000):
        gc.collect()
        time.sleep(0.01)
        if {lost} and interruption._handler.received:
            interruption._handler.received = None
            return
        interruption.check()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("lost", [False, True])
def test_a_signal_in_the_collector_that_is_lost_is_told_from_one_that_is_not(tmp_path, monkeypatch, number, lost):
    (tmp_path / "endless.py").write_text(SCRIPT.format(lost=lost))
    monkeypatch.setitem(soak.COMMANDS, "endless", [])
    assert soak.kill(tmp_path, "endless", number, 0.1, True) == (0 if lost else 128 + number, True)


def test_differences_are_found_and_times_are_none():
    content = {"a": [{"seconds": 1, "macro_auc": 0.5}], "commit": "1a"}
    same, other = {"a": [{"seconds": 2, "macro_auc": 0.5}], "commit": "2b"}, {"a": [{"macro_auc": 0.6}]}
    assert soak.lasting(content, {}) == soak.lasting(same, {})
    assert soak.differences({"a": soak.lasting(content, {})}, {"a": soak.lasting(other, {})}) == ["a"]
    assert soak.lasting({"model": "ab"}, {"ab": "run/model.keras"}) == {"model": "run/model.keras"}
    assert soak.differences({"a": 1}, {"a": 1, "b": 2}) == ["b"]
