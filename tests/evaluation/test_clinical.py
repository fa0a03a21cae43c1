"""`--suite clinical`: a row for each corruption with all severities, and the worst of all exposures."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import make_splits
from sklearn.metrics import balanced_accuracy_score

import evaluate
from chestrobust import catalogue, config, models, titles
from chestrobust.attacks import corruptions, named
from chestrobust.errors import DataError
from chestrobust.evaluation import clinical, metrics, outcomes, scoring, sweep
from chestrobust.reporting import graphs, severities, tables, verdict
from chestrobust.tasks import Task


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of the phantom, and the text that was printed."""
    folder = tmp_path_factory.mktemp("clinical")
    keras.utils.set_random_seed(0)
    models.build_cnn((28, 28, 1), 14).save(folder / "model.keras")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    arguments = ["model.keras", "--data", "phantom", "--limit", "24", "--suite", "clinical", "--epsilons", "0", "4/255"]
    try:
        assert evaluate.main([*arguments, "--steps", "2", "--resamples", "20", "--data-dir", "cache"]) == 0
    finally:
        patch.undo()
    return json.loads((folder / "evaluations" / "phantom-clinical.json").read_text())


def test_every_corruption_has_a_row_with_five_severities(found):
    rows = {row["attack"]: row for row in found["evaluations"]}
    kinds = [f"corruption={kind}" for kind in corruptions.CORRUPTIONS]
    assert list(rows) == ["clean", "fgsm", "pgd", "pgd-auc", *kinds, "exposure"]
    for kind in corruptions.CORRUPTIONS:
        row = rows[f"corruption={kind}"]
        assert [one["strength"] for one in row["severities"]] == list(corruptions.strengths(kind, "phantom"))
        assert row["strength"] == row["severities"][-1]["strength"]
        for key in ("macro_auc", "macro_sensitivity", "macro_specificity"):
            assert row["severities"][-1][key] == pytest.approx(row[key], abs=1e-12)
        assert row["severities"][-1]["macro_auc_interval"] == pytest.approx(row["intervals"]["macro_auc"])
        for one in row["severities"]:
            low, high = one["macro_auc_interval"]
            assert low <= one["macro_auc"] <= high
        assert row["balanced_error"] == pytest.approx(np.mean([one["balanced_error"] for one in row["severities"]]))
        # A label without positives has a specificity, but no balanced error.
        shares = [rows["clean"][f"per_label_{name}"].values() for name in ("sensitivity", "specificity")]
        errors = [1 - sum(pair) / 2 for pair in zip(*shares, strict=True) if None not in pair]
        assert row["clean_balanced_error"] == pytest.approx(np.mean(errors), abs=1e-12)
        low, high = row["intervals"]["balanced_error"]
        assert low <= row["balanced_error"] <= high
        rise = row["difference"]["balanced_error"]
        assert rise["difference"] == pytest.approx(row["balanced_error"] - row["clean_balanced_error"])
        assert rise["low"] <= rise["difference"] <= rise["high"]
        assert "over_alexnet" not in row
        # Corrupted images are of 8 bits as they are.
        assert row["stored"]["macro_auc"] == pytest.approx(row["macro_auc"], abs=1e-12)
    assert rows["exposure"]["macro_auc"] <= rows["exposure"]["same_for_all_auc"] <= rows["clean"]["macro_auc"]


def test_tables_show_them_and_no_radius_is_theirs(found):
    text = tables.evaluation(found)
    assert max(len(line) for line in text.splitlines() if line.startswith("| gamma_corr_down")) <= 100
    headers = [line.split() for line in text.splitlines() if line.startswith("| Macro AUC by severity [95 %] |")]
    assert [[cell for cell in header[7:] if cell != "|"] for header in headers] == [["1", "2", "3"], ["4", "5"]]
    one = found["evaluations"][-2]["severities"][0]
    assert f" {severities._auc(one)} |" in text and severities._auc(one).count("[.") == 1
    assert severities._auc({"macro_auc": 0.5}) == ".500 [-]"  # of an earlier version
    assert text.count("| gamma_corr_down ") == 6
    assert "| Mean of severities | Bal. error [95 %] |" in text and "| mean " in text and "rBE" not in text
    assert "they are another test" in text
    assert "exposure: per image the worst of 108: gamma 0.8 to 1.25" in text
    assert verdict.radius(found) == 4 / 255
    assert verdict.attacks_at(found["evaluations"], 1.0) == []
    assert verdict.worst(found, 1.0) is None
    assert "Attacked at epsilon 0.0157 (4/255)." in text
    graphs.curves(found)
    row = found["evaluations"][5]
    assert titles.title(row) == "jpeg_compression, severity 5"
    assert not catalogue.in_a_ball(row["attack"]) and not catalogue.in_a_ball("exposure")


