"""The breakages of `benchmarks/mutate.py` still fit the code; that they are noticed is for the benchmark itself."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import mutate  # noqa: E402


@pytest.mark.parametrize("breakage", mutate.BREAKAGES, ids=lambda breakage: breakage[0])
def test_a_breakage_has_its_place_and_its_test(breakage):
    _, name, old, new, test = breakage
    assert (ROOT / mutate.PACKAGE / name).read_text().count(old) == 1
    assert new != old
    file, _, function = test.partition("::")
    assert f"def {function}" in (ROOT / "tests" / file).read_text()
