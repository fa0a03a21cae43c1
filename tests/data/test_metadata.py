"""Age, sex and view beside the pixels: read by the model, out of an attacker's reach."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from test_folders import nih_folder

import diagnosis
import evaluate
import explain
from chestrobust import data, losses, models, runs
from chestrobust.attacks import gradient, named
from chestrobust.data import metadata
from chestrobust.data.lazy import Lazy, Rows
from chestrobust.data.splits import Split, as_floats, selection
from chestrobust.errors import DataError, RunError
from chestrobust.evaluation import audit, outcomes
from chestrobust.explaining import attributions
from chestrobust.models import graph
from chestrobust.reporting import figures, story
from chestrobust.tasks import Task
from chestrobust.training import augment

ATTRIBUTES = {
    "age": np.array([5, 18, 59, 60, np.nan, 95], np.float32),
    "sex": np.array(["F", "M", "", "F", "M", "F"]),
    "view": np.array(["PA", "AP", "L", "", "PA", "AP"]),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
VALUES = [[0, 0, 0], [64, 255, 255], [128, 128, 128], [191, 0, 128], [128, 255, 0], [255, 0, 255]]


@pytest.fixture
def images():
    """Six images of 8 x 8 with their metadata, uint8."""
    return metadata.joined(PIXELS, metadata.values(ATTRIBUTES))


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return models.logits(models.build("cnn", (8, 8, 4), 3))


def test_a_channel_of_an_image_is_what_is_known_of_its_patient(images):
    assert metadata.values(ATTRIBUTES).tolist() == VALUES
    assert images.shape == (6, 8, 8, 4)
    np.testing.assert_array_equal(images[:][..., :1], PIXELS)
    for index in (slice(1, 4), np.array([5, 0])):
        np.testing.assert_array_equal(images[index][:, 3, 5, 1:], np.array(VALUES)[index])
    assert images[2].shape == (8, 8, 4)
    np.testing.assert_array_equal(Rows(images, np.array([3, 1]))[:], images[np.array([3, 1])])
    np.testing.assert_array_equal(metadata.pixels(images[:]), PIXELS)
    assert metadata.pixels(PIXELS).shape == (6, 8, 8, 1)


def test_what_is_not_asked_for_is_not_made(images):
    split = Split(images, np.zeros((6, 1), np.uint8)).limited(4).view(np.array([0, 3]))
    assert isinstance(split.images, Lazy)
    assert (split.images.shape, split.images.dtype, split.images.ndim) == ((2, 8, 8, 4), np.uint8, 4)
    chosen = images[:][selection(6, 4)][[0, 3]]
    np.testing.assert_array_equal(split.images, chosen)
    floats = as_floats(split.images)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, chosen.astype(np.float32) / np.float32(255))


def test_the_model_reads_it_in_quarters_and_without_a_gradient(images, model):
    first = images[:1].astype(np.float32) / 255
    for channel in (1, 2, 3):
        other = first.copy()
        other[..., channel] = 1.0
        assert np.abs(model(other) - model(first)).max() > 1e-4
        other[..., channel] = 0.12
        np.testing.assert_array_equal(model(other), model(first))
    _, slopes = gradient.value_and_gradient(
        model, losses.binary_cross_entropy, tf.constant(first), np.eye(3, dtype=np.float32)[:1]
    )
    assert np.abs(slopes[..., :1]).max() > 0
    assert np.abs(slopes[..., 1:]).max() == 0


@pytest.mark.parametrize("name", ["pgd", "square"])
def test_an_attack_changes_what_the_model_sees_in_pixels_alone(images, model, name):
    clean, labels = images[:].astype(np.float32) / 255, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    attack = named.Attack(name, epsilon=0.1, step_size=0.03, steps=20, restarts=1, random_start=True, seed=0)
    adversarial = attack(model, clean, labels, task="multi-label", indices=np.arange(6))
    restored = np.concatenate([adversarial[..., :1], clean[..., 1:]], axis=-1)
    np.testing.assert_allclose(model(adversarial), model(restored), atol=1e-6)
    assert np.abs(model(adversarial) - model(clean)).max() > 1e-3


def test_the_audit_does_not_expect_that_pixels_take_metadata_away(images):
    """A model that only looks at the view, which is the label."""
    inputs = keras.layers.Input((8, 8, 4))
    view = keras.ops.round(keras.ops.mean(inputs[..., 3:], axis=(1, 2)))
    pixel = keras.layers.Dense(1, name="logits")(keras.ops.concatenate([view, inputs[:, 0, 0, :1]], axis=-1))
    model = keras.Model(inputs, pixel)
    model.set_weights([np.float32([[4.0], [1.0]]), np.float32([-2.0])])
    whole = np.tile(images[:], (8, 1, 1, 1))
    split = Split(whole, (whole[:, 0, 0, 3:] > 200).astype(np.uint8))
    lines = audit.of_split(model, Task("binary"), split, named.pgd_of(0.05, 5))
    assert next(line for line in lines if line.name == "falls with epsilon").status == audit.PASSED


def test_augmentation_leaves_it_alone(images):
    whole = tf.constant(images[:].astype(np.float32) / 255)
    changed = augment.augmented(whole, augment.PRESETS["vgg"], seed=(0, 0), indices=np.arange(6))
    np.testing.assert_array_equal(changed[..., 1:], whole[..., 1:])
    assert not np.array_equal(changed[..., :1], whole[..., :1])


def test_integrated_gradients_are_complete_and_pictures_show_pixels(images, model):
    whole = images[:].astype(np.float32) / 255
    values, pairs = attributions.integrated_gradients(model, whole, np.zeros(6, int), steps=256)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=0.01)
    assert np.abs(values[..., 1:]).max() == 0
    pictures = {"clean": whole[0], "PGD": whole[0]}
    answers = np.ones((2, 2))
    told = story.Told("run", figures.COLOURS[0], pictures, answers, answers == 1, None)
    figure = story.draw([told], ("a", "b"), np.array([True, False]), title="", note="")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), whole[0, :, :, 0])


def test_data_that_do_not_tell_it_are_refused():
    with pytest.raises(
        DataError,
        match=r"--metadata: expected data that tell age, sex, view.* Received corners, which doesn't tell age",
    ):
        metadata.beside(make_splits())


@pytest.mark.slow
def test_from_training_to_explaining(tmp_path, capsys):
    root = nih_folder(tmp_path / "nih", patients=30)
    given = f"--data nih --root {root} --run {tmp_path / 'run'} --epochs 1 --steps 1 --metadata".split()
    diagnosis.main([*given, "--model", "vgg", "--augment", "vgg"])
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["data"]["image_shape"] == [28, 28, 4]
    assert results["config"]["metadata"] is True
    plain = models.build("vgg", (28, 28, 1), 14).count_params()
    assert results["model"]["parameters"] == plain + 3 * 14
    assert evaluate.main([str(tmp_path / "run"), "--verify"]) == 0
    evaluate.main(
        [str(tmp_path / "run"), "--epsilons", "0", "0.03", "--steps", "1", "--resamples", "10", "--by", "sex"]
    )
    explain.main([str(tmp_path / "run")])
    assert "complete" in capsys.readouterr().out
    with pytest.raises(DataError, match="which doesn't tell age"):
        evaluate.main([str(tmp_path / "run"), "--data", "phantom", "--limit", "20"])
    with pytest.raises(RunError, match="image_shape"):
        runs.check_fits(runs.finished(tmp_path / "run"), data.load("nih", root=root))


@pytest.mark.slow
def test_a_backbone_takes_it_too(tmp_path):
    classifier = models.build("mobilenet_v2", (32, 32, 4), 2, attention="se")
    classifier.save(tmp_path / "model.keras")
    again = models.build("mobilenet_v2", (32, 32, 1), 2, weights=str(tmp_path / "model.keras"))
    first, second = (
        next(layer for layer in graph.layers(model) if layer.name == "backbone") for model in (classifier, again)
    )
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    plain, joined = (models.build("mobilenet_v2", (28, 28, channels), 2, backbone_size=64) for channels in (1, 4))
    assert outcomes._pixels(plain, (1, 28, 28, 1)) == outcomes._pixels(joined, (1, 28, 28, 4)) == 64 * 64
    assert classifier.output_shape == (None, 2)
    assert attributions.grad_cam(models.logits(classifier), np.zeros((1, 32, 32, 4), np.float32), [0]).shape == (
        1,
        32,
        32,
    )
