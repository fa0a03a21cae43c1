"""What the standard suite costs: counted once, and told again from what was kept."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits

from chestrobust import models
from chestrobust.attacks import gradient
from chestrobust.errors import RunError
from chestrobust.evaluation import cache

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import suite_cost


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Those of an untrained model on a file of tiny images, with few steps and starts."""
    for name, value in {"STEPS": (2,), "RESTARTS": (2,), "TIMES": 2}.items():
        monkeypatch.setattr(suite_cost, name, value)
    monkeypatch.setattr(gradient, "compiled", gradient.compiled)  # It is replaced, and put back after the test.
    splits = make_splits((24, 12, 12), task="binary", num_labels=1)
    parts = {
        f"{part}_{name}": getattr(split, name) for part, split in splits.parts.items() for name in ("images", "labels")
    }
    np.savez(tmp_path / "pneumoniamnist.npz", **parts)
    keras.utils.set_random_seed(0)
    models.build_cnn(splits.image_shape, 1).save(tmp_path / "model.keras")
    of = [str(tmp_path / "model.keras"), str(tmp_path / "pneumoniamnist.npz"), "4/255"]
    return ["--of", *of, "--run", str(tmp_path / "kept")]


@pytest.mark.slow
def test_the_same_command_goes_on_and_says_the_same(arguments, tmp_path, capsys, monkeypatch):
    keep, kept = cache.Cache.keep, []

    def cut_short(self, made_by, outcome):
        kept.append(made_by)
        if len(kept) == 4:
            raise KeyboardInterrupt
        keep(self, made_by, outcome)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(cache.Cache, "keep", cut_short)
        suite_cost.main(arguments)
    capsys.readouterr()
    suite_cost.main(arguments)
    told = capsys.readouterr().out
    rows = {line.split(" | ")[0]: line.split(" | ") for line in told.splitlines()}
    assert float(rows["| fgsm"][1]) == 1 and float(rows["| pgd"][1]) == 2 and float(rows["| square"][1]) == 0
    assert told.count("| ---: |") >= 3
    monkeypatch.setattr(cache.Cache, "keep", lambda *_: pytest.fail("computed again"))
    suite_cost.main(arguments)
    assert capsys.readouterr().out == told
    (tmp_path / "kept" / "0" / "steps.json").write_text("{}")
    with pytest.raises(RunError, match="expected how many steps each answer took"):
        suite_cost.main(arguments)
