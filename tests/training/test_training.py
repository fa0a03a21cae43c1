import csv
import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import config, interruption, losses, models, runs
from chestrobust.attacks import named
from chestrobust.errors import RunError, TrainingError
from chestrobust.evaluation import outcomes
from chestrobust.training import checkpoints, examples, experiment, loop, methods

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options():
    return config.BaselineConfig(epochs=3, batch_size=10, learning_rate=0.01, augment="vgg")


def small(input_shape, num_labels, *, activation):
    """A classifier with every kind of state that a run keeps, but few variables, as each takes time to compile."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(keras.layers.MaxPooling2D()(x)))
    logits = keras.layers.Dense(num_labels, name="logits")(x)
    return keras.Model(inputs, keras.layers.Activation(activation)(logits))


def fit(path, options, splits, *, build=small, make_examples=lambda _: examples.clean_examples, **settings):
    """Train in a folder; returns the classifier and the summary."""
    path.mkdir(exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    activation = "softmax" if splits.task == "multi-class" else "sigmoid"
    classifier = build(splits.image_shape, len(splits.label_names), activation=activation)
    made = make_examples(classifier)
    return loop.train(classifier, splits, experiment.recipe(options), runs.Run(path), examples=made, **settings)


def weights(classifier):
    return b"".join(weight.tobytes() for weight in classifier.get_weights())


@pytest.mark.parametrize("task", ["multi-label", "binary", "multi-class"])
def test_training_learns(tmp_path, task):
    splits = make_splits((200, 60, 60), task=task, num_labels=1 if task == "binary" else 3)
    options = config.BaselineConfig(epochs=8, batch_size=20, learning_rate=0.01, dropout=0.0)
    classifier, summary = fit(tmp_path / "run", options, splits, build=models.build_cnn)
    assert summary["best_val_auc"] > 0.9
    assert outcomes.evaluate(classifier, splits, [named.CLEAN], progress=False)[0]["macro_auc"] > 0.85


def test_the_same_options_give_the_same_weights_and_another_seed_others(tmp_path, options, splits):
    first, again = (weights(fit(tmp_path / name, options, splits)[0]) for name in ("first", "again"))
    other = weights(fit(tmp_path / "other", dataclasses.replace(options, seed=1), splits)[0])
    assert first == again
    assert first != other


class Killed(BaseException):
    """What ends a run on the spot, in place of SIGKILL."""


def kill(*_, **__):
    raise Killed


def adversarial(classifier):
    """Training examples with adversarial images."""
    return methods.examples_of(config.AdversarialConfig(train_steps=2), make_splits(), classifier)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, options):
    """A run that wasn't stopped: its classifier, its summary and its history."""
    path = tmp_path_factory.mktemp("whole")
    classifier, summary = fit(path, options, make_splits())
    return weights(classifier), summary, (path / "history.csv").read_text()


