"""What a system without `fcntl` and POSIX's flags for opening files, such as Windows, gets to see."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if "run_script" in path.read_text())
WITHOUT = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
sys.modules["fcntl"] = None
# Only for ours: on POSIX, the standard library counts on its flags.
flags = {name: vars(os).pop(name) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC")}
from chestrobust import files, locks
vars(os).update(flags)
assert (files.NO_WAIT, files.NO_LINKS, locks.fcntl) == (0, 0, None)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(script, *arguments, cwd):
    command = [sys.executable, "-c", WITHOUT, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts_without_fcntl(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script}")


@pytest.mark.slow
def test_a_model_is_trained_and_resumed_without_fcntl(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("val", 12), ("test", 12)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    options = ["--data", "pneumoniamnist.npz", "--data-dir", "data", "--epochs", 1, "--steps", 1, "--run", "run"]
    for more in ([], ["--resume"], ["--overwrite"]):
        done = run("diagnosis.py", *options, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / "results.json").exists()


def test_what_only_posix_has_is_asked_for_in_one_place():
    users = {
        path.name: [word for word in ("fcntl", "O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC") if word in path.read_text()]
        for path in (ROOT / "chestrobust").rglob("*.py")
    }
    assert {name: words for name, words in users.items() if words} == {
        "files.py": ["O_NONBLOCK", "O_NOFOLLOW"],
        "locks.py": ["fcntl"],
    }
