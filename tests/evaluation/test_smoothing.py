"""Randomized smoothing, against what is known in closed form of a linear model."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from scipy.stats import binomtest, norm

import evaluate
from chestrobust.errors import ModelError
from chestrobust.evaluation import smoothing
from chestrobust.tasks import Task

WEIGHTS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
MIDDLE = (IMAGES.reshape(40, 16) / np.float32(255) @ WEIGHTS).mean(axis=0)


def linear(images, training=False):
    return tf.reshape(images, (-1, 16)) @ WEIGHTS - MIDDLE


def distances():
    """How far each image is from where its report changes, with the sign of what is reported."""
    return linear(IMAGES.astype(np.float32) / 255).numpy() / np.linalg.norm(WEIGHTS, axis=0)


def smoothed(**settings):
    return smoothing.smoothed(linear, Task.MULTI_LABEL, IMAGES, np.full(2, 0.5), sigma=0.3, **settings)


def test_the_interval_of_a_share_is_the_exact_one():
    hits = np.array([0, 1, 7, 19, 20])
    low, high = smoothing.share_between(hits, 20, 0.01)
    for number, *ends in zip(hits, low, high, strict=True):
        expected = binomtest(int(number), 20).proportion_ci(0.99, method="exact")
        assert ends == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_no_radius_is_longer_than_the_way_to_another_report():
    found, way = smoothed(draws=2000), distances()
    assert (found.radius <= np.abs(way)).all()
    sure = found.radius > 0
    np.testing.assert_array_equal(found.reported[sure], (way > 0)[sure])
    # Far from where it changes, most of the way is certified, up to what so many draws can show at all.
    most = 0.3 * norm.ppf((0.001 / 2 / 2) ** (1 / 2000))
    expected = np.minimum(np.abs(way), most)
    assert (found.radius[np.abs(way) > 0.3] > 0.75 * expected[np.abs(way) > 0.3]).all()
    assert (np.abs(way) > 0.3).any() and (~sure).any()


def test_noise_is_a_function_of_the_seed_and_the_number_of_an_image():
    found = smoothed(draws=100)
    few = smoothing.smoothed(
        *(linear, Task.MULTI_LABEL, IMAGES[[7, 3]], np.full(2, 0.5)), sigma=0.3, draws=100, indices=[7, 3]
    )
    np.testing.assert_array_equal(few.radius, found.radius[[7, 3]])
    assert (smoothed(draws=100, seed=1).radius != found.radius).any()


def test_shares_count_what_is_right_and_sure():
    found = smoothing.Smoothed(
        np.array([[True], [True], [False], [False], [True]]), np.array([[0.3], [0.1], [0.3], [0.2], [0.0]])
    )
    labels = np.array([[1], [1], [1], [0], [1]])
    assert found.shares(labels) == (0.5, 1.0)
    assert found.shares(labels, 0.15) == (0.25, 1.0)
    assert found.shares(labels, 0.25) == (0.25, 0.0)
    assert [found.unchanged(radius) for radius in (0, 0.15, 0.25, 0.5)] == [0.8, 0.6, 0.4, 0]


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"draws": 0}, {"alpha": 1}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        smoothing.smoothed(linear, Task.MULTI_LABEL, IMAGES, 0.5, **{"sigma": 0.3, **wrong})


def test_a_model_that_noise_makes_answer_nan_certifies_nothing():
    def rooted(images, training=False):
        return linear(tf.sqrt(images))

    with pytest.raises(ModelError, match="finite logits of noisy images"):
        smoothing.smoothed(rooted, Task.MULTI_LABEL, IMAGES[:2], np.full(2, 0.5), sigma=0.3, draws=4)


def one_direction(splits):
    """A classifier whose logit is how far an image is from a plane, and the distances of the test images."""
    images = [split.images.reshape(len(split), -1) / np.float32(255) for split in (splits.train, splits.test)]
    present = splits.train.labels[:, 0] == 1
    weights = images[0][present].mean(axis=0) - images[0][~present].mean(axis=0)
    weights /= np.linalg.norm(weights)
    middle = float(np.median(images[0] @ weights))
    inputs = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([weights[:, None], np.array([-middle])])
    return model, images[1] @ weights - middle


def test_the_script_tells_what_no_euclidean_change_goes_below(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    splits = make_splits((40, 20, 60), task="binary", num_labels=1)
    parts = {
        f"{part}_{name}": getattr(split, name) for part, split in splits.parts.items() for name in ("images", "labels")
    }
    np.savez("pneumoniamnist.npz", **parts)
    model, way = one_direction(splits)
    model.save("model.keras")
    settings = ["--data", "pneumoniamnist.npz", "--epsilons", "0", "4/255", "--steps", "1", "--resamples", "50"]
    evaluate.main(["model.keras", *settings, "--smooth", "0.2", "--draws", "100", "--name", "found"])
    results = json.loads((tmp_path / "evaluations" / "found.json").read_text())
    found, printed = results["smoothed"], capsys.readouterr().out
    most = 0.2 * norm.ppf((0.001 / 2) ** (1 / 100))
    assert found["largest_radius"] == pytest.approx(most)
    assert [row["radius"] for row in found["radii"]] == pytest.approx(
        [0, 0.1, 0.2]
    )  # 0.3 is more than so many draws prove
    # At logits of 0 and without noise, reports change where thresholds do.
    (cut,) = results["thresholds"].values()
    way, present = way - np.log(cut / (1 - cut)), splits.test.labels[:, 0] == 1
    for row in found["radii"]:
        radius = row["radius"]
        at_most = (way > radius)[present].mean(), (way < -radius)[~present].mean(), (abs(way) > radius).mean()
        # What is further by what the draws leave open must be found.
        least = (
            ((way > radius + 0.15)[present].mean(), (way < -radius - 0.15)[~present].mean()) if radius < 0.2 else (0, 0)
        )
        for name, low, high in zip(("macro_sensitivity", "macro_specificity"), least, at_most, strict=False):
            assert low <= row[name] <= high
            least_of_all, most_of_all = row["intervals"][name]
            assert least_of_all <= row[name] <= most_of_all and least_of_all < most_of_all
        assert list(row["per_label_sensitivity"].values()) == [row["macro_sensitivity"]]
        assert row["unchanged"] <= at_most[2]
        assert f"| {radius:g} " in printed
    assert found["radii"][0]["unchanged"] > 0.3 and found["radii"][0]["macro_sensitivity"] > 0
    page = (tmp_path / "evaluations" / "report.html").read_text()
    assert "<h3>Under any Euclidean change, noise 0.2: model</h3>" in page
    assert "Reports that can't change |" in printed and "So many draws prove nothing above 0.29." in " ".join(
        printed.split()
    )


def test_noise_of_nothing_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["run", "--smooth", "0"])
    assert capsys.readouterr().err.count("\n") == 1
