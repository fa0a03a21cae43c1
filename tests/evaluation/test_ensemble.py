"""Combinations of hand-made models with known answers, and `ensemble.py` as a user runs it."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from scipy.special import expit, logit, softmax
from sklearn.metrics import f1_score

import ensemble
from chestrobust import config, models, runs
from chestrobust.attacks import named
from chestrobust.errors import ExpectedError
from chestrobust.evaluation import ensembles, metrics
from chestrobust.tasks import Task

layers = keras.layers


@pytest.fixture(scope="module")
def logits():
    """Logits of three members for 40 images and 3 labels, and labels that they tell something about."""
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 3)) < 0.4).astype(np.uint8)
    return (rng.normal(size=(3, 40, 3)) + 2 * labels - 1).astype(np.float32), labels


def test_means_are_weighted_means(logits):
    values, labels = logits
    ways = ensembles.ways(Task.MULTI_LABEL, [2, 1, 1], values, labels)
    expected = np.average(expit(values.astype(np.float64)), axis=0, weights=[2, 1, 1])
    np.testing.assert_allclose(expit(ways["mean of probabilities"](values)), expected, rtol=1e-5)
    np.testing.assert_allclose(ways["mean of logits"](values), np.average(values, axis=0, weights=[2, 1, 1]), rtol=1e-4)
    classes = ensembles.mean_of_probabilities(Task.MULTI_CLASS, np.float32([0.5, 0.25, 0.25]))(values)
    expected = np.average(softmax(values.astype(np.float64), axis=-1), axis=0, weights=[2, 1, 1])
    np.testing.assert_allclose(softmax(classes, axis=-1), expected, rtol=1e-5)


def test_the_mean_of_probabilities_keeps_what_a_sigmoid_would_round_away():
    saturated = np.float32([[[60.0]], [[70.0]]])
    combined = ensembles.mean_of_probabilities(Task.MULTI_LABEL, np.float32([0.5, 0.5]))(saturated).numpy()
    assert combined[0, 0] == pytest.approx(60 + np.log(2), rel=1e-4)


def test_a_vote_is_the_share_of_members_above_their_own_thresholds():
    # The best F1 of member 0 is at a probability of 0.9 or more, of member 1 at 0.2.
    labels = np.uint8([[1], [1], [0], [0]])
    val = logit(np.float32([[[0.95], [0.9], [0.6], [0.5]], [[0.3], [0.2], [0.1], [0.1]]]))
    combine = ensembles.vote(Task.MULTI_LABEL, np.float32([0.75, 0.25]), val, labels)
    asked = logit(np.float32([[[0.92], [0.8], [0.8]], [[0.1], [0.25], [0.1]]]))
    np.testing.assert_allclose(expit(combine(asked))[:, 0], [0.75, 0.25, 0], atol=1e-5)


def test_ties_between_classes_go_to_the_more_probable_one():
    values = np.log(np.float32([[[0.6, 0.3, 0.1]], [[0.05, 0.05, 0.9]]]))
    assert ensembles.vote(Task.MULTI_CLASS, np.float32([0.5, 0.5]), None, None)(values).argmax() == 2
    assert ensembles.vote(Task.MULTI_CLASS, np.float32([0.6, 0.4]), None, None)(values).argmax() == 0


@pytest.mark.parametrize("task", [Task.MULTI_LABEL, Task.MULTI_CLASS])
def test_stacking_trusts_the_member_that_knows(task):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.uint8)[rng.integers(3, size=200)]
    knows, guesses = 4.0 * labels - 2 + rng.normal(size=labels.shape), 3 * rng.normal(size=labels.shape)
    values = np.float32([guesses, knows])
    combine = ensembles.stacking(task, np.float32([0.5, 0.5]), values, labels)
    assert metrics.macro(metrics.auc(labels, np.asarray(combine(values)))) > 0.98
    swapped = np.asarray(combine(values[::-1]))
    assert metrics.macro(metrics.auc(labels, swapped)) < 0.7


def test_two_classes_are_stacked_like_many():
    rng = np.random.default_rng(0)
    labels = np.eye(2, dtype=np.uint8)[rng.integers(2, size=100)]
    values = np.float32([2.0 * labels - 1 + rng.normal(size=labels.shape)])
    answers = softmax(ensembles.stacking(Task.MULTI_CLASS, np.float32([1]), values, labels)(values), axis=-1)
    assert np.mean(answers.argmax(axis=1) == labels.argmax(axis=1)) > 0.85


def test_a_label_that_validation_never_shows_gets_the_weights(logits):
    values, labels = logits
    labels = labels.copy()
    labels[:, 1] = 0
    combined = np.asarray(ensembles.stacking(Task.MULTI_LABEL, np.float32([0.5, 0.25, 0.25]), values, labels)(values))
    np.testing.assert_allclose(combined[:, 1], np.average(values[..., 1], axis=0, weights=[2, 1, 1]), rtol=1e-4)


def bright(part, gain, count=14):
    """A model whose logits are all `gain` times the mean brightness of the left or the right half, less its middle."""
    inputs = layers.Input((28, 28, 1))
    crop = ((0, 0), (0, 14) if part == "left" else (14, 0))
    x = layers.GlobalAveragePooling2D()(layers.Cropping2D(crop)(inputs))
    x = layers.Dense(count, name="logits")(x)
    model = keras.Model(inputs, layers.Activation("sigmoid")(x))
    model.set_weights([np.full((1, count), gain, np.float32), np.full(count, -gain / 2, np.float32)])
    return model


def test_attacks_climb_through_the_combination():
    members = [models.logits(bright(part, 10)) for part in ("left", "right")]
    images = np.full((2, 28, 28, 1), 0.5, np.float32)
    combined = ensembles.Combined(members, ensembles.mean_of_logits(np.float32([0.5, 0.5])))
    np.testing.assert_allclose(combined(tf.constant(images)), 0, atol=1e-5)
    attack = named.Attack("pgd", 0.1, 0.05, 4, 1, False, 0, precision="float32")
    labels = np.ones((2, 14), np.float32)
    # One member's attack darkens its own half, which moves half of the combination; its own darkens all.
    alone = attack(members[0], images, labels, task="multi-label", indices=np.arange(2))
    np.testing.assert_allclose(combined(tf.constant(alone)), -0.5, atol=1e-4)
    whole = attack(combined, images, labels, task="multi-label", indices=np.arange(2))
    np.testing.assert_allclose(combined(tf.constant(whole)), -1, atol=1e-4)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with `data.npz` and the runs `left` and `right`, models of one half of the image each."""
    monkeypatch.chdir(tmp_path)
    splits = make_splits((8, 16, 24), size=28, num_labels=14)
    rng, arrays = np.random.default_rng(0), {}
    for part, split in splits.parts.items():
        # All findings are there or none is, and then the image is brighter, by more than the noise.
        labels = np.repeat(np.arange(len(split))[:, None] % 2, 14, axis=1).astype(np.uint8)
        images = rng.normal(128, 20, (len(split), 28, 28)) + 8 * (2.0 * labels[:, :1, None] - 1)
        arrays |= {f"{part}_images": images.clip(0, 255).astype(np.uint8), f"{part}_labels": labels}
    np.savez("data.npz", **arrays)
    for part in ("left", "right"):
        options = config.BaselineConfig(
            data="data.npz", data_dir="cache", limit=20, run=part, epsilon=0.05, step_size=0.02, steps=4
        )
        run = runs.Run(Path(part))
        run.start(options)
        bright(part, 40).save(run.path / "model.keras")
        results = {"data": splits.summary(), "evaluations": [], "config": dataclasses.asdict(options)}
        run.write("results.json", json.dumps(results))
    return tmp_path


