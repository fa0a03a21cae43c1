"""The average of weights: what it holds, where it stands in for them, and that it survives a stop."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from test_training import Killed, fit, kill, weights

from chestrobust import config, models
from chestrobust.training import checkpoints, loop
from chestrobust.training.averaging import Average


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Dense(1)(inputs)))
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    return model


def set_all(model, value, step):
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value, np.float32))
    model.optimizer.iterations.assign(step)


def test_it_follows_all_weights_quickly_at_first_and_by_the_decay_later(model):
    set_all(model, 0.0, 0)
    average = Average(model, 0.9)
    assert len(average.variables) == len(model.weights) == 6  # BatchNorm's statistics too
    set_all(model, 11.0, 1)
    average.update()
    # 2 / 11 of the old value is kept after step 1, and 0.9 from step 80 on.
    np.testing.assert_allclose(average.variables[0], 9.0, rtol=1e-6)
    set_all(model, 19.0, 1000)
    average.update()
    for variable in average.variables:
        np.testing.assert_allclose(variable, 10.0, rtol=1e-6)


def test_it_takes_the_place_of_the_weights_and_gives_it_back_even_after_an_error(model):
    average = Average(model, 0.9)
    for variable in average.variables:
        variable.assign(variable + 1)
    before = weights(model)
    with pytest.raises(ZeroDivisionError), average.in_place():
        np.testing.assert_array_equal(model.weights[0], average.variables[0])
        raise ZeroDivisionError
    assert weights(model) == before


def test_without_a_decay_there_is_none(model):
    average = Average(model, 0.0)
    before = weights(model)
    average.update()
    with average.in_place():
        assert weights(model) == before
    assert average.variables == []


@pytest.fixture(scope="module")
def options():
    return config.BaselineConfig(epochs=3, batch_size=10, learning_rate=0.01, ema=0.9, warmup=0.3, clip_norm=0.5)


def test_the_average_is_what_is_validated_and_saved(tmp_path, options, monkeypatch):
    seen, validate = [], loop._validate

    def noted(model, *arguments):
        seen.append(weights(model))
        return validate(model, *arguments)

    monkeypatch.setattr(loop, "_validate", noted)
    classifier, summary = fit(tmp_path / "run", options, make_splits())
    assert weights(classifier) == seen[summary["best_epoch"] - 1]
    assert weights(models.load(tmp_path / "run" / "last.keras")) == seen[-1]
    saved = np.load(tmp_path / "run" / "state.npz")
    assert saved["0"].tobytes() != models.load(tmp_path / "run" / "last.keras").get_weights()[0].tobytes()


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_run_with_an_average_ends_as_if_it_had_not_been_stopped(tmp_path, options, monkeypatch, count):
    expected = weights(fit(tmp_path / "whole", options, make_splits())[0])
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        save, calls = checkpoints.Checkpoint.save, itertools.count()
        patch.setattr(
            checkpoints.Checkpoint, "save", lambda *arguments: kill() if next(calls) == count else save(*arguments)
        )
        fit(tmp_path / "stopped", options, make_splits())
    assert weights(fit(tmp_path / "stopped", options, make_splits())[0]) == expected


def test_devices_hold_the_same_average(model):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = keras.models.clone_model(model)
        mirrored.compile("sgd")
        mirrored.optimizer.build(mirrored.trainable_variables)
        average = Average(mirrored, 0.9)
    set_all(mirrored, 11.0, 1)
    start = average.variables[0].numpy()
    tf.function(average.update)()
    np.testing.assert_allclose(average.variables[0], 2 / 11 * start + 9.0, rtol=1e-5)
