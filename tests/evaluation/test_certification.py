"""Certified scores: the worst that bounds allow, never above what attacks leave, and equal to it where they can be."""

import itertools
import json

import keras
import numpy as np
import pytest
from conftest import make_splits
from keras import layers

import chestrobust
import evaluate
from chestrobust import losses, models
from chestrobust.attacks import gradient
from chestrobust.errors import ModelError
from chestrobust.evaluation import certification, metrics, scoring
from chestrobust.evaluation.certification import Bounds
from chestrobust.tasks import Task

LOW = np.float32([[-2, 0.5], [-1, -3], [1, 0]])
HIGH = np.float32([[-1, 1.5], [2, -2], [3, 0]])
LABELS = np.uint8([[0, 1], [1, 0], [1, 1]])


def test_a_present_label_is_worst_at_its_lowest_and_an_absent_one_at_its_highest():
    worst = Bounds(LOW, HIGH).worst(Task.MULTI_LABEL, LABELS)
    np.testing.assert_array_equal(worst, [[-1, 0.5], [-1, -2], [1, 0]])
    # Of the first label, one positive ties with the negative, which counts half; the other is above it.
    np.testing.assert_allclose(metrics.auc(LABELS, worst), [0.75, 1.0])


def test_each_class_is_worst_against_the_others_in_some_corner():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(20, 3)).astype(np.float32)
    found, classes = Bounds(low, low + rng.uniform(0, 2, low.shape).astype(np.float32)), np.eye(3)[np.arange(20) % 3]
    corners = [np.where(pick, found.low, found.high) for pick in itertools.product([True, False], repeat=3)]
    ranks = np.stack([Task.MULTI_CLASS.ranks(one) for one in corners])
    expected = np.where(classes == 1, ranks.min(axis=0), ranks.max(axis=0))
    np.testing.assert_allclose(found.worst(Task.MULTI_CLASS, classes), expected)


def test_a_report_is_certain_where_no_threshold_lies_between_the_bounds():
    found = Bounds(LOW, HIGH)
    np.testing.assert_array_equal(found.unchanged(Task.MULTI_LABEL, np.array([0.5, 0.5])), [True, False, True])
    np.testing.assert_array_equal(found.unchanged(Task.MULTI_LABEL, np.array([0.5, 0.7])), [False, False, True])
    # One class is always above the other's highest, by 1.5, 1 and 1.
    np.testing.assert_array_equal(found.unchanged(Task.MULTI_CLASS, None), [True, True, True])
    np.testing.assert_array_equal(Bounds(LOW, HIGH + 1).unchanged(Task.MULTI_CLASS, None), [True, False, False])


def test_answers_outside_of_the_bounds_are_measured():
    found = Bounds(LOW, HIGH)
    assert found.excess([LOW, HIGH]) == 0
    assert found.excess([(LOW + HIGH) / 2]) == 0  # one logit has no room
    assert found.excess([LOW, HIGH + np.float32([0, 0.25])]) == 0.25
    assert found.excess([LOW - np.float32([0.5, 0])]) == 0.5


def test_reports_of_classes_are_as_bad_as_any_answer_within_the_bounds_makes_them():
    rng = np.random.default_rng(0)
    splits = make_splits((8, 8, 30), task="multi-class")
    low = rng.normal(size=(30, 3)).astype(np.float32)
    found = Bounds(low, low + rng.uniform(0, 1.5, low.shape).astype(np.float32))
    clean, labels = (found.low + found.high) / 2, splits.test.labels
    # At such cuts a class is reported that isn't the likeliest: a report names that one.
    scores = scoring.Scores(splits, clean, np.full(3, 0.1), {}, resamples=10, seed=0)
    row = scores.row({"attack": "certified", "epsilon": 0.1}, found.corners(splits.task), per_label=True)
    ends = [np.where(pick, found.low, found.high) for pick in itertools.product([True, False], repeat=3)]
    named = np.stack([np.eye(3)[one.argmax(axis=1)] == 1 for one in ends])
    worst = np.where(labels == 1, named.all(axis=0), named.any(axis=0))
    expected = metrics.classification(labels, worst)
    assert row["f1"]["macro"] == pytest.approx(expected["macro_f1"]) and 0 < expected["macro_f1"] < 1
    assert row["accuracy"] == pytest.approx((worst & (labels == 1)).any(axis=1).mean())
    assert row["macro_sensitivity"] == pytest.approx(expected["macro_recall"])
    for one in ends:
        attacked = scores.row({"attack": "pgd", "epsilon": 0.1}, [one])
        for key in ("accuracy", "macro_sensitivity", "macro_specificity"):
            assert row[key] <= attacked[key]
        assert row["f1"]["macro"] <= attacked["f1"]["macro"]


def linear_model(size=8):
    keras.utils.set_random_seed(0)
    inputs = layers.Input((size, size, 1))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))


