"""One change for all images: by hand on a linear model, and as `evaluate.py --extra` applies it."""

import argparse
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from keras import layers

import evaluate
from chestrobust import commandline
from chestrobust.attacks import named, universal
from chestrobust.evaluation import outcomes
from chestrobust.tasks import Task

WEIGHTS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(60, 200, (300, 4, 4, 1)).astype(np.uint8)


def linear(images, training=False):
    return tf.reshape(images, (-1, 16)) @ WEIGHTS[:, :1]


def curved(images, training=False):
    return tf.sin(tf.reshape(images, (-1, 16)) @ (30 * WEIGHTS))


@pytest.mark.parametrize(("wanted", "direction"), [(0, -1), (1, 1)])
def test_of_a_linear_model_the_best_change_is_the_sign_of_its_weights(wanted, direction):
    change = universal.fit(linear, IMAGES, wanted=wanted, epsilon=4 / 255, steps=20)
    expected = direction * 4 / 255 * np.sign(WEIGHTS[:, 0])
    np.testing.assert_allclose(change.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "direction"), [("universal-hide", -1), ("universal-invent", 1)])
def test_of_a_finding_it_is_the_sign_of_its_own_weights(name, direction):
    def both(images, training=False):
        return tf.reshape(images, (-1, 16)) @ WEIGHTS

    changes = [named.of(name, label=label, epsilon=4 / 255, seed=0).fitted(both, IMAGES).change for label in (0, 1)]
    for weights, change in zip(WEIGHTS.T, changes, strict=True):
        np.testing.assert_allclose(change.ravel(), direction * 4 / 255 * np.sign(weights), atol=1e-6)
    assert (np.sign(WEIGHTS[:, 0]) != np.sign(WEIGHTS[:, 1])).any()


def test_a_finding_may_be_named_or_not():
    for text in ("universal-hide", "universal-hide=mass", "invent=mass", "hide"):
        assert commandline.extra_attack(text) == text
    for text in ("invent", "hide=mass", "universal"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"universal-hide\[=FINDING\]"):
            commandline.extra_attack(text)


def test_a_change_is_of_whole_grey_levels_inside_the_ball():
    for epsilon, levels in ((0.03, 7), (2 / 255, 2), (0.9 / 255, 0)):
        change = universal.fit(linear, IMAGES, wanted=1, epsilon=epsilon, steps=7)
        assert np.abs(255 * change).max() == pytest.approx(levels, abs=1e-4)
        for model in (linear, curved):  # The second goes to and fro, and ends between the ends.
            levels = 255 * universal.fit(model, IMAGES, wanted=1, epsilon=epsilon, steps=7)
            np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_it_is_a_function_of_the_seed_and_every_image_has_its_turn():
    settings = {"wanted": 1, "epsilon": 8 / 255, "steps": 9}
    first, again = (universal.fit(curved, IMAGES, seed=0, **settings) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (universal.fit(curved, IMAGES, seed=1, **settings) != first).any()
    passed = [universal._drawn(300, 100, step, 0) for step in range(6)]
    np.testing.assert_array_equal(np.sort(np.concatenate(passed[:3])), np.arange(300))
    assert (passed[0] != passed[3]).any()


def test_it_is_added_to_every_test_image_and_needs_training_images():
    split = make_splits((8, 8, 20), size=4, task="binary", num_labels=1).test
    attack = named.of("universal-invent", epsilon=8 / 255, seed=0, steps=3)
    assert (attack.steps, attack.title) == (200, "universal invent-200, epsilon 0.0314 (8/255)")
    with pytest.raises(ValueError, match="fitted"):
        attack(linear, IMAGES / 255, np.zeros((300, 1)), task=Task.BINARY, indices=np.arange(300))
    outcome = outcomes.run(linear, Task.BINARY, split, attack.fitted(linear, IMAGES))
    images = split.images / np.float32(255)
    expected = linear(np.clip(images + (8 / 255 * np.sign(WEIGHTS[:, 0])).reshape(4, 4, 1), 0, 1).astype(np.float32))
    np.testing.assert_allclose(outcome.logits, expected, atol=1e-5)
    assert outcome.largest <= 8 / 255 + 1e-6


def test_the_script_reports_it_beside_what_an_auc_does_not_see(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = make_splits((60, 30, 40), task="binary", num_labels=1)
    parts = splits.parts.items()
    arrays = {f"{part}_{what}": getattr(split, what) for part, split in parts for what in ("images", "labels")}
    np.savez("data.npz", **arrays | {"label_names": list(splits.label_names)})
    keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.Flatten()(inputs)))
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    model.fit(splits.train.images / 255, splits.train.labels, epochs=20, verbose=0)
    model.save("model.keras")
    settings = ["--data", "data.npz", "--epsilons", "0", "30/255", "--steps", "2", "--resamples", "20", "--name", "x"]
    evaluate.main(["model.keras", *settings, "--extra", "universal-hide", "universal-invent"])
    rows = {row["attack"]: row for row in json.loads((tmp_path / "evaluations" / "x.json").read_text())["evaluations"]}
    clean, hide, invent = (rows[name] for name in ("clean", "universal-hide", "universal-invent"))
    # Of a linear model it is a constant, but for pixels that end at 0 or 1.
    assert hide["macro_auc"] == pytest.approx(clean["macro_auc"], abs=0.05)
    assert hide["macro_sensitivity"] < clean["macro_sensitivity"]
    assert invent["macro_specificity"] < clean["macro_specificity"]
    assert hide["max_perturbation"] <= 30 / 255 + 1e-6
    assert "universal hide-200" in capsys.readouterr().out
