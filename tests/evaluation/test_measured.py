import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust.attacks import named
from chestrobust.data.splits import CHEST_LABELS, Split
from chestrobust.evaluation import calibration, metrics, outcomes, scoring
from chestrobust.evaluation.measured import Measured
from chestrobust.reporting import cells, tables
from chestrobust.tasks import Task

MULTI = Task("multi-label")


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 3)) < [0.2, 0.5, 0.7]).astype(np.uint8)
    return labels, rng.normal(size=labels.shape) + labels


def test_a_constant_shift_moves_sensitivity_and_specificity_and_no_auc():
    labels = np.uint8([[1], [1], [1], [1], [0], [0], [0], [0], [0], [0]])
    logits = np.float32([[2], [1], [0.5], [-1], [0.6], [0.1], [-1], [-2], [-3], [-4]])
    before, after = (Measured(MULTI, ["a"], labels, logits + shift).record() for shift in (0, -0.75))
    # At 0: 3 of 4 are found and 4 of 6 passed. Lower by 0.75: 2 and 6.
    assert (before["macro_sensitivity"], before["macro_specificity"]) == (0.75, pytest.approx(4 / 6))
    assert (after["macro_sensitivity"], after["per_label_specificity"]) == (0.5, {"a": 1.0})
    for key in ("macro_auc", "macro_ap", "per_label_auc"):
        assert before[key] == after[key]
    assert before["intervals"]["per_label_auc"] == after["intervals"]["per_label_auc"]
    # Wilson's ends of 3 in 4.
    assert before["intervals"]["per_label_sensitivity"]["a"] == pytest.approx([0.3006, 0.9544], abs=1e-4)


def test_scores_that_cannot_be_are_none_and_left_out_of_the_mean(predictions):
    labels, logits = predictions
    labels[:, 0], labels[:, 2] = 0, 1
    found = Measured(MULTI, "abc", labels, logits, resamples=20).record()
    json.dumps(found, allow_nan=False)
    assert (found["per_label_sensitivity"]["a"], found["per_label_specificity"]["c"]) == (None, None)
    assert found["intervals"]["per_label_specificity"]["c"] is None
    reported = logits >= 0
    expected = [np.mean(reported[labels[:, label] == 1, label]) for label in (1, 2)]
    assert found["macro_sensitivity"] == pytest.approx(np.mean(expected))


def test_calibration_is_told_of_each_label(predictions):
    labels, logits = predictions
    found = Measured(MULTI, "abc", labels, logits, resamples=10).record()
    squares = (1 / (1 + np.exp(-logits)) - labels) ** 2
    np.testing.assert_allclose(list(found["per_label_brier"].values()), squares.mean(axis=0))
    assert found["brier"] == pytest.approx(squares.mean())
    ece = calibration.error(labels, MULTI.probabilities(logits))
    np.testing.assert_allclose(list(found["per_label_calibration_error"].values()), ece)


