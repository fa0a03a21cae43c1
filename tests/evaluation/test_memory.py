"""`chestrobust.evaluate` and `chestrobust.harden` on arrays, for the kinds of models that people bring."""

import functools
import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import chestrobust
from chestrobust import models
from chestrobust.data import arrays
from chestrobust.errors import DataError, ExpectedError, ModelError, TrainingError
from chestrobust.evaluation import published, smoothing

FEW = {"epsilon": 8 / 255, "steps": 3, "resamples": 10}


def made(count, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(60, 160, (count, 8, 8))
    images[labels == 1, :3] += 40
    return images.astype(np.uint8), labels


TRAIN, VAL, TEST = made(64, 0), made(48, 1), made(40, 2)


def classifier(kind):
    """An untrained model, what its pixels are made by, and its loss."""
    keras.utils.set_random_seed(0)
    size = (16, 16, 3) if kind == "nested" else (8, 8, 1)
    inputs = x = keras.Input(size)
    if kind == "bytes":
        x = layers.Rescaling(1 / 255)(x)
    if kind == "nested":
        inside = keras.Input(size)
        features = layers.Conv2D(6, 5, strides=2, activation="tanh", dtype="mixed_float16")(inside)
        x = keras.Model(inside, layers.GlobalAveragePooling2D()(features), name="backbone")(x)
    x = layers.Flatten()(x)
    if kind == "softmax":
        return keras.Model(inputs, layers.Dense(2, activation="softmax")(x)), "sparse_categorical_crossentropy"
    if kind == "logits":
        return keras.Model(inputs, layers.Dense(1)(x)), keras.losses.BinaryCrossentropy(from_logits=True)
    if kind == "sequential":
        body = [keras.Input(size), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
        return keras.Sequential(body), "binary_crossentropy"
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x)), "binary_crossentropy"


@functools.cache
def trained(kind):
    """A model that tests share, as nothing may change it."""
    model, loss = classifier(kind)
    images = TRAIN[0][..., None].astype(np.float32) / (1 if kind == "bytes" else 255)
    if kind == "nested":
        images = images.repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(images, TRAIN[1], epochs=25, batch_size=16, verbose=0)
    return model


KINDS = (
    "sequential",
    "bytes",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("logits", "softmax", "nested")),
)


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_model_is_evaluated_and_hardened(kind):
    model, options = trained(kind), {"val_images": VAL[0], "val_labels": VAL[1]}
    before = [weights.copy() for weights in model.get_weights()]
    if kind == "bytes":
        with pytest.raises(ModelError, match=r'input_range="0 255"'):
            chestrobust.evaluate(model, *TEST, **options, **FEW)
        options["input_range"] = (0, 255)
    found = chestrobust.evaluate(model, *TEST, **options, **FEW)
    clean, *attacked = [row["macro_auc"] for row in found.results["evaluations"]]
    assert clean > 0.8
    assert min(attacked) < clean
    robust = chestrobust.harden(
        *(model, *TRAIN, 8 / 255), **options, epochs=2, batch_size=16, train_steps=2, learning_rate=0.01
    )
    assert (robust.input_shape, robust.output_shape) == (model.input_shape, model.output_shape)
    for old, new in zip(before, robust.get_weights(), strict=True):
        assert not np.array_equal(old, new)
    for kept, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


@pytest.mark.slow
def test_every_method_that_makes_images_anew_hardens():
    model = trained("sequential")
    options = {"val_images": VAL[0], "val_labels": VAL[1], "epochs": 1, "batch_size": 16, "learning_rate": 0.01}
    for method in ("fast", "awp", "free", "trades"):
        robust = chestrobust.harden(*(model, *TRAIN, 8 / 255), **options, method=method)
        assert not np.array_equal(model.get_weights()[0], robust.get_weights()[0])
    with pytest.raises(DataError, match=r"harden: expected a method .* Received static"):
        chestrobust.harden(*(model, *TRAIN, 8 / 255), **options, method="static")


def test_a_model_that_training_can_not_change_is_refused():
    model, options = trained("sequential"), {"val_images": VAL[0], "val_labels": VAL[1], "epochs": 1}
    with pytest.raises(TrainingError, match="change weights"):
        chestrobust.harden(model, *TRAIN, **options, learning_rate=1e-30)
    frozen = keras.models.clone_model(model)
    frozen.set_weights(model.get_weights())
    frozen.trainable = False
    with pytest.raises(TrainingError, match="trainable"):
        chestrobust.harden(frozen, *TRAIN, **options)