@pytest.mark.parametrize(("task", "num_labels"), [("multi-label", 3), ("binary", 1), ("multi-class", 3)])
def test_the_balanced_error_is_that_of_scikit_learn(task, num_labels):
    splits = make_splits((8, 8, 60), task=task, num_labels=num_labels)
    logits, cuts = np.random.default_rng(0).normal(size=splits.test.labels.shape), np.full(num_labels, 0.4)
    scores = scoring.Scores(splits, logits, cuts, {}, resamples=10, seed=0)
    labels, answers = splits.test.labels, Task(task).predicted(logits, cuts)
    if splits.task.exclusive:
        expected = balanced_accuracy_score(labels.argmax(axis=1), answers.argmax(axis=1))
    else:
        expected = np.mean([balanced_accuracy_score(*pair) for pair in zip(labels.T, answers.T, strict=True)])
    assert clinical.points(scores, logits)["balanced_error"] == pytest.approx(1 - expected)


def test_on_each_resample_it_is_that_of_scikit_learn_too():
    splits = make_splits((8, 8, 40), num_labels=2)
    logits = np.random.default_rng(0).normal(size=(40, 2))
    scores = scoring.Scores(splits, logits, np.full(2, 0.4), {}, resamples=6, seed=3)
    found, answers = clinical._resampled_error(scores, logits), scores.predicted(logits)
    weights = np.concatenate([*metrics.drawn(40, 6, 3, None, together=40)])
    for error, drawn in zip(found, weights, strict=True):
        pairs = zip(splits.test.labels.T, answers.T, strict=True)
        expected = np.mean([balanced_accuracy_score(*pair, sample_weight=drawn) for pair in pairs])
        assert error == pytest.approx(1 - expected)


def test_errors_are_divided_by_those_of_alexnet():
    published = {name: {**errors} for name, errors in clinical.ALEXNET.items()}
    for name, (clean, corrupted) in {"chestmnist": (0.284, 0.368), "pneumoniamnist": (0.101, 0.265)}.items():
        errors = published[name]
        before = errors.pop("clean")
        assert list(errors) == list(corruptions.CORRUPTIONS)
        assert (before, np.mean(list(errors.values()))) == pytest.approx((clean, corrupted), abs=5e-4)
        for kind, error in errors.items():
            found = clinical._over_alexnet(f"{name}_224", kind, error, before)
            assert found == {"over_alexnet": {"be": pytest.approx(1), "rbe": pytest.approx(1)}}
            # Half its error, and none of its rise.
            (found,) = clinical._over_alexnet(name, kind, error / 2, error / 2).values()
            assert (found["be"], found["rbe"]) == (pytest.approx(0.5), 0)
    assert clinical._over_alexnet("phantom", "pixelate", 0.3, 0.2) == {}
    assert clinical._over_alexnet("chestmnist", "pixelate", None, 0.2) == {}


def test_tables_have_what_is_divided_by_alexnets(found):
    rows = [dict(row) for row in found["evaluations"]]
    for row in rows:
        if "severities" in row:
            row["over_alexnet"] = {"be": 1.25, "rbe": -0.5}
    text = tables.evaluation(found | {"evaluations": rows})
    lines = [line for line in text.splitlines() if "| 1.25 | -0.50 |" in line.replace("  ", " ")]
    assert len(lines) == 1 + len(corruptions.CORRUPTIONS) and max(map(len, lines)) <= 100
    assert "as published" in text


def test_the_worst_exposure_is_never_weaker_than_any_single_one(tmp_path):
    splits = make_splits((20, 20, 60), size=12, num_labels=3)
    keras.utils.set_random_seed(1)
    model = models.logits(models.build_cnn((12, 12, 1), 3))
    options = config.EvaluateConfig("memory", data="memory", suite="clinical", resamples=10)
    subject = sweep.Subject(model, splits, options, tmp_path, thresholds=np.full(3, 0.5))
    row = clinical._of_exposure(subject)
    single = []
    for exposure in corruptions.exposures()[::7]:
        strength = tuple(vars(exposure).values())
        outcome = outcomes.run(
            *(model, splits.task, splits.test, named.of("exposure", strength=strength, seed=options.seed))
        )
        single.append(clinical.points(subject, outcome.logits)["macro_auc"])
    assert row["macro_auc"] <= min(single)
    assert row["macro_auc"] < row["same_for_all_auc"] <= min(single)


def test_images_of_two_channels_are_refused():
    splits = make_splits((8, 8, 8))
    clinical.check(splits)
    test = dataclasses.replace(splits.test, images=np.repeat(splits.test.images, 2, axis=-1))
    with pytest.raises(DataError, match="2 channels"):
        clinical.check(dataclasses.replace(splits, train=test, val=test, test=test))
