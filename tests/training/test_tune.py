"""The search of `tune.py`, and `--params`, which reads what it found."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_splits

import tune
from chestrobust import config, interruption
from chestrobust.errors import ExpectedError, TrainingError
from chestrobust.training import search

ROOT = Path(__file__).resolve().parents[2]
optuna = pytest.importorskip("optuna", reason="needs Optuna: make setup installs it")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {}
    for part, split in make_splits((16, 12, 12), size=28, num_labels=14).parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez("data.npz", **arrays)
    return tmp_path


def arguments(*more):
    return ["--data", "data.npz", "--data-dir", "cache", "--epochs", "2", "--steps", "1", *map(str, more)]


def trials(folder="runs/tune"):
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/study.db").trials


def test_params_come_before_the_command_line_and_after_the_defaults(tmp_path):
    (tmp_path / "best.json").write_text('{"learning_rate": 0.02, "optimizer": "sgd", "adv_weight": 0.7}')
    params = f"--params={tmp_path / 'best.json'}"
    read = config.parse(config.BaselineConfig, ["--optimizer", "adamw", params])
    assert (read.learning_rate, read.optimizer, read.batch_size) == (0.02, "adamw", 64)
    assert config.parse(config.AdversarialConfig, [params]).adv_weight == 0.7
    # As in a run's config.json.
    run = config.BaselineConfig(flip=True, run="finished", overwrite=True, params="old.json", epochs=3)
    (tmp_path / "run.json").write_text(config.to_json(run))
    again = ["--params", str(tmp_path / "run.json")]
    read = config.parse(config.AdversarialConfig, again)
    assert (read.flip, read.freeze, read.size, read.epochs) == (True, False, None, 3)
    assert (read.run, read.overwrite, read.params) == ("runs/robust", False, again[1])
    assert config.parse(config.TuneConfig, again).epochs == 3
    assert config.given(config.AdversarialConfig, ["--seed=0", params]) == {
        *("params", "seed", "learning_rate", "optimizer", "adv_weight")
    }


@pytest.mark.parametrize("text", ['{"learning_rat": 1}', "[1]", "{", '{"seed": 1}x', "[" * 100_000])
def test_params_that_are_no_options_are_refused(tmp_path, text):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ExpectedError, match=r"best\.json"):
        config.parse(config.BaselineConfig, [f"--params={tmp_path / 'best.json'}"])


def test_values_in_params_are_checked_as_on_the_command_line(tmp_path, capsys):
    (tmp_path / "best.json").write_text('{"optimizer": "adagrad"}')
    with pytest.raises(SystemExit) as stop:
        config.parse(config.BaselineConfig, [f"--params={tmp_path / 'best.json'}"])
    assert stop.value.code == 2
    assert "adagrad" in capsys.readouterr().err


@pytest.mark.parametrize("objective", [pytest.param("clean", marks=pytest.mark.slow), "robust"])
def test_a_search_trains_and_writes_what_the_training_scripts_read(here, capsys, objective):
    adversarial = ["--adversarial", "--train-steps", "1"] if objective == "robust" else []
    tune.main(arguments("--trials", "2", "--objective", objective, "--optimizer", "rmsprop", *adversarial))
    assert "2 trials complete" in capsys.readouterr().out
    best = config.parse(config.AdversarialConfig, ["--params", "runs/tune/best.json"])
    (value, params), *_ = sorted(((trial.value, trial.params) for trial in trials()), key=lambda pair: -pair[0])
    assert 0 <= value <= 1
    assert (best.learning_rate, best.batch_size) == (params["learning_rate"], params["batch_size"])
    assert best.optimizer == "rmsprop"
    assert "optimizer" not in params
    assert "weight_decay" not in params
    assert ("adv_weight" in params) == (objective == "robust")
    assert (here / "runs" / "tune" / "history.png").stat().st_size > 5_000
    left = {path.name for path in (here / "runs" / "tune" / "trials" / "0000").iterdir()}
    assert left - {".lock"} == {"config.json", "origin.json", "history.csv"}
    header = (here / "runs" / "tune" / "trials" / "0000" / "history.csv").read_text().splitlines()[0]
    assert ("val_pgd-auc_auc" in header) == (objective == "robust")


@pytest.mark.slow
def test_a_killed_search_continues(here, monkeypatch, capsys):
    code = "import os, signal, sys, tune; from chestrobust.training import search\n"
    code += "def train(trial, *rest):\n    if trial.number == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "    return trial.suggest_float('learning_rate', 1e-5, 1e-2, log=True)\n"
    code += "search._train = train\ntune.main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments("--trials", "5")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL
    before = {trial.number: trial.value for trial in trials() if trial.value is not None}
    assert len(before) == 2

    monkeypatch.setattr(
        search, "_train", lambda trial, *rest: trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
    )
    tune.main(arguments("--trials", "5"))
    after = {trial.number: trial.value for trial in trials() if trial.value is not None}
    assert len(after) == 5
    assert before.items() <= after.items()
    assert json.loads((here / "runs" / "tune" / "best.json").read_text())["learning_rate"] == max(after.values())
    assert not (here / "runs" / "tune" / "importance.png").exists()  # of so few trials
    monkeypatch.setattr(search, "ENOUGH", 5)
    tune.main(arguments("--trials", "5"))
    assert len(trials()) == 6  # with the one that was killed, and no more
    assert (here / "runs" / "tune" / "importance.png").stat().st_size > 5_000
    capsys.readouterr()


def test_a_signal_that_was_lost_in_a_trial_ends_the_search_before_the_next(here, monkeypatch):
    def train(trial, *rest):
        interruption._handler.received = signal.SIGTERM
        return trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)

    monkeypatch.setattr(search, "_train", train)
    with pytest.raises(interruption.Terminated), interruption.handled():
        tune.main(arguments("--trials", "3"))
        pytest.fail("went on to its end")
    assert sum(trial.value is not None for trial in trials()) == 1


def test_the_study_lies_in_its_folder_whatever_that_is_called(here):
    name = "lr?1 %201 {SCHEMA_VERSION} #"
    tune.main(arguments("--trials", "1", "--run", name))
    assert {path.name for path in here.iterdir()} == {"data.npz", "cache", name}
    assert sqlite3.connect(here / name / "study.db").execute("select count(*) from trials").fetchone() == (1,)


def test_a_search_with_other_options_is_refused(here, monkeypatch):

    monkeypatch.setattr(search, "_train", lambda trial, *rest: 0.5)
    tune.main(arguments("--trials", "1"))
    tune.main(arguments("--trials", "2"))
    with pytest.raises(ExpectedError, match="objective"):
        tune.main(arguments("--trials", "2", "--objective", "robust"))
    with pytest.raises(ExpectedError, match="searched"):
        tune.main(arguments("--trials", "2", "--dropout", "0.5"))


def test_trials_that_are_worse_than_most_are_pruned_and_so_are_diverged_ones(here, monkeypatch):

    def train(trial, options, searched, splits, folder, reporter):
        if trial.number == 6:
            raise TrainingError("The loss is nan.")
        for epoch in range(6):
            reporter.on_epoch_end(epoch, {"val_auc": 0.9 - 0.1 * trial.number})
        return 0.9 - 0.1 * trial.number

    monkeypatch.setattr(search, "_train", train)
    tune.main(arguments("--trials", "7"))
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] * 5 + ["PRUNED"] * 2
    assert len(trials()[5].intermediate_values) == 3


def test_without_optuna_one_line_says_what_to_install(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExpectedError, match=r"pip install optuna"):
        tune.main(arguments())


QUICK = """
import sys
import tune
from chestrobust import startup
from chestrobust.training import search
search._train = lambda trial, *rest: trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
sys.exit(startup.run_script(tune.main))
"""


def tune_process(*more):
    return subprocess.Popen(
        [sys.executable, "-c", QUICK, *arguments(*more)],
        **{"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
    )


@pytest.mark.slow
def test_two_that_start_together_share_a_new_study(here):
    both = [tune_process("--trials", "6") for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    values = [trial.params["learning_rate"] for trial in trials()]
    assert 6 <= len(values) <= 8
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("damage", [40_000, 100, 5000])
def test_a_damaged_study_is_one_line(here, monkeypatch, damage):
    monkeypatch.setattr(search, "_train", lambda *_: 0.5)
    tune.main(arguments("--trials", "1"))
    os.truncate("runs/tune/study.db", damage)
    with pytest.raises(ExpectedError, match=r"study\.db: expected a study of Optuna"):
        tune.main(arguments("--trials", "2"))


def test_a_full_disk_is_one_line(here, monkeypatch):
    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(search.sqlite3, "connect", full)
    with pytest.raises(ExpectedError, match=r"study\.db: .* disk is full"):
        tune.main(arguments("--trials", "1"))


def test_the_folder_may_have_any_name(here, monkeypatch):
    monkeypatch.setattr(search, "_train", lambda *_: 0.5)
    name = "50% of it? #1 a&b"
    tune.main(arguments("--trials", "1", "--run", name))
    assert (here / name / "study.db").stat().st_size > 10_000
    assert {path.name for path in here.iterdir()} <= {"data.npz", "cache", name}


def test_what_is_tried_depends_on_the_seed_and_not_on_interruptions(here, monkeypatch):
    monkeypatch.setattr(search, "_train", lambda trial, *_: trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True))

    def tried(folder, *pieces, seed=0):
        for count in pieces:
            tune.main(arguments("--trials", count, "--run", folder, "--seed", seed))
        return [trial.params for trial in trials(folder)]

    whole = tried("whole", 14)
    assert tried("pieces", 3, 12, 14) == whole
    assert tried("other", 14, seed=1)[0] != whole[0]