def test_shares_are_resampled_with_the_same_images_as_aucs(predictions):
    labels, logits = predictions
    found = Measured(MULTI, "abc", labels, logits, resamples=7, seed=3, patients=np.arange(60) // 2)
    weights = np.concatenate(list(metrics.drawn(60, 7, 3, np.arange(60) // 2)))
    for drawn, sensitivity, specificity in zip(
        weights, found.resampled["sensitivity"], found.resampled["specificity"], strict=True
    ):
        images = np.repeat(np.arange(60), drawn)
        scores = metrics.classification(labels[images], logits[images] >= 0)
        (tn, fp), _ = scores["confusion"][1]
        np.testing.assert_allclose(sensitivity, scores["recall"])
        assert specificity[1] == pytest.approx(tn / (tn + fp))


def test_differences_are_those_of_the_same_resamples(predictions):
    labels, better = predictions
    worse = better + np.random.default_rng(1).normal(size=better.shape)
    options = {"resamples": 50, "seed": 2, "patients": np.arange(60) // 2}
    a, b = (Measured(MULTI, "abc", labels, logits, **options) for logits in (worse, better))
    found, expected = b.minus(a), metrics.paired_difference(labels, worse, better, **options)
    assert found["macro_auc"] == pytest.approx(expected["macro_auc"])
    assert found["macro_ap"] == pytest.approx(expected["macro_ap"])
    for label in found["per_label_auc"].values():
        assert label["low"] <= label["difference"] <= label["high"]
        assert label["p"] <= label["p_holm"] <= 1
    nothing = b.minus(b)
    assert {tuple(nothing[f"macro_{name}"].values()) for name in ("auc", "ap", "sensitivity")} == {(0, 0, 0)}
    assert nothing["per_label_auc"]["a"] == {"difference": 0, "low": 0, "high": 0, "p": 1, "p_holm": 1}


def separated(count, sign, num_labels=2):
    """Labels of which half are positive, and logits that rank all pairs of each right, or all wrong."""
    labels = (np.arange(count) % 2 == 0).astype(np.uint8)[:, None].repeat(num_labels, axis=1)
    return labels, sign * (2.0 * labels - 1) * np.linspace(1, 2, count)[:, None]


@pytest.mark.parametrize("patients", (None, np.arange(20) // 2))
def test_perfect_scores_of_a_few_images_are_not_certain(patients):
    for sign in (1, -1):
        labels, logits = separated(20, sign)
        found = Measured(MULTI, "ab", labels, logits, resamples=30, patients=patients).record()
        for name in ("auc", "sensitivity", "specificity", "ap"):
            if (sign, name) == (-1, "ap"):
                continue  # Of all pairs in the wrong order it varies.
            value, ends = found[f"macro_{name}"], found["intervals"][f"macro_{name}"]
            assert value == pytest.approx((sign + 1) / 2)
            assert ends == pytest.approx(found["intervals"][f"per_label_{name}"]["a"])
            assert ends[0] <= value <= ends[1] and 0.1 < ends[1] - ends[0] < 0.5
    # With fewer than four positives there is none.
    labels[4:, 0], logits[4:, 0] = 0, 2
    found = Measured(MULTI, "ab", labels, logits, resamples=30).record()
    assert found["intervals"]["per_label_auc"]["a"] is None and found["intervals"]["macro_auc"] is None


def test_other_scores_keep_the_percentiles_of_their_resamples(predictions):
    labels, logits = predictions
    logits[:, 0] = 4.0 * labels[:, 0] - 2  # one perfect label among others
    ways = {"resamples": 60, "seed": 5, "patients": np.arange(60) // 2}
    found = Measured(MULTI, "abc", labels, logits, **ways).record()
    resampled = metrics.bootstrap(labels, logits, **ways)
    for name in ("auc", "ap"):
        expected = np.nanquantile(np.nanmean(resampled[name], axis=1), (0.025, 0.975))
        np.testing.assert_array_equal(found["intervals"][f"macro_{name}"], expected)
    assert found["per_label_auc"]["a"] == 1


def test_the_fall_from_perfect_to_nothing_is_not_certain_either():
    labels, right = separated(20, 1)
    clean, attacked = (Measured(MULTI, "ab", labels, logits, resamples=30) for logits in (right, -right))
    for before in (clean, clean.kept()):
        fall = attacked.minus(before)
        for found in (fall["macro_auc"], fall["macro_sensitivity"], fall["per_label_auc"]["a"]):
            assert found["difference"] == found["low"] == -1
            assert -1 < found["high"] < -0.5
        assert 0 < fall["per_label_auc"]["a"]["p"] < 0.01
    same = clean.minus(Measured(MULTI, "ab", labels, right * 2, resamples=30))["macro_auc"]
    assert same["difference"] == 0 and same["low"] == -same["high"] < -0.1


def test_classes_are_reported_by_the_most_probable():
    labels = np.eye(3, dtype=np.uint8)[[0, 0, 1, 1, 2, 2]]
    logits = 4.0 * np.eye(3)[[0, 1, 1, 1, 2, 0]]
    found = Measured(Task("multi-class"), "abc", labels, logits, 0.99).record()
    assert found["per_label_sensitivity"] == {"a": 0.5, "b": 1.0, "c": 0.5}
    assert found["per_label_specificity"] == {"a": 0.75, "b": 0.75, "c": 1.0}
    assert found["intervals"]["macro_sensitivity"] is None  # fewer than 10 images


def test_published_differences_are_inside_paired_intervals_of_real_predictions(samples):
    loaded = {}
    for name in ("resnet18", "densenet121", "searched_nonrec"):
        with np.load(samples / "nih_predictions" / f"{name}_seed0.npz") as archive:
            loaded[name] = archive["test_logits"]
            labels, patients = archive["test_labels"].astype(np.uint8), archive["test_patient"]
    found = {
        name: Measured(MULTI, CHEST_LABELS, labels, logits, resamples=40, patients=patients)
        for name, logits in loaded.items()
    }
    # Macro AUCs 0.7007, 0.7025 and 0.7305.
    for one, other, published in (
        ("densenet121", "resnet18", 0.0018),
        ("searched_nonrec", "resnet18", 0.0298),
        ("searched_nonrec", "densenet121", 0.0280),
    ):
        difference = found[one].minus(found[other])
        macro = difference["macro_auc"]
        assert macro["low"] < published < macro["high"]
        assert macro["difference"] == pytest.approx(published, abs=1.5e-4)
        sure = [name for name, label in difference["per_label_auc"].items() if label["p_holm"] < 0.05]
        assert len(sure) > (3 if published > 0.01 else -1)
        assert (macro["low"] > 0) == (published > 0.01)


def test_a_row_counts_images_whose_report_lost_or_gained_a_label():
    splits = make_splits((12, 12, 4), num_labels=2)
    clean = np.array([[1.0, -1], [1, 1], [-1, -1], [1, -1]])
    attacked = np.array([[-1.0, -1], [-1, -1], [1, 1], [-1, 1]])
    scores = scoring.Scores(splits, clean, np.full(2, 0.5), {}, resamples=5, seed=0)
    row = scores.row({"attack": "pgd", "epsilon": 0.1}, [attacked], kept=[attacked])
    # The first two and the last lost a label; the third gained both, and the last one.
    assert (row["hidden"], row["invented"]) == (0.75, 0.5)
    for name, value in row["stored"].items():
        assert value == pytest.approx(row[name])
    before = Measured(MULTI, splits.label_names, splits.test.labels, clean, resamples=5)
    expected = row["macro_auc"] - metrics.macro(before.values["auc"])
    assert row["difference"]["macro_auc"]["difference"] == pytest.approx(expected)


def test_groups_are_scored_by_the_patients_of_all(predictions):
    labels, logits = predictions
    images, patients, cuts = np.zeros((60, 2, 2, 1), np.uint8), np.arange(60) // 3, np.array([0.2, 0.5, 0.8])
    splits = dataclasses.replace(make_splits(), test=Split(images, labels, patients))
    rows = np.arange(45)
    scores = scoring.Scores(splits, logits, cuts, {"sex": {"F": rows}}, resamples=10, seed=1)
    found = scores.row(named.CLEAN.record(), [logits])["by"]["sex"]["F"]
    ways = {"resamples": 10, "seed": 1, "patients": patients[rows]}
    assert found == Measured(MULTI, splits.label_names, labels[rows], logits[rows], cuts, **ways).record()


def rows_of(names, splits):
    rng, labels = np.random.default_rng(0), splits.test.labels
    clean = rng.normal(size=labels.shape) + labels
    groups = {"sex": {"F": np.arange(20)}}
    scores = scoring.Scores(splits, clean, np.full(labels.shape[1], 0.5), groups, resamples=20, seed=0)
    rows = [scores.row(named.CLEAN.record(), [clean])]
    settings = {"steps": 100, "restarts": 5, "seed": 0, "precision": "float32", "random_start": True}
    for epsilon in (0.5 / 255, 4 / 255, 0.05):
        for name in names:
            label = 0 if name == "invent" else None
            record = named.of(name, epsilon=epsilon, step_size=0.01, label=label, **settings).record()
            rows.append(scores.row(record, [clean - 50 * epsilon * labels * rng.random(labels.shape)]))
        for name in ("joint", "floor"):
            rows.append(scores.row({"attack": name, "epsilon": epsilon}, [clean], per_label=name == "floor"))
    return rows


@pytest.fixture(scope="module")
def results():
    splits = make_splits((24, 12, 60), num_labels=14)
    rows = rows_of(("fgsm", "pgd", "pgd-auc", "apgd-margin", "label-margin", "square-margin", "one-pixel"), splits)
    return {
        **{"model": "model.keras", "data": splits.summary(), "evaluations": rows, "audit": [], "labels": None},
        **{"steps_curve": {"epsilon": 4 / 255}, "training": {"epochs": 1, "seconds": 2.0}},
    }


def widest(text):
    return max(len(line) for line in text.splitlines() if line.startswith("|"))


def test_tables_fit_into_100_columns(results):
    text = tables.evaluation(results)
    assert widest(text) <= 100
    assert "| each label-100    | 0.5/255\u2020 |" in text
    assert tables.TINY in text
    assert "| By sex | Images | AUC, clean [95 %] |" in text
    few = results["evaluations"][:4]
    robust = {
        **results,
        "evaluations": few,
        "baseline": {"evaluations": few, "differences": [row.get("difference", {}) for row in few]},
    }
    assert max(widest(tables.comparison(robust)), widest(tables.table(robust))) <= 100


def test_tables_say_what_results_hold(results):
    text, pgd = tables.evaluation(results), results["evaluations"][10 + 1]
    assert (pgd["attack"], pgd["epsilon"]) == ("pgd", 4 / 255)
    line = next(line for line in text.splitlines() if line.startswith("| PGD-100") and " 4/255 " in line)
    for key in ("macro_auc", "macro_sensitivity", "macro_specificity"):
        low, high = (f"{end:.3f}".lstrip("0") for end in pgd["intervals"][key])
        assert f"{pgd[key]:.3f} [{low}, {high}]".lstrip("0") in line
    assert f"{pgd['difference']['macro_auc']['difference']:+.3f}".replace("0.", ".") in text
    assert cells.with_interval(0.5, None) == ".500 [-]"
    assert cells.with_interval(None, None) == "undefined"


def test_results_of_earlier_versions_can_still_be_read(results):
    old = ("images", "attack", "epsilon", "steps", "macro_auc", "macro_ap", "accuracy", "undefined_labels")
    rows = [{key: row[key] for key in old if key in row} for row in results["evaluations"][:3]]
    robust = {**results, "evaluations": rows, "baseline": {"evaluations": rows}}
    for text in (tables.table(robust), tables.comparison(robust)):
        assert f"{rows[0]['macro_auc']:.3f}".lstrip("0") in text
        assert " - |" in text


def test_images_that_are_stored_as_they_are_get_one_answer(monkeypatch):
    asked, splits = [], make_splits((8, 8, 12))
    model = lambda images, training: tf.reduce_mean(images, (1, 2)) + tf.zeros((1, 3))  # noqa: E731
    answer = outcomes.answers
    monkeypatch.setattr(outcomes, "answers", lambda *given: asked.append(1) or answer(*given))
    clean = outcomes.run(model, splits.task, splits.test, named.CLEAN, stored=True)
    np.testing.assert_array_equal(clean.kept, clean.logits)
    between = outcomes.run(model, splits.task, splits.test, named.of("noise", epsilon=0.1, seed=0), stored=True)
    assert len(asked) == 1 + 2
    assert (between.kept != between.logits).any()