def test_members_and_combinations_are_scored_clean_transferred_and_end_to_end(here, capsys):
    ensemble.main(["left", "right", "--resamples", "20"])
    found = json.loads((here / "runs" / "ensemble" / "results.json").read_text())
    assert found["data"]["counts"]["test"] == 20
    assert found["config"]["members"] == ["left", "right"]
    rows = {(entry["model"], entry["through"]): entry for entry in found["evaluations"]}
    assert set(rows) == {
        *(("left", None), ("left", "left"), ("right", None), ("right", "right")),
        *(
            (way, source)
            for way in ensembles.ways(Task("binary"), [1], np.zeros((1, 2, 1)), np.uint8([[0], [1]]))
            for source in (None, "left", "right", "end to end")
        ),
    }
    mean = {source: rows["mean of logits", source]["macro_auc"] for source in (None, "left", "end to end")}
    assert mean[None] == 1
    assert rows["left", "left"]["macro_auc"] == 0
    # Through one member only half of the image is changed, by more than the difference in brightness.
    assert mean[None] >= mean["left"] > mean["end to end"] == 0
    for entry in rows.values():
        assert (entry["epsilon"], entry["steps"]) == ((0.05, 4) if entry["through"] else (0, None))
        low, high = entry["intervals"]["macro_auc"]
        assert low <= entry["macro_auc"] <= high
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"Report: {Path('runs', 'ensemble', 'report.html')}"
    assert "mean of logits" in (here / "runs" / "ensemble" / "report.html").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:4]] for line in printed.splitlines()]
    assert ["mean of logits", "PGD-AUC-4", "left"] in lines
    assert "end to end" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["left", "nowhere"], "finished run"),
        (["left", "right", "--weights", "1"], "each of the 2 members"),
        (["left", "few.keras"], "14 labels.* one for 3"),
        (["left", "named"], "other labels|for the labels"),
        (["left", "right", "--run", "left"], "finished run"),
        (["left", "right", "--run", "left", "--overwrite"], "would remove"),
    ],
)
def test_what_does_not_fit_is_refused(here, arguments, message):
    models.build_cnn((28, 28, 1), 3).save("few.keras")
    named = runs.Run(here / "named")
    named.start(config.BaselineConfig(data="data.npz", run="named"))
    (named.path / "model.keras").write_bytes((here / "left" / "model.keras").read_bytes())
    names = [f"label {number}" for number in range(14)]
    named.write("results.json", json.dumps({"data": {"label_names": names}}))
    with pytest.raises(ExpectedError, match=message):
        ensemble.main(arguments)


