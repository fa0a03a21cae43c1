"""The picture of a run: who is shown is decided by clean answers alone, and each model is attacked for itself."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import devices, runs
from chestrobust.attacks import named
from chestrobust.evaluation import patients, picture
from chestrobust.reporting import figures, story

SUITE = named.quick_suite(named.pgd_of(0.1, 2), several=True)


def linear(sign):
    """A model whose logit of each label is how bright its rows are: `sign` turns it round."""

    def model(images, training=False):
        rows = tf.reduce_mean(tf.reshape(images, (-1, 8, 8)), axis=2)
        return sign * 20 * (tf.stack([rows[:, 0], rows[:, 2], rows[:, 4]], axis=1) - 0.35)

    return model


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """What was handed to the figure of two models."""
    kept = {}

    def draw(models, label_names, present, **texts):
        kept.update(models=models, label_names=label_names, present=present, **texts)
        return original(models, label_names, present, **texts)

    original = story.draw
    monkeypatch.setattr(story, "draw", draw)
    splits, models = make_splits((12, 12, 40)), {"baseline": linear(1), "robust": linear(0.5)}
    picture.draw(models, splits, dict.fromkeys(models, np.full(3, 0.5)), SUITE, runs.Run(tmp_path))
    return tmp_path, splits, models, kept


def test_both_models_show_the_same_patient_each_attacked_for_itself(drawn):
    path, splits, models, kept = drawn
    assert {file.name for file in path.iterdir()} == {"chestxray.png", "chestxray.svg"}
    assert [one.name for one in kept["models"]] == ["baseline", "robust"]
    first, second = (list(one.pictures.values()) for one in kept["models"])
    assert list(kept["models"][0].pictures) == [attack.title for attack in SUITE[:3]]  # no AUC of one image
    np.testing.assert_array_equal(first[0], second[0])
    index = int(kept["title"].partition("test image ")[2].partition(":")[0])
    np.testing.assert_allclose(first[0], splits.test.images[index] / 255, atol=1e-6)
    assert (kept["present"] == (splits.test.labels[index] == 1)).all()
    assert "made-up data" in kept["title"]
    for one, model in zip(kept["models"], models.values(), strict=True):
        logits = model(np.stack(list(one.pictures.values()))).numpy()
        np.testing.assert_allclose(one.answers, 1 / (1 + np.exp(-logits)), atol=1e-5)
        assert (one.reported == (one.answers >= 0.5)).all()
        assert max(np.abs(image - first[0]).max() for image in one.pictures.values()) == pytest.approx(0.1, abs=1e-6)


def test_each_model_is_attacked_for_itself(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(story, "draw", lambda models, *_, **__: kept.extend(models) or figures.headed("", (1, 1)))
    models = {"upright": linear(1), "turned": linear(-1)}
    picture.draw(models, make_splits((12, 12, 40)), dict.fromkeys(models, np.zeros(3)), SUITE, runs.Run(tmp_path))
    (clean, upright, _), (_, turned, _) = (list(one.pictures.values()) for one in kept)
    # FGSM goes the other way where the weights do, if it isn't at the end of the pixel range.
    product = ((upright - clean) * (turned - clean))[:6:2]
    assert product.max() <= 0
    assert product.min() == pytest.approx(-0.01, abs=1e-6)


def test_the_rule_is_told_under_the_picture(drawn):
    assert patients.RULE in drawn[-1]["note"]


def test_who_is_shown_has_a_true_finding_that_every_model_names_and_is_the_median_of_these():
    splits, models = make_splits((12, 12, 41)), {"one": linear(1), "two": linear(0.5)}
    (index,) = patients.chosen(models, splits, dict.fromkeys(models, np.full(3, 0.5)), 1)
    answers = 1 / (1 + np.exp(-models["two"](splits.test.images / np.float32(255)).numpy()))
    named_there = (answers >= 0.5) & (splits.test.labels == 1)
    surest = np.sort(np.where(named_there, answers, 0).max(axis=1)[named_there.any(axis=1)])
    middle = len(surest) // 2
    assert np.where(named_there, answers, 0)[index].max() in surest[middle - 1 : middle + 2]


def test_the_same_finding_must_be_named_by_every_model():
    splits = make_splits((12, 12, 40))
    cuts = {"one": np.array([0.5, 0.5, 2.0]), "two": np.array([2.0, 0.5, 0.5])}  # no probability reaches 2
    for index in patients.chosen({"one": linear(1), "two": linear(1)}, splits, cuts, 4):
        assert splits.test.labels[index, 1] == 1


def test_what_an_attack_takes_is_counted_of_what_every_model_names():
    splits, models = make_splits((12, 12, 40)), {"one": linear(1), "two": linear(0.05)}
    cuts, attack = dict.fromkeys(models, np.full(3, 0.5)), named.pgd_of(0.3, 4)
    images, count, shares = patients.taken(models, splits, cuts, attack)
    test = splits.test[splits.test.labels.any(axis=1)]
    pixels, labels = test.images / np.float32(255), test.labels.astype(np.float32)
    clean = [model(pixels).numpy() > 0 for model in models.values()]
    both = clean[0] & clean[1] & (labels == 1)
    assert (images, count) == (len(test), both.sum())
    for (name, model), share in zip(models.items(), shares.values(), strict=True):
        rows = np.flatnonzero(splits.test.labels.any(axis=1))
        attacked = attack(model, pixels, labels, task=splits.task, indices=rows)
        assert share == pytest.approx((both & (model(attacked).numpy() <= 0)).sum() / count), name
    assert 0 < shares["one"] < 1
    nothing = patients.taken(models, splits, dict.fromkeys(models, np.full(3, 2.0)), attack)
    assert nothing == (len(test), 0, {})


def test_choosing_attacks_nobody(monkeypatch):
    monkeypatch.setattr(named.Attack, "__call__", None)
    models = {"one": linear(1)}
    assert len(patients.chosen(models, make_splits((12, 12, 40)), {"one": np.full(3, 0.5)}, 3)) == 3


def test_only_the_chief_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "chief", lambda: False)
    picture.draw({"one": linear(1)}, make_splits(), {"one": np.full(3, 0.5)}, SUITE, runs.Run(Path(tmp_path)))
    assert list(tmp_path.iterdir()) == []
