"""The ChestMNIST benchmark: which radius its rule chooses, what it runs, and that it goes on where it stopped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import chestmnist  # noqa: E402

from chestrobust import config  # noqa: E402

KEPT = {"": 0.80, "1/255": 0.799, "4/255": 0.785, "8/255": 0.779}  # clean on validation images, by radius of training


@pytest.fixture
def calls(monkeypatch):
    """Scripts that write what the real ones would; returns what was called."""
    calls = []

    def call(script, *arguments):
        calls.append((script, *arguments))
        if script == "evaluate.py":
            file = Path(arguments[0]) / "evaluations" / "chestmnist.json"
            rows = [{"attack": "clean", "epsilon": 0.0, "macro_auc": 0.75}]
            rows += [{"attack": "fgsm", "epsilon": 0.01, "macro_auc": 0.4}]
            rows += [{"attack": "pgd", "epsilon": epsilon, "macro_auc": 0.3} for epsilon in (4 / 255, 0.03)]
            found = {"evaluations": rows, "audit": [{"name": "gradients", "status": "failed"}]}
        else:
            given = dict(zip(arguments[::2], arguments[1::2], strict=False))
            file = Path(given["--run"]) / "results.json"
            training = {"best_epoch": 2, "images_per_second": 10_000.0, "seconds": 5.0}
            found = {"training": training, "data": {"sha256": "0"}, "hardware": {}}
            score = KEPT[given.get("--train-epsilon", "")]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name("history.csv").write_text(f"epoch,val_auc\n0,0.1\n1,{score}\n2,0.2\n")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))

    monkeypatch.setattr(chestmnist, "call", call)
    return calls


def asked(folder, *others):
    return [f"--data-dir={folder}", f"--folder={folder}", "--sizes=28", "--radii", "8/255", "1/255", "4/255", *others]


def test_the_largest_radius_that_keeps_the_clean_score_is_chosen(tmp_path, calls, capsys):
    chestmnist.main(asked(tmp_path, "--options=--epochs 5000"))
    rows = json.loads((tmp_path / "chestmnist.json").read_text())
    assert [row["validation"] for row in rows] == [KEPT[row["radius"]] for row in rows]
    assert [row["radius"] for row in rows if row["chosen"]] == ["4/255"]
    text = capsys.readouterr().out
    # 5000 epochs of four models, 10,000 images a second.
    assert f"28 px: at most {4 * 5000 * 78_468 / 10_000 / 3600:.1f} hours" in text
    assert "28 px: robust, 4/255, chosen" in text and "reported: baseline" in text
    robust = [call for call in calls if call[0] == "diagnosis_adv.py" and call[-1].endswith("28-1of255")]
    assert robust[0][robust[0].index("--train-step-size") + 1] == "1/510"


@pytest.mark.parametrize("recipe", list(chestmnist.recipes.RECIPES))
def test_what_each_recipe_asks_for_is_what_diagnosis_adv_takes(recipe):
    settings = ["--data", "chestmnist", "--recipe", recipe]
    options = config.parse(config.AdversarialConfig, chestmnist.robust(settings, "4/255"))
    assert (options.train_epsilon, options.select_epsilon) == (4 / 255, 4 / 255)
    assert options.train_step_size == (2 / 255 if recipe in ("default", "best") else 0.0125)


def test_the_figure_has_every_score_over_the_radius_and_marks_the_chosen_one(tmp_path, calls):
    chestmnist.main(asked(tmp_path))
    assert (tmp_path / "chestmnist.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "chestmnist.json").read_text())
    (axes,) = chestmnist.curve([row | {"clean": row["validation"] - 0.1} for row in rows]).axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["baseline", "1/255", "4/255", "8/255"]
    assert lines["validation, clean"] == list(KEPT.values())
    assert lines["test, clean"] == pytest.approx([score - 0.1 for score in KEPT.values()])
    assert lines["test, PGD-20 0.03"] == [0.3] * 4
    assert lines["least validation score"] == pytest.approx([0.78] * 2)
    assert [list(line.get_xdata()) for line in axes.lines if line.get_label() == "chosen"] == [[2, 2]]


def test_the_estimate_counts_the_epochs_that_a_recipe_has_for_either_model(tmp_path, calls):
    hours = chestmnist.estimated(
        chestmnist.argparse.Namespace(
            data_dir=str(tmp_path), recipe="best", options="", share=9, radii=["4/255", "8/255"]
        ),
        28,
        tmp_path,
    )
    clean, attacked = (
        config.parse(kind, ["--recipe=best"]).epochs for kind in (config.BaselineConfig, config.AdversarialConfig)
    )
    assert clean < attacked
    assert hours == pytest.approx((clean + 2 * attacked) * 78_468 / 10_000 / 3600)


def test_where_none_keeps_it_the_smallest_is_chosen():
    rows = [{"radius": radius, "validation": 0.5 if radius else 0.8} for radius in ("", "4/255", "1/255", "8/255")]
    assert chestmnist.chosen(rows) == "1/255"


def test_what_is_done_is_not_done_again_and_an_estimate_trains_nothing_else(tmp_path, calls):
    chestmnist.main(asked(tmp_path, "--estimate"))
    assert len(calls) == 2
    chestmnist.main(asked(tmp_path))
    calls.clear()
    chestmnist.main(asked(tmp_path))
    assert calls == []
    (tmp_path / "28-4of255" / "results.json").unlink()
    (tmp_path / "28-4of255" / "config.json").touch()
    chestmnist.main(asked(tmp_path))
    assert [(call[0], call[-1]) for call in calls] == [("diagnosis_adv.py", "--resume")]


PYTHON = """#!/bin/sh
# Writes down what it was called with; an environment that it makes has itself for Python.
echo "$@" >> "$LOG"
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
"""


def run_shell(tmp_path, *arguments, **environment):
    """Exit code and errors of the shell script, in a copy of the checkout, and what it asked a Python of ours for."""
    place, log = tmp_path / "checkout" / "benchmarks", tmp_path / "log"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "benchmarks" / "chestmnist.sh", place)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    log.write_text("")
    own = {"PYTHON": str(tmp_path / "python"), "LOG": str(log), "PATH": os.defpath, **environment}
    done = subprocess.run(["sh", str(place / "chestmnist.sh"), *arguments], env=own, capture_output=True, text=True)
    return done.returncode, done.stderr, log.read_text().splitlines()


def test_the_script_makes_an_environment_once_and_hands_its_options_on(tmp_path):
    asked = ("--data-dir", "some folder", "--estimate")
    code, errors, called = run_shell(tmp_path, *asked, REHEARSAL="1")
    assert (code, errors) == (0, "")
    environment, install, benchmark = called
    assert environment == "-m venv .venv-rehearsal"
    assert install.endswith("--editable . tensorflow")
    assert benchmark == "benchmarks/chestmnist.py --data-dir some folder --estimate"
    assert run_shell(tmp_path, *asked, REHEARSAL="1")[2] == [benchmark]


def test_with_a_gpu_it_takes_tensorflow_for_it_and_without_one_it_refuses(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()

    def beside(gpus):
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{gpus}\n")
        (tools / "nvidia-smi").chmod(0o755)
        return run_shell(tmp_path, PATH=f"{tools}:{os.defpath}")

    code, errors, called = beside("exit 9")
    assert (code, errors.count("\n"), called) == (2, 1, [])
    assert "no GPU is visible" in errors
    code, _, (environment, install, _) = beside("echo 'GPU 0: a card'")
    assert (code, environment) == (0, "-m venv .venv-gpu")
    assert install.endswith("--editable . tensorflow[and-cuda]")
