"""`evaluate.py` of several models: one table and one plot, paired differences, and what can't be compared."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import keras
import made
import numpy as np
import pytest
from conftest import make_splits
from test_evaluate import write_npz

import diagnosis_adv
import ensemble
import evaluate
import explain
import report
from chestrobust import data, models
from chestrobust.errors import ExpectedError, RunError
from chestrobust.evaluation import audit, comparison, scoring, sweep
from chestrobust.reporting import comparison as reporting
from chestrobust.reporting import figures
from chestrobust.tasks import Task

OPTIONS = ["--epsilons", "0", "2/255", "0.1", "--steps", "2", "--resamples", "20", "--data-dir", "cache"]


def make_run(folder, *, sha256="0" * 64, labels=14, epsilon=0.1, activation="sigmoid", note=""):
    """A finished run of an untrained model on `data.npz`."""
    keras.utils.set_random_seed(len(folder.name))
    classifier = models.build_cnn((28, 28, 1), labels, activation=activation)
    names = make_splits(num_labels=14).label_names[:labels]
    counts = {"train": 20, "val": 20, "test": 24}
    told = made.data(name="data", sha256=sha256, label_names=list(names), counts=counts, note=note)
    found = made.results(data=told, thresholds=dict.fromkeys(names, 0.5))
    found["config"] |= {"data": "data.npz", "data_dir": "cache", "epsilon": epsilon}
    found["evaluations"] = made.rows(0.0, full=False, labels=names)
    made.folder(folder, found, config=found["config"])
    classifier.save(folder / "model.keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs on `data.npz`, in `runs`: a baseline, and another whose own radius isn't among those attacked."""
    path = tmp_path_factory.mktemp("comparison")
    write_npz(path / "data.npz", make_splits((20, 20, 24), size=28, num_labels=14))
    (path / "cache").mkdir()
    sha256 = data.load(str(path / "data.npz")).sha256
    for name, epsilon in (("base", 0.1), ("robust", 0.02)):
        make_run(path / "runs" / name, sha256=sha256, epsilon=epsilon)
    return path


