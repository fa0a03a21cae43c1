"""Who may import whom: the plan of the floors (`benchmarks/house.py`), drawn from the imports."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import house  # noqa: E402

MODULES = house.read(ROOT)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return house.read(root)


def test_every_module_has_its_floor():
    assert [name for name in MODULES if house.planned(name) is None] == []


def test_no_import_leads_upward():
    assert house.upward(MODULES) == []


def test_there_is_no_circle_of_modules_nor_of_wings():
    assert house.circles(MODULES) == []
    assert house.circles(house.wings(MODULES)) == []


def test_imports_stand_at_the_top_but_for_one_in_each_script():
    inside = {one.name: set(one.inside.values()) for one in MODULES.values() if one.inside}
    assert set(inside) <= set(house.SCRIPTS)
    assert {name: lines for name, lines in inside.items() if len(lines) > 1} == {}


def test_functions_and_modules_are_read_in_one_sitting():
    measured = house.Measured(MODULES)
    assert measured.long == []
    assert measured.large == []


def test_the_whole_configuration_is_handed_to_few():
    # What is asked of it goes on as `config.groups` or by name; whoever adds a line here says why it needs all.
    assert house.Measured(MODULES).handed == [
        "chestrobust.evaluation.sweep",
        "chestrobust.runs.folder",
        "chestrobust.training.experiment",
        "chestrobust.training.methods",
        "chestrobust.training.search",
    ]


def test_the_top_level_holds_doors_and_scripts_and_nobody_imports_them():
    assert {path.stem for path in ROOT.glob("*.py")} == {*house.DOORS, *house.SCRIPTS}
    imported = {target for one in MODULES.values() for target in (*one.imports, *one.inside) if "." not in target}
    assert imported <= {house.PACKAGE}
    # Everybody else is a guest: tests start scripts and look through doors.
    for path in (*ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")):
        guest = house.Module(path.stem, path)
        nodes = house.ast.walk(guest.tree)
        allowed = {house.PACKAGE, *house.DOORS, *house.SCRIPTS}
        names = {target.split(".")[0] for node in nodes for target in house._targets(node, guest, MODULES)}
        assert names <= allowed


@pytest.mark.parametrize(
    "code",
    [
        "import chestrobust",
        "from chestrobust import config, data, runs",
        "from chestrobust.runs import saved",
        "from chestrobust.reporting import tables",
        *(f"import {script}" for script in house.SCRIPTS),
    ],
)
def test_tensorflow_is_not_needed(code):
    code = f"import sys; {code}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_pictures_of_houses_that_are_wrong(tmp_path):
    modules = write(
        tmp_path,
        {
            "chestrobust/__init__.py": "",
            "chestrobust/errors.py": "from chestrobust.models import networks",
            "chestrobust/models/__init__.py": "",
            "chestrobust/models/networks.py": "from . import blocks\nfrom .. import errors",
            "chestrobust/models/blocks.py": "def f():\n    import chestrobust.errors as e\n    return e",
            "chestrobust/runs/__init__.py": "from chestrobust import reporting",
            "chestrobust/reporting/__init__.py": "import chestrobust.runs",
            "chestrobust/attic.py": "import os",
            "errors.py": "",
            "tests/test_x.py": "from chestrobust import attic",
        },
    )
    assert house.upward(modules) == [("chestrobust.errors", "chestrobust.models.networks")]
    assert sorted(house.circles(modules)) == [
        ["chestrobust.errors", "chestrobust.models.networks"],
        ["chestrobust.reporting", "chestrobust.runs"],
    ]
    assert sorted(house.circles(house.wings(modules))) == [["errors", "models"], ["reporting", "runs"]]
    assert modules["chestrobust.models.networks"].imports.keys() == {"chestrobust.models.blocks", "chestrobust.errors"}
    assert modules["chestrobust.models.blocks"].inside == {"chestrobust.errors": 2}
    assert [name for name in modules if house.planned(name) is None] == [
        "chestrobust.attic",
        "errors",
    ]
    assert house.floors(modules)["chestrobust.models.networks"] == 1


def test_arguments_that_nobody_needs_to_know_are_not_counted(tmp_path):
    text = "class A:\n    def f(self, a, b=1, *, c, d=2): pass\ndef g(a, /, b, *rest, **more): pass"
    functions = write(tmp_path, {"a.py": text})["a"].functions
    assert {function.name: house.arguments(function) for function in functions} == {"f": 3, "g": 2}


def test_the_numbers_are_printed_for_houses_with_and_without_a_package(tmp_path, capsys):
    assert house.main([]) is None
    assert "   0  of them upward\n   0  circles\n" in capsys.readouterr().out
    long = "def f(config):\n" + "    pass\n" * 400
    write(tmp_path, {"a.py": "import b\n", "b.py": long})
    house.main([str(tmp_path), "--arrows"])
    text = capsys.readouterr().out
    for line in (
        "   1  a.py",
        "   0  b.py",
        "   1  functions over 60 lines: b.f 401",
        "   1  modules over 350 lines: b 401",
        "   1  modules below the scripts with a function that takes `options` or `config`: b",
        "a -> b",
    ):
        assert line in text.splitlines()