def test_of_a_linear_model_the_certified_score_is_what_an_attack_on_each_label_leaves():
    splits, model, epsilon = make_splits((8, 8, 60)), linear_model(), 8 / 255
    images, labels = splits.test.images / np.float32(255), splits.test.labels
    found = certification.of(model, splits.test, epsilon)
    worst = found.worst(splits.task, labels)
    for label in range(3):
        weights = losses.direction(labels.astype(np.float32), label)
        settings = {"epsilon": epsilon, "loss": losses.linear, "precision": "float32"}
        attacked = model(gradient.fgsm(model, images, weights, **settings)).numpy()
        np.testing.assert_allclose(worst[:, label], attacked[:, label], atol=1e-3)
        ours, theirs = (metrics.auc(labels, logits)[label] for logits in (worst, attacked))
        assert ours <= theirs == pytest.approx(ours, abs=0.01)
    assert found.excess([model(images).numpy()]) < 0


def test_pieces_of_a_split_are_put_together_and_unknown_bounds_say_nothing(monkeypatch):
    splits = make_splits((8, 8, 30))
    whole = certification.of(linear_model(), splits.test, 0.1)
    monkeypatch.setattr(certification, "SHARE", 256 * 28 * 28 // (8 * 8 * 8))  # eight images at once
    pieces = certification.of(linear_model(), splits.test, 0.1)
    np.testing.assert_allclose(whole.low, pieces.low, atol=1e-5)
    np.testing.assert_allclose(whole.high, pieces.high, atol=1e-5)
    model = linear_model()
    model.layers[-1].kernel.assign(np.full((64, 3), 3e38, np.float32))
    lost = certification.of(model, splits.test, 0.1)
    assert (lost.low == -np.finfo(np.float32).max).any() and np.isfinite(lost.low).all()
    assert (lost.high == np.finfo(np.float32).max).all()


def write(path, splits):
    arrays = {
        f"{part}_{what}": getattr(split, what) for part, split in splits.parts.items() for what in ("images", "labels")
    }
    np.savez(path, **arrays | {"label_names": list(splits.label_names)})


def trained(splits):
    keras.utils.set_random_seed(0)
    shape, activation = splits.image_shape, splits.task.activation
    classifier = models.build("certified_cnn", shape, len(splits.label_names), activation=activation)
    classifier.compile("adam", "binary_crossentropy")
    classifier.fit(splits.train.images / 255, splits.train.labels, epochs=3, verbose=0)
    return classifier


def bounds_of(found):
    return [row for row in found["evaluations"] if row["attack"] == "certified"]


def within(found, bound):
    """Rows of attacks inside the ball of a certified row."""
    rows = [row for row in found["evaluations"] if row["attack"] != "certified"]
    return [row for row in rows if row["epsilon"] <= bound["epsilon"]]


def check_bracket(found, printed):
    """Certified rows lie below all that is inside their balls, and the table says so."""
    near, far = bounds_of(found)
    assert [near["epsilon"], far["epsilon"]] == [1 / 255, 4 / 255]
    assert far["macro_auc"] <= near["macro_auc"] and far["unchanged"] <= near["unchanged"] <= 1
    for bound in (near, far):
        assert bound["attack"] == "certified" and bound["excess"] <= 0
        inside = within(found, bound)
        for name, value in bound["per_label_auc"].items():
            assert value <= min(row["per_label_auc"][name] for row in inside)
        lowest = min(row["macro_auc"] for row in inside)
        assert bound["macro_auc"] <= lowest
        assert f"{bound['macro_auc']:.4f} to {lowest:.4f}" in printed
    assert f"{100 * far['unchanged']:.1f} %" in printed
    line = next(line for line in found["audit"] if line["name"] == "certified is a lower bound")
    assert line["status"] == "passed"


def test_the_script_prints_between_which_scores_the_truth_lies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = make_splits((20, 20, 40))
    write("data.npz", splits)
    trained(splits).save("model.keras")
    settings = ["--data", "data.npz", "--epsilons", "0", "1/255", "4/255", "--steps", "3", "--resamples", "20"]
    evaluate.main(["model.keras", "--certify", *settings, "--name", "found"])
    found = json.loads((tmp_path / "evaluations" / "found.json").read_text())
    check_bracket(found, capsys.readouterr().out)
    for bound in bounds_of(found):
        inside = within(found, bound)
        assert bound["f1"]["macro"] <= min(row["f1"]["macro"] for row in inside)


def test_classes_are_certified_one_against_the_rest():
    splits = make_splits((20, 20, 40), task="multi-class")
    settings = {"epsilon": (1 / 255, 4 / 255), "steps": 3, "resamples": 20, "certify": True}
    classes = splits.test.labels.argmax(axis=1)
    found = chestrobust.evaluate(trained(splits), splits.test.images, classes, **settings)
    check_bracket(found.results, str(found))


def test_a_model_that_cannot_be_certified_is_refused_before_it_is_attacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = make_splits(task="binary", num_labels=1)
    write("data.npz", splits)
    inputs = layers.Input((8, 8, 1))
    x = layers.LayerNormalization(name="norm")(layers.Flatten()(inputs))
    keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)).save("model.keras")
    with pytest.raises(ModelError, match="Received: norm, LayerNormalization"):
        evaluate.main(["model.keras", "--certify", "--data", "data.npz"])
    assert not list(tmp_path.glob("evaluations/*.json"))
