"""Three kills of the soak script; it has 25."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_killed_runs_end_as_if_they_had_not_been():
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--kills", "3", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[3].strip() for row in rows[2:] if row[1].strip()] == ["SIGKILL", "SIGTERM", "SIGINT"]
    assert done.stdout.splitlines()[-1].startswith("3 kills, ")
    assert done.stdout.splitlines()[-1].endswith(" 0 failures")