def test_the_result_says_itself_and_is_written(tmp_path):
    found = chestrobust.evaluate(trained("sequential"), *TEST, val_images=VAL[0], val_labels=VAL[1], **FEW)
    wanted = r"Clean AUC 0\.\d{3}; worst of \d+ attacks 0\.\d\d .*at 8/255; .* Trust: \d+ of \d+ checks"
    assert re.match(wanted, found.verdict)
    assert "| clean" in str(found)
    assert str(found).endswith(f"\n\n{found.verdict}")
    assert " passed  perturbation" in found.tables() and " passed  perturbation" not in str(found)
    folder = found.save(tmp_path / "new")
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(found.to_json())
    assert (folder / "evaluation.png").stat().st_size > 1000
    assert {line["name"] for line in found.audit} >= {"logits give the answers", "input range"}


def test_smoothing_is_an_argument_and_tells_what_it_tells_of_a_file():
    model = trained("sequential")
    found = chestrobust.evaluate(model, *TEST, **FEW, smooth=0.1, draws=50)
    told = found.results["smoothed"]
    assert (told["sigma"], told["draws"], found.results["config"]["smooth"]) == (0.1, 50, 0.1)
    splits, pixels = arrays.splits(*TEST), arrays.pixel_range(None)
    logits = models.understood(model, splits, pixel_range=pixels).model
    apart = smoothing.smoothed(logits, splits.task, splits.test.images, np.full(1, 0.5), sigma=0.1, draws=50)
    assert told["radii"]
    for row in told["radii"]:
        shares = apart.shares(splits.test.labels, row["radius"])
        assert shares == (row["macro_sensitivity"], row["macro_specificity"])
    assert told["radii"][0]["macro_sensitivity"] > 0.5
    assert "So many draws prove nothing above" in str(found)
    assert "smoothed" not in chestrobust.evaluate(model, *TEST, **FEW).results


def test_classes_have_a_robust_accuracy_beside_the_joint_score():
    rng, classes = np.random.default_rng(0), np.arange(40) % 3
    images = rng.integers(60, 160, (40, 8, 8)).astype(np.uint8)
    for one in range(3):
        images[classes == one, 2 * one : 2 * one + 2] += 40
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images[..., None] / 255, classes, epochs=25, batch_size=16, verbose=0)
    found = chestrobust.evaluate(model, images, classes, **{**FEW, "epsilon": 16 / 255}, suite="standard", queries=5)
    rows = {row["attack"]: row for row in found.results["evaluations"]}
    robust = rows["joint"]["robust_accuracy"]
    # No attack fools more images than all of them together.
    assert 0 < robust <= min(row["accuracy"] for name, row in rows.items() if name not in published.EACH_LABEL)
    assert robust < rows["clean"]["accuracy"]
    assert f"an image being lost if any attack fools it: {robust:.4f} at epsilon" in str(found)
    assert [name for name, row in rows.items() if "robust_accuracy" in row] == ["joint"]


def test_floats_of_the_range_are_the_same_images():
    whole = arrays.splits(*TEST).test.images
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        floats = TEST[0] / 255 * (high - low) + low
        found = arrays.splits(floats, TEST[1], pixel_range=arrays.pixel_range((low, high))).test.images
        np.testing.assert_allclose(found, whole, atol=1e-3)


def test_whoever_calls_from_python_is_told_of_arguments(tmp_path):
    other_files = tmp_path / "notes"
    other_files.mkdir()
    (other_files / "mine.txt").touch()
    found = chestrobust.evaluate(trained("sequential"), *TEST, **FEW)
    lines = {line["name"]: line["text"] for line in found.audit}
    assert lines["Square is weaker"] == 'needs suite="standard"'
    assert lines["transfer is weaker"] == "needs transfer_from"
    assert 'input_range="' in lines["input range"]
    assert not [text for text in lines.values() if " --" in text or "(--" in text]
    with pytest.raises(ModelError, match=r'Give input_range="0 255", so that'):
        chestrobust.evaluate(trained("bytes"), *TEST, **FEW)
    with pytest.raises(ExpectedError, match=r"^input_range: expected LOW HIGH"):
        chestrobust.harden(trained("sequential"), *TRAIN, val_images=VAL[0], val_labels=VAL[1], input_range="255 0")
    with pytest.raises(ExpectedError, match=r"^beta: expected method trades\. .* Leave beta out\.$"):
        chestrobust.harden(trained("sequential"), *TRAIN, val_images=VAL[0], val_labels=VAL[1], beta=3.0)
    with pytest.raises(ExpectedError, match=r"Choose another folder\.$"):
        chestrobust.harden(trained("sequential"), *TRAIN, val_images=VAL[0], val_labels=VAL[1], folder=other_files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suite": "standart"}, r"^suite: expected one of .*Received: standart\. Did you mean standard\?$"),
        ({"restarts": 0}, r"^restarts: expected a whole number >= 1\. Received: 0$"),
        ({"steps": 2.5}, r"^steps: expected a whole number"),
        ({"epsilon": 8}, r"^epsilon: images run from 0 to 1.*Did you mean 8\.0/255\?"),
        ({"certify": "no"}, r"^certify: expected True or False\. Received: no\.$"),
        ({"smooth": 0}, r"^smooth: expected a length above 0\. Received: 0$"),
        ({"smooth": 25}, r"^smooth: images run from 0 to 1.*Did you mean 25/255\?"),
        ({"smooth": 0.1, "draws": 0}, r"^draws: expected a whole number >= 1\. Received: 0$"),
    ],
)
def test_options_of_an_evaluation_are_those_of_the_command_line(options, message):
    with pytest.raises(ExpectedError, match=message):
        chestrobust.evaluate(classifier("sequential")[0], *TEST, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pdg"}, r"^method: expected one of .*Did you mean pgd\?$"),
        ({"epsilon": 8}, r"^epsilon: images run from 0 to 1"),
        ({"batch_size": 0}, r"^batch_size: expected a whole number >= 1"),
        ({"loss": "nope"}, r"^loss: expected one of"),
        ({"epoch": 3}, r"^harden: expected options of diagnosis_adv\.py\. .*epoch"),
    ],
)
def test_options_of_a_training_are_those_of_the_command_line(options, message):
    with pytest.raises(ExpectedError, match=message):
        chestrobust.harden(classifier("sequential")[0], *TRAIN, val_images=VAL[0], val_labels=VAL[1], **options)