@pytest.fixture(scope="module")
def printed(folder):
    """What is printed of the comparison of both runs; nothing is audited."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        patch.chdir(folder)
        patch.setattr(sweep.Subject, "audit", lambda *_: [audit.Line("planted", "passed", 0.5, "a text")])
        assert evaluate.main(["runs/base", "runs/robust", *OPTIONS]) == 0
    return output.getvalue()


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def told(here, printed):
    """What is written of both runs."""
    return json.loads((here / "runs" / "comparison-data-quick.json").read_text())


def written(name):
    return json.loads(Path("runs", name, "evaluations", "data-quick.json").read_text())


def test_several_models_stand_in_one_table_one_plot_and_one_page(told, printed, here):
    assert [one["name"] for one in told["models"]] == ["base", "robust"]
    rows = [(row["attack"], row["epsilon"]) for row in told["models"][0]["evaluations"]]
    assert rows == [(row["attack"], row["epsilon"]) for row in told["differences"][0]]
    assert {attack for attack, _ in rows} == {"clean", "fgsm", "pgd", "pgd-auc"}
    for number, one in enumerate(told["models"]):
        of_one = written(one["name"])["evaluations"]
        assert [row["macro_auc"] for row in one["evaluations"]] == [row["macro_auc"] for row in of_one]
        if number:
            for row, found in zip(of_one, told["differences"][0], strict=True):
                before = next(
                    other["macro_auc"] for other in told["models"][0]["evaluations"]
                    if (other["attack"], other["epsilon"]) == (row["attack"], row["epsilon"])
                )  # fmt: skip
                assert found["macro_auc"]["difference"] == pytest.approx(row["macro_auc"] - before)
    lines = printed.splitlines()
    assert max(len(line) for line in lines if line.startswith("|")) <= 100
    assert "robust minus base, paired on the same resamples" in lines
    assert "| PGD-AUC-2 | " in printed and lines[-1].endswith(
        "evaluate.py runs/base runs/robust --data-dir=cache --suite standard"
    )
    assert [line for line in lines if line.startswith("Files:")] == [
        "Files:   runs/comparison-data-quick.json, runs/comparison-data-quick.png, runs/report.html"
    ]
    assert "robust minus base" in (here / "runs" / "report.html").read_text()


def test_all_are_summed_up_at_the_radius_of_the_first(told, here):
    assert told["radius"] == 0.1
    assert [written(name)["steps_curve"]["epsilon"] for name in ("base", "robust")] == [0.1, 0.1]
    assert "at 25.5/255, the run's own radius" in told["models"][0]["verdict"]
    assert "at 25.5/255;" in told["models"][1]["verdict"]


def test_a_single_model_is_evaluated_as_in_a_comparison_but_at_its_own_radius(told, here, monkeypatch):
    monkeypatch.setattr(sweep.Subject, "audit", lambda *_: [audit.Line("planted", "passed", 0.5, "a text")])
    found = written("robust")
    evaluate.main(["runs/robust", *OPTIONS])
    alone = written("robust")
    assert alone["evaluations"] == found["evaluations"]
    assert alone["config"] == found["config"] and alone["config"]["others"] == []
    # 0.02 isn't among the radii: the middle one of 2/255 and 0.1.
    assert alone["steps_curve"]["epsilon"] == pytest.approx(2 / 255)


def test_long_names_stay_apart_in_the_table(told):
    for one, end in zip(told["models"], ("4-255", "8-255"), strict=True):
        one["name"] = f"robust-of-the-best-recipe-{end}"
    lines = [line for line in reporting.tables(told).splitlines() if line.startswith("| clean ")][:2]
    assert [line.split("|")[2].strip() for line in lines] == ["robust-of\u2026cipe-4-255", "robust-of\u2026cipe-8-255"]
    assert max(map(len, lines)) <= 100


def test_differences_are_those_of_the_scores_on_the_same_resamples(splits):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, *splits.test.labels.shape)).astype(np.float32)
    pairings, measured = [], []
    for answers in logits:
        pairings.append(comparison.Pairing(*pairings[:1]))
        scores = scoring.Scores(splits, answers, np.full(3, 0.5), {}, resamples=20, seed=0, pairing=pairings[-1])
        scores.row({"attack": "clean", "epsilon": 0.0}, [answers])
        measured.append(scores.measured(Task("multi-label"), answers, scores.predicted(answers)))
    assert pairings[0].differences == []
    (found,) = pairings[1].differences
    assert found.items() >= measured[1].minus(measured[0]).items()
    assert found["macro_auc"]["difference"] != 0


def test_a_plot_has_a_line_for_each_model_and_dots_where_there_is_one_radius(told):
    left, right = reporting.figure(told).axes
    assert [len(ax.get_lines()) for ax in (left, right)] == [2, 2]  # and a line at no difference
    assert [line.get_color() for line in left.get_lines()] == list(figures.COLOURS[:2])
    told["models"][0]["name"] = "a-name-that-is-longer-than-its-axis-" * 2
    left, right = reporting.figure(told).axes
    assert max(map(len, right.get_ylabel().split("\n"))) <= 44
    for one in told["models"]:
        one["evaluations"] = [row for row in one["evaluations"] if row["epsilon"] in (0, 0.1)]
    told["differences"] = [[row for row in told["differences"][0] if row["epsilon"] in (0, 0.1)]]
    left, _ = reporting.figure(told).axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["clean", "FGSM", "PGD", "PGD-AUC"]


def test_the_report_of_these_runs_has_the_differences_and_that_of_others_not(told, here, tmp_path):
    page = tmp_path / "page.html"
    report.main(["runs/robust", "runs/base", "--out", str(page)])
    assert "robust minus base" in page.read_text()
    shutil.copytree("runs", tmp_path / "runs")
    other = tmp_path / "runs" / "robust" / "model.keras"
    models.build_cnn((28, 28, 1), 14).save(other)
    report.main([str(tmp_path / "runs" / "base"), str(tmp_path / "runs" / "robust"), "--out", str(page)])
    assert "robust minus base" not in page.read_text()
    (tmp_path / "runs" / "comparison-a.json").write_text('{"models": [], "differences": [], "radius": 0.1}')
    with pytest.raises(RunError, match=r"comparison-a\.json: expected what evaluate\.py writes"):
        report.main([str(tmp_path / "runs" / "base"), str(tmp_path / "runs" / "robust"), "--out", str(page)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/base", "runs/base/model.keras"], "runs/base/model.keras: expected models to compare.*twice"),
        (["runs/base", "runs/foreign"], "runs/foreign: expected a run on the same data as runs/base.*--data"),
        (["runs/base", "runs/few", "--data", "data.npz"], "runs/few/model.keras: expected a model of the same labels"),
        (["runs/base", "runs/robust", "--verify"], "--verify: expected one run"),
        (["runs/base", "runs/base/last.keras", "--name", "x"], "--name x: expected models in folders of their own"),
        (["runs/base", "runs/classes", "--data", "data.npz"], "runs/classes/model.keras: .*softmax"),
        (["runs/base", "runs/nowhere"], "runs/nowhere: expected a finished run"),
        (["runs/fold"], "runs/fold: expected data that the model wasn't trained on.*fold 1 of 5"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_nothing_is_attacked(here, monkeypatch, arguments, message):
    if not (here / "runs" / "foreign").exists():
        make_run(here / "runs" / "foreign", sha256="1" * 64)
        make_run(here / "runs" / "few", labels=13)
        make_run(here / "runs" / "fold", sha256=data.load("data.npz").sha256, note="fold 1 of 5")
        make_run(here / "runs" / "classes", activation="softmax")
        shutil.copy(here / "runs" / "base" / "model.keras", here / "runs" / "base" / "last.keras")
    monkeypatch.setattr(sweep, "sweep", lambda *_, **__: pytest.fail("attacked"))
    with pytest.raises(ExpectedError, match=message):
        evaluate.main([*arguments, *OPTIONS])


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (ensemble, ["runs/base", "runs/unseen", "--run", "runs/both"]),
        (explain, ["runs/unseen"]),
        (diagnosis_adv, ["--baseline", "runs/unseen", "--run", "runs/new"]),
        (diagnosis_adv, ["--init-from", "runs/unseen", "--run", "runs/new"]),
    ],
)
def test_no_script_tests_a_fold_on_what_it_was_trained_on(here, script, arguments):
    if not (here / "runs" / "unseen").exists():
        make_run(here / "runs" / "unseen", sha256=data.load("data.npz").sha256, note="fold 1 of 5")
    with pytest.raises(RunError, match=r"runs/unseen: expected data that the model wasn't trained on.*fold 1 of 5"):
        script.main([*arguments, "--data", "data.npz"])
