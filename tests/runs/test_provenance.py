"""What results tell of where they were made, and what they don't."""

from pathlib import Path

import pytest

from chestrobust.runs import provenance


def test_options_keep_names_and_lose_places():
    given = {
        "data": "/data/anna/x.npz",
        "root": "~/nih",
        "run": "runs/a",
        "by": ("sex", "/a/b"),
        "seed": 3,
        "size": None,
    }
    kept = {"data": "x.npz", "root": "nih", "run": "runs/a", "by": ["sex", "b"], "seed": 3, "size": None}
    assert provenance.options(given) == kept


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/data/anna/private/run/model.keras", "run/model.keras"), ("runs/robust/model.keras", "runs/robust/model.keras")],
)
def test_a_model_is_called_by_its_folder_and_file(path, shown):
    assert provenance.model(Path(path)) == shown


def test_versions_name_all_that_numbers_depend_on():
    found = provenance.versions()
    assert {"python", "tensorflow", "keras", "numpy", "scipy", "scikit-learn", "pillow"} <= set(found)
    assert all(found[name] for name in ("python", "tensorflow", "scipy", "pillow"))