def test_without_validation_images_thresholds_are_a_half():
    found = chestrobust.evaluate(trained("sequential"), *TEST, **FEW).results
    assert set(found["thresholds"].values()) == {0.5}
    assert found["data"]["note"] == arrays.NO_VALIDATION


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (TEST[0].astype(np.float32), TEST[1], {}, "input_range"),
        (np.full(TEST[0].shape, np.nan), TEST[1], {}, "expected floats"),
        (TEST[0].astype(np.int32), TEST[1], {}, "int32"),
        (TEST[0], TEST[1] + 0.5, {}, "0 and 1"),
        (TEST[0], TEST[1][:3], {}, "expected labels for 40"),
        (TEST[0], TEST[1], {"label_names": ("a", "b", "c")}, "label_names"),
        (TEST[0], TEST[1], {"val_images": VAL[0]}, "both or none"),
        (TEST[0], TEST[1].astype(float) * np.nan, {}, "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, options, message):
    with pytest.raises(DataError, match=message):
        arrays.splits(images, labels, **options)


def test_labels_tell_the_task():
    images = TEST[0][:6]
    assert arrays.splits(images, [0, 1, 0, 1, 1, 0]).task == "binary"
    assert arrays.splits(images, [0, 1, 2, 1, 1, 0]).test.labels.shape == (6, 3)
    assert arrays.splits(images, np.eye(3)[[0, 1, 2, 1, 1, 0]]).task == "multi-class"
    assert arrays.splits(images, np.uint8([[1, 1], [0, 0]] * 3)).task == "multi-label"
    assert arrays.splits(images, [0, 1, 0, 1, 1, 0], task="multi-class").test.labels.shape == (6, 2)


def test_the_examples_of_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from chestrobust.evaluation import memory
    from chestrobust.training import hardening

    known = {"model": trained("sequential"), "images": TEST[0], "labels": TEST[1]}
    known |= {
        "val_images": VAL[0],
        "val_labels": VAL[1],
        "test_images": TEST[0],
        "test_labels": TEST[1],
        "few": {"steps": 1, "resamples": 10},
    }
    for module in (memory, hardening):
        lines = [line[4:] for line in module.__doc__.splitlines() if line.startswith("    ")]
        text = "\n".join(lines).replace("epochs=20", "epochs=1")
        text = text.replace(").verdict", ", **few).verdict").replace(
            "val_labels=val_labels\n", "val_labels=val_labels, **few\n"
        )
        exec(compile(text, module.__name__, "exec"), dict(known))
    assert (tmp_path / "evaluation" / "evaluation.json").is_file()
    assert (tmp_path / "robust.keras").is_file()


def test_floats_train_as_bytes_do():
    options = {"val_images": VAL[0], "val_labels": VAL[1], "epochs": 1, "train_steps": 1, "learning_rate": 0.01}
    model, found = trained("sequential"), []
    for images, val in ((TRAIN[0], VAL[0]), (TRAIN[0] / 255, VAL[0] / 255)):
        robust = chestrobust.harden(model, images, TRAIN[1], 8 / 255, **options | {"val_images": val})
        found.append(robust.get_weights())
    for of_bytes, of_floats in zip(*found, strict=True):
        np.testing.assert_allclose(of_floats, of_bytes, atol=1e-5)
