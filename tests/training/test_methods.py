"""What each `--method` trains on, and what becomes of a model that learns single steps alone."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from test_training import fit, weights

from chestrobust import config, losses, models
from chestrobust.attacks import named
from chestrobust.errors import ExpectedError
from chestrobust.training import divergences, loop, methods
from chestrobust.training.examples import Examples, clean_examples

METHODS = ("online", "pgd", "awp", "fast", "trades")


def made_by(method, count=10, strength=1.0, **changes):
    """Clean images, the examples of a method, and the logits that they were made on."""
    splits = make_splits()
    keras.utils.set_random_seed(0)
    classifier = models.build_cnn(splits.image_shape, 3)
    model = models.logits(classifier)
    steps = {"train_steps": 3} if method not in ("fast",) else {}
    options = config.AdversarialConfig(method=method, train_epsilon=0.1, epochs=1, batch_size=24, **steps, **changes)
    model.compile("sgd")
    images = tf.constant(splits.train.images[:count] / 255, tf.float32)
    labels = tf.constant(splits.train.labels[:count], tf.float32)
    numbers = tf.range(count)
    examples = methods.examples_of(options, splits, classifier)
    return images, labels, examples(images, labels, (0, 0), tf.cast(numbers, tf.int64), numbers, count), model


@pytest.mark.parametrize("method", METHODS)
def test_examples_have_labels_and_weights_and_attacked_images_lose(method):
    images, labels, made, model = made_by(method)
    assert isinstance(made, Examples)
    assert len(made.images) == len(made.labels) == len(made.weights) == 20
    np.testing.assert_array_equal(made.images[:10], images)
    np.testing.assert_array_equal(made.labels[10:], labels)
    attacked = made.images[10:]
    reach = 0.3 if method == "fast" else 0.1
    assert np.abs(attacked - images).max() <= reach + 1e-6
    assert attacked.numpy().min() >= 0 and attacked.numpy().max() <= 1
    before, after = model(images), model(attacked)
    if method == "trades":
        np.testing.assert_array_less(0, divergences.bernoulli(before, after))
    else:
        np.testing.assert_array_less(*(losses.binary_cross_entropy(labels, logits) for logits in (before, after)))


@pytest.mark.parametrize("method", ["pgd", "awp", "fast"])
def test_clean_images_are_left_out_where_they_count_nothing(method):
    images, _, made, _ = made_by(method, adv_weight=1.0)
    assert len(made.images) == 10
    assert (made.images.numpy() != images.numpy()).any(axis=(1, 2, 3)).all()
    assert float(tf.reduce_sum(made.weights)) == pytest.approx(1)


def test_the_step_of_fast_is_as_long_as_the_radius_from_noise_of_twice_the_radius():
    images, _, made, _ = made_by("fast", adv_weight=1.0)
    changes = np.abs(made.images - images)[(images > 0.31) & (images < 0.69)]
    # Noise is uniform in twice the radius of 0.1, and a step either way shifts it by one radius.
    assert changes.max() > 0.25
    assert changes.mean() == pytest.approx(((0.3**2 + 0.1**2) / 2) / 0.4, rel=0.1)


def test_a_radius_that_grows_begins_with_a_share_of_it():
    images, _, made, _ = made_by("pgd", radius_warmup=1.0, adv_weight=1.0)
    assert np.abs(made.images - images).max() <= 0.1 + 1e-6  # a single step is the whole warm-up
    splits, count = make_splits(), 10
    classifier = models.build_cnn(splits.image_shape, 3)
    models.logits(classifier).compile("sgd")
    options = config.AdversarialConfig(
        method="pgd", train_epsilon=0.1, epochs=4, batch_size=24, radius_warmup=1.0, adv_weight=1.0
    )
    make, numbers = methods.examples_of(options, splits, classifier), tf.range(count)
    for step, share in ((0, 0.25), (1, 0.5), (3, 1.0), (7, 1.0)):
        models.logits(classifier).optimizer.iterations.assign(step)
        made = make(images, tf.zeros((count, 3)), (0, 0), tf.cast(numbers, tf.int64), numbers, count)
        assert np.abs(made.images - images).max() == pytest.approx(0.1 * share, abs=1e-6)


def test_trades_weighs_the_labels_of_clean_images_and_the_divergence_of_attacked_ones():
    _, labels, made, _ = made_by("trades", beta=3.0)
    logits = tf.random.stateless_normal((20, 3), (0, 1))
    values = made.losses(losses.mean_binary_cross_entropy, made.labels, logits)
    np.testing.assert_allclose(values[:10], losses.mean_binary_cross_entropy(labels, logits[:10]), rtol=1e-6)
    np.testing.assert_allclose(values[10:], 3 * divergences.bernoulli(logits[:10], logits[10:]), rtol=1e-6)
    np.testing.assert_allclose(made.weights, 0.1, rtol=1e-6)


def test_awp_trains_on_what_pgd_does_from_the_worst_weights(tmp_path):
    pgd, awp = (made_by(method, **ways)[2] for method, ways in (("pgd", {}), ("awp", {"weight_epsilon": 0.02})))
    np.testing.assert_array_equal(pgd.images, awp.images)
    assert (pgd.weight_epsilon, awp.weight_epsilon) == (0.0, 0.02)
    splits, trained = make_splits(), {}
    for name, weight_epsilon in (("pgd", None), ("none", 0.0), ("some", 0.02)):
        ways = {"method": "pgd"} if weight_epsilon is None else {"method": "awp", "weight_epsilon": weight_epsilon}
        options = config.AdversarialConfig(epochs=1, batch_size=24, train_steps=1, **ways)
        trained[name] = weights(
            fit(
                tmp_path / name,
                *(options, splits),
                make_examples=lambda made_on, options=options: methods.examples_of(options, splits, made_on),
            )[0]
        )
    assert trained["pgd"] == trained["none"]
    assert trained["pgd"] != trained["some"]


def test_divergences_are_those_of_scipy():
    entropy = pytest.importorskip("scipy.stats").entropy
    rng = np.random.default_rng(0)
    logits, others = rng.normal(0, 2, (2, 5, 4)).astype(np.float32)
    p, q = (1 / (1 + np.exp(-values)) for values in (logits, others))
    each = entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q]), axis=0)
    np.testing.assert_allclose(divergences.bernoulli(logits, others), each.mean(axis=1), rtol=1e-4)
    p, q = (tf.nn.softmax(values).numpy() for values in (logits, others))
    np.testing.assert_allclose(divergences.categorical(logits, others), entropy(p, q, axis=1), rtol=1e-4)
    assert np.abs(divergences.bernoulli(logits, logits)).max() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("method", "task"), [*((method, "binary") for method in METHODS), ("trades", "multi-class")])
def test_every_method_trains(tmp_path, method, task):
    splits = make_splits(task=task, num_labels=1 if task == "binary" else 3)
    options = config.AdversarialConfig(method=method, epochs=2, batch_size=10, learning_rate=0.01)
    options = dataclasses.replace(options, ema=0.9, radius_warmup=0.5, label_smoothing=0.1)

    def make(classifier):
        return methods.examples_of(options, splits, classifier)

    first, again = (weights(fit(tmp_path / name, options, splits, make_examples=make)[0]) for name in "ab")
    assert first == again


def test_a_collapse_takes_the_best_weights_back_and_training_goes_on(tmp_path, monkeypatch):
    scores, starts = iter([0.8, 0.85, 0.3, 0.82, 0.9]), []
    validate, epoch = loop._validate, loop._epoch
    best = {}

    def scored(model, *arguments):
        score = next(scores)
        best[score] = weights(model)
        return {**validate(model, *arguments), "val_auc": score}

    def begun(step, *arguments):
        starts.append(weights(models.logits(classifiers[0])))
        return epoch(step, *arguments)

    classifiers = []
    monkeypatch.setattr(loop, "_validate", scored)
    monkeypatch.setattr(loop, "_epoch", begun)
    options = config.BaselineConfig(epochs=5, batch_size=10, learning_rate=0.01, ema=0.9)

    def make(classifier):
        classifiers.append(classifier)
        return clean_examples

    _, summary = fit(tmp_path / "run", options, make_splits(), make_examples=make, collapse=0.2)
    assert starts[3] == best[0.85]  # after the collapse of the third epoch
    assert starts[4] != best[0.82] and starts[2] != best[0.85]  # else the weights themselves go on, not their average
    assert (summary["epochs"], summary["best_val_auc"], summary["collapses"]) == (5, 0.9, 1)


def test_a_model_that_is_made_to_collapse_is_caught_by_its_attacked_validation_score(tmp_path, monkeypatch):
    splits = make_splits((120, 60, 60), task="binary", num_labels=1)
    options = config.AdversarialConfig(method="fast", epochs=6, batch_size=20, learning_rate=0.01, dropout=0.0)
    options = dataclasses.replace(options, train_epsilon=0.02, epsilon=0.02, step_size=0.01, steps=3)
    epoch, numbers = loop._epoch, iter(range(7))

    def spoiled(*arguments):
        logs = epoch(*arguments)
        if next(numbers) == 4:
            for weight in classifiers[0].get_layer("logits").weights:
                weight.assign(-weight)  # All that was right is wrong now.
        return logs

    classifiers = []
    monkeypatch.setattr(loop, "_epoch", spoiled)

    def make(classifier):
        classifiers.append(classifier)
        return methods.examples_of(options, splits, classifier)

    pgd = named.reported_pgd(**config.picked(options, config.ATTACK))
    ways = {"selection": named.choosing_pgd(pgd, several=False), "collapse": methods.COLLAPSE["fast"]}
    _, summary = fit(tmp_path / "run", options, splits, build=models.build_cnn, make_examples=make, **ways)
    with (tmp_path / "run" / "history.csv").open() as file:
        scores = [float(row["val_pgd_auc"]) for row in csv.DictReader(file)]
    assert summary["collapses"] == 1
    assert scores[4] < 0.5 < 0.8 < scores[3]
    assert scores[5] > 0.8  # It went on from the best weights.


def test_options_that_a_method_does_not_have_are_refused():
    for method, change, message in (
        ("fast", {"train_steps": 3}, "--train-steps: expected --method online, pgd, awp, trades. Received fast"),
        (
            "trades",
            {"adv_weight": 0.7},
            "--adv-weight: expected --method online, pgd, awp, fast, certified. Received trades",
        ),
        (
            "certified",
            {"train_steps": 3},
            "--train-steps: expected --method online, pgd, awp, trades. Received certified",
        ),
        ("pgd", {"weight_epsilon": 0.1}, "--weight-epsilon: expected --method awp. Received pgd"),
        ("pgd", {"beta": 2.0}, "--beta: expected --method trades. Received pgd"),
        ("trades", {"attack_loss": "training"}, "--attack-loss: expected --method online, pgd, awp, fast, static"),
    ):
        with pytest.raises(ExpectedError, match=message):
            config.AdversarialConfig(method=method, **change)


def test_passes_count_the_attack_and_the_clean_and_adversarial_images():
    def passes(**options):
        return methods.passes(config.AdversarialConfig(**options))

    assert passes(method="pgd", train_steps=3, adv_weight=1.0) == 4
    assert passes(method="pgd", train_steps=3, adv_weight=0.5) == 5
    assert passes(method="fast", adv_weight=1.0) == 2
    # What is trained on goes through twice: at the weights, and at the worst ones near them.
    assert passes(method="awp", train_steps=2, adv_weight=1.0) == 4
    assert passes(method="awp", train_steps=2, adv_weight=0.5) == 6
    # One image in two is attacked by a single step, the other by three; then clean and adversarial ones are trained on.
    assert passes(method="online", train_steps=3) == 4
    assert passes(method="trades", train_steps=3) == 5
    assert passes(method="static") == 1
