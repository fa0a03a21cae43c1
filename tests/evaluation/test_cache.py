"""Outcomes that an evaluation keeps on disk."""

import dataclasses

import numpy as np
import pytest

from chestrobust.evaluation import cache
from chestrobust.evaluation.outcomes import Outcome

MADE_BY = [{"attack": "pgd", "epsilon": 0.03}, "model", ["data"], None]
OUTCOME = Outcome(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), 0.03, 0.0, 1.0)


@pytest.fixture
def kept(tmp_path):
    found = cache.Cache(tmp_path / "kept")
    found.keep(MADE_BY, OUTCOME)
    return found


def test_what_is_kept_is_found_again(kept):
    found = kept.find(MADE_BY, (4, 3))
    np.testing.assert_array_equal(found.logits, OUTCOME.logits)
    assert (found.largest, found.low, found.high) == (0.03, 0.0, 1.0)
    assert found.kept is None
    whole = dataclasses.replace(OUTCOME, kept=-OUTCOME.logits, levels=7)
    kept.keep([*MADE_BY, "stored"], whole)
    found = kept.find([*MADE_BY, "stored"], (4, 3))
    np.testing.assert_array_equal(found.kept, -OUTCOME.logits)
    assert found.levels == 7


@pytest.mark.parametrize(
    "made_by", [[{"attack": "pgd", "epsilon": 0.02}, *MADE_BY[1:]], [MADE_BY[0], "other", *MADE_BY[2:]]]
)
def test_what_was_made_by_others_is_not(kept, made_by):
    assert kept.find(made_by, (4, 3)) is None


def test_nor_what_other_code_or_packages_computed(kept, monkeypatch):
    monkeypatch.setattr(cache, "code", lambda: "other")
    assert kept.find(MADE_BY, (4, 3)) is None
    monkeypatch.undo()
    monkeypatch.setattr(cache.provenance, "versions", lambda: {"tensorflow": "1.0"})
    assert kept.find(MADE_BY, (4, 3)) is None


@pytest.mark.parametrize(
    "name", ["losses.py", "attacks/gradient.py", "attacks/norms.py", "models/twin.py", "evaluation/outcomes.py"]
)
def test_a_change_of_what_computes_is_another_code(tmp_path, monkeypatch, name):
    before = cache.code.__wrapped__()
    for file in cache.PACKAGE.rglob("*.py"):
        copy = tmp_path / file.relative_to(cache.PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    assert cache.code.__wrapped__() == before
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert cache.code.__wrapped__() != before


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "noise": lambda content: np.random.default_rng(0).bytes(3000),
    "a flipped bit": lambda content: content[:200] + bytes([content[200] ^ 4]) + content[201:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_computed_again(kept, damage):
    (file,) = kept.folder.glob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    assert kept.find(MADE_BY, (4, 3)) is None
    kept.keep(MADE_BY, OUTCOME)
    assert kept.find(MADE_BY, (4, 3)) is not None


def test_logits_of_another_shape_are_not_taken(kept):
    assert kept.find(MADE_BY, (5, 3)) is None


def test_no_link_is_read(kept, tmp_path):
    (file,) = kept.folder.glob("*.npz")
    file.rename(tmp_path / "elsewhere.npz")
    file.symlink_to(tmp_path / "elsewhere.npz")
    assert kept.find(MADE_BY, (4, 3)) is None
