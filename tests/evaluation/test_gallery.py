"""The pictures of the report page: what is shown is inside the ball, and the answers beside it are those to it."""

import base64
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from PIL import Image
from scipy.special import expit

from chestrobust import devices, models
from chestrobust.evaluation import gallery
from chestrobust.models import transcript


def linear(sign):
    """A model whose logit of each label is how bright its rows are: `sign` turns it round."""

    def model(images, training=False):
        rows = tf.reduce_mean(tf.reshape(images, (-1, 8, 8)), axis=2)
        return sign * 20 * (tf.stack([rows[:, 0], rows[:, 2], rows[:, 4]], axis=1) - 0.35)

    return model


def pixels(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)


@pytest.fixture
def written(tmp_path):
    splits = make_splits((12, 12, 40))
    models = {"baseline": linear(1), "robust": linear(0.5)}
    gallery.write(models, splits, dict.fromkeys(models, np.full(3, 0.5)), tmp_path, precision="float32")
    return splits, models, json.loads((tmp_path / "gallery.json").read_text())


def test_images_are_inside_the_ball_and_their_answers_are_the_models(written):
    splits, models, found = written
    assert [round(255 * radius) for radius in found["radii"]] == list(gallery.LEVELS)
    assert len(found["patients"]) == 4
    for patient in found["patients"]:
        clean = pixels(patient["clean"])
        assert (clean == splits.test.images[patient["index"], ..., 0]).all()
        for name, attacked, answers in zip(models, patient["attacked"], patient["answers"], strict=True):
            versions = [clean, *map(pixels, attacked)]
            for level, version, answer in zip(gallery.LEVELS, versions, answers, strict=True):
                assert np.abs(version - clean).max() <= level
                logits = models[name](tf.constant(version[None] / 255, tf.float32)).numpy()[0]
                assert answer == pytest.approx(expit(logits), abs=1e-4)


def test_each_radius_is_used_up_to_hide_the_true_findings(written):
    _, models, found = written
    for patient in found["patients"]:
        true = [found["label_names"].index(name) for name in patient["present"]]
        for name, attacked in zip(models, patient["attacked"], strict=True):
            pictures = np.stack([pixels(text) for text in (patient["clean"], *attacked)])
            logits = models[name](tf.constant(pictures / 255, tf.float32)).numpy()[:, true]
            # Linear, and no pixel of a finding is near black: every one goes down by the whole radius.
            fall = {"baseline": 20, "robust": 10}[name] * np.array(gallery.LEVELS) / 255
            np.testing.assert_allclose(logits[0] - logits, fall[:, None] * np.ones(len(true)), atol=1e-3)


def test_the_patients_are_those_of_whom_every_model_names_a_true_finding(written):
    splits, _models, found = written
    for patient in found["patients"]:
        labels = splits.test.labels[patient["index"]]
        assert patient["present"] == [name for name, label in zip(splits.label_names, labels, strict=True) if label]
        for answers in patient["answers"]:
            assert (np.array(answers[0]) >= 0.5)[labels == 1].any()


def test_where_no_model_finds_anything_there_are_patients_all_the_same(tmp_path):
    splits = make_splits((12, 12, 40))
    gallery.write({"blind": linear(0)}, splits, {"blind": np.ones(3)}, tmp_path)
    assert len(json.loads((tmp_path / "gallery.json").read_text())["patients"]) == 4


def test_classes_have_no_thresholds(tmp_path):
    splits = make_splits((12, 12, 40), task="multi-class")
    gallery.write({"model": linear(1)}, splits, {"model": np.full(3, 0.5)}, tmp_path)
    found = json.loads((tmp_path / "gallery.json").read_text())
    assert found["models"] == [{"name": "model", "thresholds": None}]
    assert sum(found["patients"][0]["answers"][0][0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("task", "activation"), [("multi-label", "sigmoid"), ("multi-class", "softmax")])
def test_small_models_of_findings_come_along(tmp_path, task, activation):
    splits = make_splits((12, 12, 40), task=task)
    small = models.logits(models.build_cnn((8, 8, 1), 3, activation=activation))
    cuts = dict.fromkeys(("other", "small"), np.full(3, 0.5))
    gallery.write({"other": linear(1), "small": small}, splits, cuts, tmp_path)
    kept = [model.get("network") for model in json.loads((tmp_path / "gallery.json").read_text())["models"]]
    assert kept == [None, None if task == "multi-class" else transcript.of(small)]
    assert transcript.of(small) is not None


def test_large_images_are_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_CHARACTERS", 3000)
    splits = make_splits((12, 12, 40))
    gallery.write({"model": linear(1)}, splits, {"model": np.full(3, 0.5)}, tmp_path)
    found = json.loads((tmp_path / "gallery.json").read_text())
    assert 1 <= len(found["patients"]) < 4


def test_only_the_chief_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "chief", lambda: False)
    gallery.write({"model": linear(1)}, make_splits(), {"model": np.full(3, 0.5)}, tmp_path)
    assert list(tmp_path.iterdir()) == []