def check_resumed(tmp_path, options, splits, whole):
    """Resume the run in `stopped` and see that it ends like the whole one."""
    classifier, summary = fit(tmp_path / "stopped", options, splits)
    times = dict.fromkeys(("seconds", "checkpoint_seconds", "images_per_second"))
    history = (tmp_path / "stopped" / "history.csv").read_text()
    assert (weights(classifier), summary | times, history) == (whole[0], whole[1] | times, whole[2])
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == [
        *("history.csv", "last.keras", "logs", "model.keras", "state.npz"),
    ]


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Checkpoints whenever they may be, whatever they cost."""
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)


@pytest.mark.parametrize(("stop_at", "how"), [(1, "killed"), (4, signal.SIGINT), (5, signal.SIGTERM)])
def test_a_run_stopped_at_any_step_ends_as_if_it_had_not_been(
    tmp_path, options, splits, whole, monkeypatch, stop_at, how
):
    steps, compile_step = itertools.count(), loop._compiled_step

    def stopped(*arguments):
        step = compile_step(*arguments)

        def wrapped(*batch):
            stop = next(steps) == stop_at
            if stop and how != "killed":
                os.kill(os.getpid(), how)
            step(*batch)
            if stop and how == "killed":
                raise Killed

        return wrapped

    # A signal saves where it stops; being killed loses what wasn't saved.
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0 if how == "killed" else 3600)
    # Without a checkpoint before it, a signal has the best weights so far to write too.
    monkeypatch.setattr(checkpoints, "SHARE", 1e9 if how == "killed" else 0)
    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt if how != "killed" else Killed) as stop,
        interruption.handled(),
    ):
        patch.setattr(loop, "_compiled_step", stopped)
        fit(tmp_path / "stopped", options, splits)
    assert (stop.type is interruption.Terminated) == (how == signal.SIGTERM)
    if how != "killed":
        state = json.loads(str(np.load(tmp_path / "stopped" / "state.npz")["state"]))
        assert 3 * state["epoch"] + state["step"] == stop_at + 1
    check_resumed(tmp_path, options, splits, whole)


@pytest.mark.slow
def test_robust_training_resumes_too(tmp_path, options, splits, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = fit(whole, options, splits, make_examples=adversarial)[0]
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        save, count = checkpoints.Checkpoint.save, itertools.count()
        patch.setattr(
            checkpoints.Checkpoint, "save", lambda *arguments: kill() if next(count) == 4 else save(*arguments)
        )
        fit(stopped, options, splits, make_examples=adversarial)
    assert weights(fit(stopped, options, splits, make_examples=adversarial)[0]) == weights(expected)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(loop, "_validate", marks=pytest.mark.slow),
        pytest.param(checkpoints.Checkpoint, "keep", marks=pytest.mark.slow),
        (loop.csv, "DictWriter"),  # `model.keras` is the new one, `state.npz` isn't
        (checkpoints.np, "savez"),
        (checkpoints.os, "replace"),  # `state.npz` tells of `next.keras`, or neither is there
        pytest.param(checkpoints.Checkpoint, "_promote", marks=pytest.mark.slow),
        (loop.devices, "load"),  # after the last epoch
    ],
)
def test_a_run_killed_outside_a_step_goes_on(tmp_path, options, splits, whole, monkeypatch, place, name):
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0 if name != "savez" else 3600)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(place, name, kill)
        fit(tmp_path / "stopped", options, splits)
    check_resumed(tmp_path, options, splits, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_validation_stops_it_at_once_and_loses_no_step(tmp_path, options, splits, monkeypatch, number):
    monkeypatch.setattr(loop, "_validate", lambda *_: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt), interruption.handled():
        fit(tmp_path / "run", options, splits)
    assert json.loads(str(np.load(tmp_path / "run" / "state.npz")["state"]))["step"] == 3


def test_a_second_signal_does_not_wait():
    code = (
        "import os, signal\nfrom chestrobust import interruption\n"
        "with interruption.delayed():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('not here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "still here\n")


def test_an_error_in_a_delayed_block_counts_and_signals_work_as_before():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interruption.delayed():
        os.kill(os.getpid(), signal.SIGINT)
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("share", [0, 1e9], ids=["best written late", "best written at once"])
def test_validation_chooses_the_weights_and_patience_ends_training(tmp_path, options, splits, monkeypatch, share):
    monkeypatch.setattr(checkpoints, "SHARE", share)
    scores = iter([0.6, 0.8, 0.7, 0.8, 0.75, 0.9])
    kept = []
    monkeypatch.setattr(
        loop, "_validate", lambda model, *_: (kept.append(weights(model)), {"val_auc": next(scores)})[1]
    )
    classifier, summary = fit(tmp_path / "run", dataclasses.replace(options, epochs=20, patience=3), splits)
    # Epoch 2 is best; epochs 3 to 5 are no better, and epoch 6 is never reached.
    assert (summary["epochs"], summary["best_epoch"], summary["best_val_auc"]) == (5, 2, 0.8)
    assert weights(models.logits(classifier)) == kept[1]
    assert weights(models.logits(models.load(tmp_path / "run" / "last.keras"))) == kept[-1]


def test_robust_training_is_chosen_by_the_attacked_score_and_logs_both(tmp_path, options, splits):
    pgd = named.Attack("pgd", 0.05, 0.02, 3, 1, True, 0)
    _, summary = fit(tmp_path / "run", options, splits, selection=pgd)
    with (tmp_path / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert {"loss", "auc", "binary_accuracy", "val_auc", "val_loss", "val_pgd_auc", "val_pgd_loss"} <= set(rows[0])
    assert summary["best_val_auc"] == max(float(row["val_pgd_auc"]) for row in rows)
    assert list((tmp_path / "run" / "logs").rglob("events*"))


def test_the_test_split_is_not_touched(tmp_path, options, splits):
    fit(tmp_path / "run", options, dataclasses.replace(splits, test=None))


def test_a_loss_that_is_no_number_stops_with_step_and_learning_rate(tmp_path, options, splits):
    classifier = models.build_cnn(splits.image_shape, 3)
    classifier.get_layer("logits").bias.assign([np.nan, 0, 0])
    message = r"Epoch 1, step 1, learning rate 0\.01: expected finite losses\. Received: nan\..*none yet"
    with pytest.raises(TrainingError, match=message):
        loop.train(classifier, splits, experiment.recipe(options), runs.Run(tmp_path))
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.parametrize(("when", "seen"), [("before", "step 2, .*losses"), ("after", "step 3, .*weights")])
def test_what_is_not_finite_never_replaces_a_checkpoint(tmp_path, options, splits, monkeypatch, when, seen):
    steps, compile_step = itertools.count(), loop._compiled_step

    def spoiled(model, *arguments):
        step = compile_step(model, *arguments)

        def wrapped(*batch):
            number = next(steps)
            for part in ("before", "after"):
                if (number, when) == (4, part):
                    model.get_layer("logits").bias.assign([np.inf, 0, 0])
                if part == "before":
                    step(*batch)

        return wrapped

    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0)
    monkeypatch.setattr(loop, "_compiled_step", spoiled)
    good = r"(model|next)\.keras \(epoch 1\) and .*state\.npz \(epoch 2, 1 steps\)"
    with pytest.raises(TrainingError, match=rf"Epoch 2, {seen}.*{good}"):
        fit(tmp_path / "run", options, splits)
    saved = np.load(tmp_path / "run" / "state.npz")
    assert json.loads(str(saved["state"]))["step"] == 1
    assert all(np.isfinite(saved[name]).all() for name in saved.files if name != "state")


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")])
def test_too_little_memory_names_the_batch_size_and_half_of_it(tmp_path, options, splits, monkeypatch, error):
    def step(*_):
        raise error

    monkeypatch.setattr(loop, "_compiled_step", lambda *_: step)
    with pytest.raises(TrainingError, match=r"--batch-size 10: .*Try --batch-size 5 "):
        fit(tmp_path / "run", options, splits)


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 no archive", "other", "no model", "another model", "half a model"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, options, splits, damage):
    fit(tmp_path / "run", options, splits)
    file = tmp_path / "run" / "state.npz"
    if damage == "no model":
        (tmp_path / "run" / "model.keras").unlink()
    elif damage == "another model":
        models.build_cnn(splits.image_shape, 3).save(tmp_path / "run" / "model.keras")
    elif damage == "half a model":
        os.truncate(tmp_path / "run" / "model.keras", 3000)
    elif damage == "other":
        content = dict(np.load(file))
        content.pop("3")
        np.savez(file, **content)
    else:
        file.write_bytes(damage)
    with pytest.raises(TrainingError, match=r"(state\.npz|model\.keras): expected .* Use --overwrite"):
        fit(tmp_path / "run", options, splits)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("adam", "exponential"), ("adamw", "cosine"), ("rmsprop", "constant"), ("sgd", "exponential")],
)
def test_every_optimizer_and_schedule_trains(tmp_path, options, splits, optimizer, schedule):
    settings = dataclasses.replace(options, optimizer=optimizer, schedule=schedule, epochs=1)
    fit(tmp_path / "run", settings, splits)
    with (tmp_path / "run" / "history.csv").open() as file:
        rate = float(next(csv.DictReader(file))["learning_rate"])
    # One epoch of three steps; cosine has come to its end.
    assert rate == pytest.approx({"exponential": 0.01 * 0.9 ** (3 / 1000), "cosine": 0, "constant": 0.01}[schedule])


def test_a_run_folder_that_is_gone_ends_training_in_one_line_and_stays_away(tmp_path, options, splits, monkeypatch):
    validate = loop._validate
    monkeypatch.setattr(
        loop, "_validate", lambda *arguments: (validate(*arguments), shutil.rmtree(tmp_path / "run"))[0]
    )
    with pytest.raises(RunError, match=r"history\.csv: .*No such file or directory"):
        fit(tmp_path / "run", options, splits)
    assert not (tmp_path / "run").exists()


def test_logs_that_cannot_be_written_end_training_in_one_line(tmp_path, options, splits):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").write_text("not a folder")
    with pytest.raises(RunError, match=r"logs: expected to be able to write here"):
        fit(tmp_path / "run", options, splits)


@pytest.mark.parametrize(
    ("loss", "sampler"), [("weighted", "balanced"), pytest.param("focal", "shuffle", marks=pytest.mark.slow)]
)
def test_remedies_for_rare_labels_reach_the_training(tmp_path, options, splits, loss, sampler):
    plain = weights(fit(tmp_path / "plain", options, splits)[0])
    settings = dataclasses.replace(options, loss=loss, sampler=sampler)
    first, again = (weights(fit(tmp_path / name, settings, splits)[0]) for name in ("first", "again"))
    assert first == again
    assert first != plain


def test_training_attacks_climb_the_loss_of_the_task_unless_asked(splits):
    options = config.AdversarialConfig(loss="weighted")
    assert methods.attack_loss(options, splits) is losses.binary_cross_entropy
    asked = methods.attack_loss(dataclasses.replace(options, attack_loss="training"), splits)
    labels, logits = splits.train.labels.astype(np.float32), np.ones(splits.train.labels.shape, np.float32)
    expected = losses.weighted(losses.rarity(splits.task, splits.train.labels), labels, logits)
    np.testing.assert_allclose(asked(labels, logits), expected)


def test_checkpoints_are_rarer_the_more_they_cost(tmp_path, options, splits, monkeypatch):
    """By a clock of its own, which goes on when it is looked at."""
    clock = itertools.count()
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0)
    saved, save = [], checkpoints.Checkpoint.save

    def counted(self, state):
        saved.append((state.epoch, state.step))
        save(self, state)

    monkeypatch.setattr(checkpoints.Checkpoint, "save", counted)
    counts = []
    for share in (1e9, 0.2, 0):
        monkeypatch.setattr(checkpoints, "SHARE", share)
        saved.clear()
        fit(tmp_path / str(share), options, splits)
        counts.append(len(saved))
    assert counts[0] == 13  # three epochs of three steps, their ends, and the end
    assert counts[0] > counts[1] > counts[2] == 1
