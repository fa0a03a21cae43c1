"""The reviewer's attack: what it compares with what, on a tiny model."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import make_splits

from chestrobust import models
from chestrobust.errors import ExpectedError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import reviewer  # noqa: E402

OPTIONS = SimpleNamespace(evaluation="quality", steps=3, restarts=2, seed=7)


@pytest.fixture
def splits():
    return make_splits(task="binary", num_labels=1)


@pytest.fixture
def subject(tmp_path, splits):
    """A run folder with an untrained model and an evaluation without kept images."""
    keras.utils.set_random_seed(0)
    models.build_cnn(splits.image_shape, 1).save(tmp_path / "model.keras")
    (tmp_path / "evaluations" / "quality").mkdir(parents=True)
    return SimpleNamespace(path=tmp_path / "model.keras", run=SimpleNamespace(path=tmp_path))


def evaluated(subject, score):
    rows = [
        {"attack": "pgd", "epsilon": 0.1, "macro_auc": 0.0},
        {"attack": "joint", "epsilon": 0.1, "macro_auc": score},
    ]
    (subject.run.path / "evaluations" / "quality.json").write_text(json.dumps({"evaluations": rows}))


def test_it_takes_off_what_the_suite_has_left_and_never_adds(subject, splits):
    evaluated(subject, 1.0)
    before, after = reviewer.scores(subject, splits, 0.1, OPTIONS)
    assert before == 1.0
    assert after < 0.9
    evaluated(subject, after / 2)
    assert reviewer.scores(subject, splits, 0.1, OPTIONS) == (after / 2, after / 2)


def test_the_images_of_the_suite_count_too_but_for_those_of_another_radius(subject, splits):
    evaluated(subject, 1.0)
    without = reviewer.scores(subject, splits, 0.1, OPTIONS)[1]
    wrong = np.where(splits.test.labels == 1, -9.0, 9.0).astype(np.float32)
    for epsilon in (0.2, 0.1):
        identity = json.dumps([[{"attack": "square", "epsilon": epsilon}], "code", {}])
        file = subject.run.path / "evaluations" / "quality" / f"{epsilon}.npz"
        np.savez(file, logits=wrong, pixels=[0, 0, 1], identity=identity)
        after = reviewer.scores(subject, splits, 0.1, OPTIONS)[1]
        assert after == (without if epsilon == 0.2 else 0.0)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Two runs whose suites left 0.9, of which the reviewer takes a tenth of the radius; returns what was attacked."""
    calls = []

    def checked(text):
        run = SimpleNamespace(path=tmp_path / text)
        return SimpleNamespace(name=text, path=run.path / "model.keras", run=run)

    def attacked(subject, epsilon, options):
        calls.append((subject.name, epsilon))
        return 0.9 - epsilon / 10

    for name in ("best-0", "fast-0"):
        folder = tmp_path / name / "evaluations"
        folder.mkdir(parents=True)
        (tmp_path / name / "model.keras").write_text(name)
        rows = [{"attack": "joint", "epsilon": epsilon, "macro_auc": 0.9} for epsilon in (0.02, 0.04)]
        (folder / "quality.json").write_text(json.dumps({"evaluations": rows}))
    monkeypatch.setattr(reviewer.saved, "checked", checked)
    monkeypatch.setattr(reviewer, "attacked", attacked)
    return calls


def test_runs_and_radii_are_a_table_and_what_is_done_is_not_done_again(tmp_path, calls, capsys):
    asked = ["best-0", "fast-0", "--epsilons", "0.02", "0.04", "--out", str(tmp_path / "new" / "reviewer.json")]
    assert reviewer.main(asked) == 0
    assert calls == [("best-0", 0.02), ("best-0", 0.04), ("fast-0", 0.02), ("fast-0", 0.04)]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["Run", "Epsilon", "Suite", "Reviewer", "Taken off"]
    assert lines[3] == ["best-0", "0.04", "0.9000", "0.8960", "0.0040"]
    assert reviewer.main([*asked, "--most", "0.003"]) == 1
    assert len(calls) == 4
    assert len(capsys.readouterr().out.splitlines()) == 6
    reviewer.main([*asked, "--seed", "3"])
    assert len(calls) == 8
    (tmp_path / "best-0" / "model.keras").write_text("another")
    reviewer.main(asked)
    assert calls[8:] == [("best-0", 0.02), ("best-0", 0.04)]


def test_a_radius_that_was_not_evaluated_is_refused(subject, splits):
    evaluated(subject, 1.0)
    with pytest.raises(ExpectedError, match=r"quality.json: expected a joint score at epsilon 0.2"):
        reviewer.recorded(subject.run.path / "evaluations" / "quality.json", 0.2)
