"""Strangers' models from the command line and with classes of their own."""

import json
import os
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits
from keras import layers

import chestrobust
import diagnosis_adv
import evaluate
from chestrobust import models, runs
from chestrobust.data import ranges
from chestrobust.errors import ExpectedError, RunError
from chestrobust.evaluation import cache

QUICK = ["--data", "pneumoniamnist.npz", "--data-dir", "cache", "--epochs", "1", "--train-steps", "1", "--steps", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a binary set and a two-column softmax model of it, of pixels from -1 to 1 in half its size."""
    folder = tmp_path_factory.mktemp("strangers")
    splits = make_splits((48, 32, 24), size=28, task="binary", num_labels=1)
    arrays = {}
    for part, split in splits.parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((14, 14, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    images = keras.ops.image.resize(splits.train.images / 127.5 - 1, (14, 14))
    model.fit(np.repeat(images, 3, axis=-1), splits.train.labels, epochs=15, verbose=0)
    model.save(folder / "mine.keras")
    return folder


def test_training_starts_from_any_file_and_compares_with_it(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    settings = [*QUICK, "--input-range", "-1", "1", "--learning-rate", "0.01"]
    diagnosis_adv.main([*settings, "--init-from", "mine.keras", "--run", "adv"])
    said = capsys.readouterr().out
    assert "Put around mine.keras: resized from 28x28 to 14x14; gray to RGB; pixels from 0 ... 1 to -1 ... 1;" in said
    results = json.loads(Path("adv/results.json").read_text())
    assert results["model"]["name"] == "mine.keras"
    splits = chestrobust.data.load("pneumoniamnist.npz", data_dir="cache")
    before = models.opened(Path("mine.keras"), splits, ranges.parse(["-1", "1"]))
    after = models.opened(Path("adv/model.keras"), splits)
    kept = models.opened(Path("adv/baseline/model.keras"), splits)
    images = splits.test.images.astype(np.float32) / 255
    np.testing.assert_allclose(kept.model(images), before.model(images), atol=1e-4)
    assert np.abs(after.model(images) - before.model(images)).max() > 1e-3
    assert after.adapters == ()
    found, reason = runs.baseline_of(Path("adv"), results)
    assert (found.resolve(), reason) == (Path("adv/baseline/model.keras").resolve(), None)

    with pytest.raises(ExpectedError, match="brings its own"):
        diagnosis_adv.main([*settings, "--init-from", "mine.keras", "--run", "new", "--model", "vgg"])
    with pytest.raises(RunError, match="would remove"):
        diagnosis_adv.main([*settings, "--init-from", "adv/last.keras", "--run", "adv", "--overwrite"])
    with pytest.raises(RunError, match=r"--model cnn.*mine\.keras"):
        diagnosis_adv.main([*settings, "--init-from", "adv", "--run", "new"])


def test_what_was_put_around_is_said(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    data = QUICK[:4]
    settings = ["--input-range", "-1", "1", "--epsilons", "0", "4/255", "--steps", "1", "--resamples", "10"]
    assert evaluate.main(["mine.keras", *data, *settings]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Put around the model: ")]
    assert len(said) == 1
    assert "two columns to one" in said[0]


def scores(name, *options):
    """What an evaluation of `mine.keras` under a name says of clean and attacked images."""
    settings = ["--epsilons", "0", "16/255", "--steps", "1", "--resamples", "10", "--name", name]
    assert evaluate.main(["mine.keras", *QUICK[:4], *settings, *options]) == 0
    return json.loads(Path(f"evaluations/{name}.json").read_text())["evaluations"]


def test_another_range_of_pixels_is_another_model(place, monkeypatch):
    monkeypatch.chdir(place)
    wide, narrow = ["--input-range", "-1", "1"], ["--input-range", "standardized", "0.5", "0.4"]
    before = scores("again", *wide)
    after = scores("again", *narrow)
    assert after == scores("new", *narrow)
    assert all(one["brier"] != other["brier"] for one, other in zip(before, after, strict=True))


def test_other_code_of_a_class_is_another_model(place, monkeypatch):
    monkeypatch.chdir(place)
    code = """
import keras

@keras.saving.register_keras_serializable("test_strangers")
class Own(keras.layers.Layer):
    def call(self, x):
        return x * {factor}
"""

    def made(factor):
        Path("own.py").write_text(code.format(factor=factor))
        module = runpy.run_path("own.py")
        x = inputs = keras.Input((28, 28, 1))
        for layer in (layers.Flatten(), module["Own"]()):
            x = layer(x)
        model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
        return cache.identity(Path("mine.keras"), model, ())

    assert made(1) == made(1) != made(2)


def test_a_model_without_a_fast_twin_is_told_in_one_line(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    settings = ["--epsilons", "0", "4/255", "--steps", "1", "--resamples", "10"]
    x = inputs = keras.Input((28, 28, 1))
    for layer in (layers.Conv2D(4, 3, strides=2), layers.GroupNormalization(2, name="groups"), layers.Flatten()):
        x = layer(x)
    keras.Model(inputs, layers.Dense(2, activation="softmax")(x)).save("grouped.keras")
    assert evaluate.main(["grouped.keras", *QUICK[:4], *settings]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: the fast twin")]
    assert len(notes) == 1
    assert "GroupNormalization (groups)" in notes[0]


class Subclassed(keras.Model):
    """A model with a `call` of its own, as people write them, which Keras isn't told of."""

    def __init__(self, width=4, **settings):
        super().__init__(**settings)
        self.width = width
        self.hidden, self.head = layers.Dense(width, activation="tanh"), layers.Dense(1, activation="sigmoid")

    def build(self, shape):
        self.hidden.build((None, int(np.prod(shape[1:]))))
        self.head.build((None, self.width))

    def call(self, images):
        return self.head(self.hidden(keras.ops.reshape(images, (-1, self.hidden.kernel.shape[0]))))

    def get_config(self):
        return {"width": self.width}


def subclassed(splits):
    keras.utils.set_random_seed(0)
    model = Subclassed()
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(splits.train.images.astype(np.float32) / 255, splits.train.labels, epochs=15, verbose=0)
    return model


def test_a_model_with_a_call_of_its_own_is_evaluated_and_hardened():
    splits = make_splits((48, 32, 24), size=8, task="binary", num_labels=1)
    model = subclassed(splits)
    val = {"val_images": splits.val.images, "val_labels": splits.val.labels}
    val["custom_objects"] = {"Subclassed": Subclassed}
    found = chestrobust.evaluate(model, *part(splits.test), **val, steps=2, resamples=10).results
    assert found["adapters"] == ["logits computed from its probabilities"]
    images = splits.test.images.astype(np.float32) / 255
    assert found["agreement"]["largest_difference"] < 1e-5
    robust = chestrobust.harden(model, *part(splits.train), **val, epochs=1, train_steps=1, learning_rate=0.01)
    assert np.abs(robust(images) - model(images)).max() > 1e-4


def part(split):
    return split.images, split.labels


@pytest.mark.slow
def test_a_published_xception_is_evaluated_in_one_command_and_equals_a_wrapper_by_hand(samples, tmp_path, monkeypatch):
    if not (given := os.environ.get("CHESTROBUST_XCEPTION")):
        pytest.skip("CHESTROBUST_XCEPTION names no file: the Xception of the package pneumonia-model-package")
    monkeypatch.chdir(tmp_path)
    shutil.copy(given, "xception.keras")
    shutil.copy(samples / "pneumoniamnist.npz", tmp_path)
    data, pixels = ["--data", "pneumoniamnist.npz", "--limit", "24"], ["--input-range", "-1", "1"]
    assert evaluate.main(["xception.keras", *data, *pixels, "--epsilons", "0", "4/255", "--steps", "2"]) == 0

    splits = chestrobust.data.load("pneumoniamnist.npz", limit=24)
    found = models.opened(Path("xception.keras"), splits, ranges.parse(["-1", "1"]))
    images = splits.test.images.astype(np.float32)
    large = np.repeat(keras.ops.image.resize(images, (150, 150)), 3, axis=-1)
    columns = keras.models.load_model("xception.keras", compile=False).predict(large / 127.5 - 1, verbose=0)
    expected = keras.ops.softmax(columns)[:, 1]
    np.testing.assert_allclose(keras.ops.sigmoid(found.model(images / 255))[:, 0], expected, atol=1e-5)
    assert found.activation == "linear"
