"""The package: what it needs, what is in it, and that it works from a folder with names of its own."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import chestrobust
from chestrobust import __main__ as listing

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMPORTED_AS = {"scikit-learn": "sklearn", "pillow": "PIL", "keras-hub": "keras_hub"}


def names(requirements):
    """Names of the packages that requirements ask for, without this one."""
    found = [re.match(r"[\w.-]+", line)[0].lower() for line in requirements if line and not line.startswith("#")]
    return [name for name in found if name != "chestrobust"]


def base():
    return names((ROOT / "requirements.txt").read_text().splitlines())


def third_party(path):
    """Names of the packages of others that a module imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        found += [module.partition(".")[0] for module in modules]
    return {name for name in found if name not in sys.stdlib_module_names and name != "chestrobust"}


def test_requirements_and_project_agree():
    """pip installs the same by either: the project reads the file, whose lines are all requirements."""
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert dynamic["dependencies"] == {"file": ["requirements.txt"]}
    assert "dependencies" in PROJECT["project"]["dynamic"]
    assert not [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("-")]
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*base(), *(name for extra in extras.values() for name in names(extra))]
    assert sorted(set(asked)) == sorted(asked)  # each stands once
    assert sorted(path.name for path in ROOT.glob("requirements*")) == ["requirements.txt"]


def test_the_oldest_python_that_is_named_is_the_oldest_that_is_taken():
    named = [line.rpartition(" :: ")[2] for line in PROJECT["project"]["classifiers"]]
    assert named == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


def test_what_is_imported_is_required():
    extras = PROJECT["project"]["optional-dependencies"]
    required = {IMPORTED_AS.get(name, name) for name in base()}
    optional = {IMPORTED_AS.get(name, name) for name in names(extras["hub"] + extras["tune"])}
    modules = [*(ROOT / "chestrobust").rglob("*.py"), *ROOT.glob("*.py")]
    ours = {path.stem for path in ROOT.glob("*.py")}
    imported = {path: third_party(path) - ours for path in modules}
    used = set().union(*imported.values())
    # Keras alone imports TensorBoard, and keras-hub safetensors; medmnist is taken where it is there.
    assert required | optional == (used | {"tensorboard", "safetensors"}) - {"medmnist"}
    with_optional = {path.name for path, found in imported.items() if found & optional}
    assert with_optional == {"backbones.py", "search.py", "tune.py"}


@pytest.mark.parametrize("modules", ["import chestrobust", "from chestrobust import data, runs, config", "import data"])
def test_these_need_no_tensorflow(modules):
    code = f"{modules}\nimport sys\nassert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_lists_every_script_that_has_options(capsys):
    listing.main([])
    out = capsys.readouterr().out
    for path in ROOT.glob("*.py"):
        assert (f"python {path.name} " in out) == ("config.parse" in path.read_text())
    assert f"{ast.get_docstring(ast.parse((ROOT / 'tune.py').read_text())).splitlines()[0]}\n" in out


PROGRAM = """
import keras, numpy as np
import config, data, errors, models as own
from chestrobust import attacks, models

x = keras.Input((8, 8, 1))
logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x))
classifier = keras.Model(x, keras.layers.Activation("sigmoid")(logits))
images, labels = np.full((3, 8, 8, 1), 0.5, np.float32), np.eye(3, 2, dtype=np.float32)
attacked = attacks.fgsm(models.logits(classifier), images, labels, epsilon=8 / 255)
print(config.MINE, data.MINE, errors.MINE, own.MINE, np.abs(attacked - images).max().round(6) == round(8 / 255, 6))
"""


@pytest.mark.slow
def test_installed_it_attacks_a_model_from_a_folder_that_has_the_same_names(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools: make setup installs it")
    source, target, work = (tmp_path / name for name in ("source", "target", "work"))
    shutil.copytree(ROOT / "chestrobust", source / "chestrobust", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.*"), ROOT / "LICENSE"]:  # with the scripts and doors, which are to be left out
        if path.is_file():
            shutil.copy(path, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", target, source], check=True)
    installed = sorted(path.name for path in target.iterdir())
    assert installed == ["chestrobust", f"chestrobust-{chestrobust.__version__}.dist-info"]
    (metadata,) = target.glob("*.dist-info/METADATA")
    needed = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    plain = [line.partition(": ")[2] for line in needed if "extra ==" not in line]
    assert sorted(names(plain)) == sorted(base())
    work.mkdir()
    for name in ("config", "data", "errors", "models"):
        (work / f"{name}.py").write_text(f"MINE = {name!r}\n")
    (work / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "config data errors models True\n", done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "chestrobust"], cwd=work, env=environment, capture_output=True, text=True, check=True
    )
    assert "project's checkout" in done.stdout
