"""Which versions `benchmarks/versions.py` would install; it isn't run here."""

import sys

import pytest
from packaging.requirements import Requirement

sys.path.insert(0, "benchmarks")
import versions


def test_every_requirement_has_a_lowest_version_that_it_allows():
    found = versions.requirements()
    assert {"tensorflow", "keras", "numpy", "scipy", "optuna", "keras-hub", "pytest"} <= set(found)
    assert "chestrobust" not in found
    for end in versions.ENDS:
        lines = versions.constraints(end)
        assert [Requirement(line).name for line in lines] == list(found)
    for name, specifier in found.items():
        low = versions.lowest(specifier).strip("=").removesuffix(".*")
        assert Requirement(name + specifier).specifier.contains(low if "." in low else f"{low}.0")


@pytest.mark.parametrize(
    ("given", "wanted"), [(">=2.18,<3", "==2.18.*"), (">=10", "==10.0.*"), ("==1.20.1", "==1.20.1")]
)
def test_the_lowest_is_the_first_that_is_allowed(given, wanted):
    assert versions.lowest(given) == wanted
