import csv
import dataclasses
import itertools

import keras
import numpy as np
import pytest
from conftest import make_splits

import config
import experiment
import losses
import models
import robustness
import runs
import training


@pytest.fixture
def options():
    return config.BaselineConfig(epochs=3, batch_size=10, learning_rate=0.01)


def fit(path, options, splits, **settings):
    """Train in a folder; returns the classifier and the summary."""
    path.mkdir(exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    activation = "softmax" if splits.task == "multi-class" else "sigmoid"
    classifier = models.build_cnn(splits.image_shape, len(splits.label_names), activation=activation)
    return training.train(classifier, splits, options, runs.Run(path), **settings)


def weights(classifier):
    return b"".join(weight.tobytes() for weight in classifier.get_weights())


@pytest.mark.parametrize("task", ["multi-label", "binary", "multi-class"])
def test_training_learns(tmp_path, task):
    splits = make_splits((200, 60, 60), task=task, num_labels=1 if task == "binary" else 3)
    options = config.BaselineConfig(epochs=8, batch_size=20, learning_rate=0.01, dropout=0.0)
    classifier, summary = fit(tmp_path / "run", options, splits)
    assert summary["best_val_auc"] > 0.9
    assert robustness.evaluate(classifier, splits, [robustness.CLEAN], progress=False)[0]["macro_auc"] > 0.85


def test_the_same_options_give_the_same_weights_and_another_seed_others(tmp_path, options, splits):
    first, again = (weights(fit(tmp_path / name, options, splits)[0]) for name in ("first", "again"))
    other = weights(fit(tmp_path / "other", dataclasses.replace(options, seed=1), splits)[0])
    assert first == again
    assert first != other


@pytest.mark.parametrize("adversarial", [False, True])
@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_run_interrupted_at_any_step_ends_as_if_it_had_not_been(
    tmp_path, options, splits, monkeypatch, stop_at, adversarial
):
    def examples(classifier):
        if not adversarial:
            return training.clean_examples
        attack_options = config.AdversarialConfig(train_steps=2)
        return training.adversarial_examples(models.logits(classifier), losses.binary_cross_entropy, attack_options)

    def run(path):
        path.mkdir(exist_ok=True)
        keras.utils.set_random_seed(0)
        classifier = models.build_cnn(splits.image_shape, 3)
        return training.train(classifier, splits, options, runs.Run(path), examples=examples(classifier))

    whole, whole_summary = run(tmp_path / "whole")
    steps = itertools.count()
    compile_step = training._compiled_step

    def interrupted(*arguments):
        step = compile_step(*arguments)

        def wrapped(*batch):
            if next(steps) == stop_at:
                raise KeyboardInterrupt
            step(*batch)

        return wrapped

    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_compiled_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    resumed, summary = run(tmp_path / "stopped")
    assert weights(resumed) == weights(whole)
    assert {**summary, "seconds": 0, "images_per_second": 0} == {**whole_summary, "seconds": 0, "images_per_second": 0}
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "stopped")]
    assert histories[0] == histories[1]


def test_a_run_stopped_in_validation_goes_on(tmp_path, options, splits, monkeypatch):
    whole, _ = fit(tmp_path / "whole", options, splits)
    monkeypatch.setattr(training, "SAVE_EVERY", -1)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_validate", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "stopped", options, splits)
    resumed, _ = fit(tmp_path / "stopped", options, splits)
    assert weights(resumed) == weights(whole)


def test_validation_chooses_the_weights_and_patience_ends_training(tmp_path, options, splits, monkeypatch):
    scores = iter([0.6, 0.8, 0.7, 0.8, 0.75, 0.9])
    kept = []
    monkeypatch.setattr(
        training, "_validate", lambda model, *_: (kept.append(weights(model)), {"val_auc": next(scores)})[1]
    )
    classifier, summary = fit(tmp_path / "run", dataclasses.replace(options, epochs=20, patience=3), splits)
    # Epoch 2 is best; epochs 3 to 5 are no better, and epoch 6 is never reached.
    assert (summary["epochs"], summary["best_epoch"], summary["best_val_auc"]) == (5, 2, 0.8)
    assert weights(models.logits(classifier)) == kept[1]


def test_robust_training_is_chosen_by_the_attacked_score_and_logs_both(tmp_path, options, splits):
    pgd = robustness.Attack("pgd", 0.05, 0.02, 3, 1, True, 0)
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
    with pytest.raises(training.TrainingError, match=r"nan.*epoch 1, step 1\..*below 0\.01"):
        training.train(classifier, splits, options, runs.Run(tmp_path))
    assert not (tmp_path / "model.keras").exists()


def test_a_checkpoint_of_other_data_is_refused(tmp_path, options, splits):
    fit(tmp_path / "run", options, splits)
    with pytest.raises(training.TrainingError, match="other data"):
        fit(tmp_path / "run", options, dataclasses.replace(splits, sha256="1" * 64))


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


@pytest.mark.parametrize(
    ("loss", "sampler"), [("weighted", "balanced"), ("focal", "shuffle"), ("asymmetric", "shuffle")]
)
def test_remedies_for_rare_labels_reach_the_training(tmp_path, options, splits, loss, sampler):
    plain = weights(fit(tmp_path / "plain", options, splits)[0])
    settings = dataclasses.replace(options, loss=loss, sampler=sampler)
    first, again = (weights(fit(tmp_path / name, settings, splits)[0]) for name in ("first", "again"))
    assert first == again
    assert first != plain


def test_training_attacks_climb_the_loss_of_the_task_unless_asked(splits):
    options = config.AdversarialConfig(loss="weighted")
    assert experiment.attack_loss(options, splits) is losses.binary_cross_entropy
    asked = experiment.attack_loss(dataclasses.replace(options, attack_loss="training"), splits)
    labels, logits = splits.train.labels.astype(np.float32), np.ones(splits.train.labels.shape, np.float32)
    expected = losses.weighted(losses.rarity("multi-label", splits.train.labels), labels, logits)
    np.testing.assert_allclose(asked(labels, logits), expected)