@pytest.fixture(scope="module")
def predictions(request):
    """Logits of three real models, `(3, 25596, 14)`, and the labels."""
    folder = request.config.rootpath.parent / "shared" / "data" / "nih_predictions"
    if not folder.is_dir():
        pytest.skip("real sample data are not beside this checkout (../shared/data)")
    archives = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npz"))]
    return np.stack([archive["test_logits"] for archive in archives]), archives[0]["test_labels"]


def test_real_models_combine_to_the_known_auc(predictions):
    values, labels = predictions
    weights = np.full(3, 1 / 3, np.float32)
    combined = ensembles.mean_of_probabilities(Task.MULTI_LABEL, weights)(values).numpy()
    assert metrics.macro(metrics.auc(labels, combined)) == pytest.approx(0.7292, abs=5e-5)
    assert len(values) == 3


def test_thresholds_from_one_half_of_real_patients_serve_the_other(predictions, samples):
    values, labels = predictions
    patients = np.load(samples / "nih_predictions" / "resnet18_seed0.npz")["test_patient"]
    first = patients % 2 == 0
    scores = expit(ensembles.mean_of_logits(np.full(3, 1 / 3, np.float32))(values).numpy().astype(np.float64))
    cuts = metrics.best_thresholds(labels[first], scores[first])
    own = metrics.classification(labels[first], scores[first] >= cuts)
    np.testing.assert_allclose(own["f1"], f1_score(labels[first], scores[first] >= cuts, average=None))
    other, half = (
        metrics.classification(labels[~first], scores[~first] >= threshold)["macro_f1"] for threshold in (cuts, 0.5)
    )
    assert other > half
    assert other == pytest.approx(own["macro_f1"], abs=0.03)


def test_stacking_real_models_is_no_worse_on_other_patients(predictions, samples):
    values, labels = predictions
    patients = np.load(samples / "nih_predictions" / "resnet18_seed0.npz")["test_patient"]
    first, weights = patients % 2 == 0, np.full(3, 1 / 3, np.float32)
    stacked = ensembles.stacking(Task.MULTI_LABEL, weights, values[:, first], labels[first])(values[:, ~first]).numpy()
    single = [metrics.macro(metrics.auc(labels[~first], member[~first])) for member in values]
    assert metrics.macro(metrics.auc(labels[~first], stacked)) > min(single)


@pytest.mark.slow
def test_a_combination_that_was_broken_off_is_begun_again(here, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(runs.Run, "finish", lambda *_, **__: 1 / 0)
        ensemble.main(["left", "right", "--resamples", "10", "--run", "again"])
    assert (here / "again" / "config.json").exists()
    ensemble.main(["left", "right", "--resamples", "10", "--run", "again"])
    assert (here / "again" / "results.json").exists()
    with pytest.raises(ExpectedError, match="holds a finished run"):
        ensemble.main(["left", "right", "--resamples", "10", "--run", "again"])
