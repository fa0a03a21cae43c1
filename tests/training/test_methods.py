"""What each `--method` trains on, and what becomes of a model that learns single steps alone."""

import csv
import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from test_training import Killed, fit, kill, weights

from chestrobust import config, losses, models, runs
from chestrobust.attacks import gradient, named
from chestrobust.data import sampling
from chestrobust.data.splits import Split, Splits
from chestrobust.errors import ExpectedError
from chestrobust.training import checkpoints, divergences, experiment, loop, methods, schedules
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


@pytest.mark.slow
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


FREE = config.AdversarialConfig(
    **{"method": "free", "train_steps": 3, "train_epsilon": 0.1, "epochs": 2, "batch_size": 12, "ema": 0.5},
    **{"optimizer": "sgd", "learning_rate": 0.3, "schedule": "linear", "radius_warmup": 1.0, "precision": "float32"},
)


def free_by_hand(splits, kernel, bias, epochs=2, batches=2, replays=3):
    """Average of kernel and bias of a linear model after the free training of `FREE`, in NumPy."""
    weights, average, velocity, step = [kernel, bias], [kernel, bias], [0.0, 0.0], 0
    total = epochs * batches * replays
    for epoch in range(epochs):
        order = sampling.order("shuffle", splits.train.labels, seed=0, epoch=epoch)
        for numbers in np.split(order, batches):
            clean, labels = splits.train.images[numbers] / 255, splits.train.labels[numbers]
            start = tf.constant(clean, tf.float32), 0.1 * (step + 1) / total
            attacked = gradient.random_images(*start, tf.constant((0, epoch), tf.int64), tf.constant(numbers)).numpy()
            for _ in range(replays):
                flat = attacked.reshape(len(numbers), -1)
                error = (1 / (1 + np.exp(-flat @ weights[0] - weights[1])) - labels) / labels.size
                slopes = flat.T @ error, error.sum(0)
                upward = np.sign(error @ weights[0].T).reshape(clean.shape)
                rate = 0.3 * (1 - step / total)
                velocity = [0.9 * old - rate * slope for old, slope in zip(velocity, slopes, strict=True)]
                weights = [old + change for old, change in zip(weights, velocity, strict=True)]
                step += 1
                kept = min(0.5, (1 + step) / (10 + step))
                average = [kept * old + (1 - kept) * new for old, new in zip(average, weights, strict=True)]
                radius = 0.1 * min((step + 1) / total, 1)
                ends = np.maximum(clean - radius, 0), np.minimum(clean + radius, 1)
                attacked = np.clip(attacked + radius * upward, *ends)
    return average


def test_free_training_is_that_of_a_loop_by_hand(tmp_path):
    splits = make_splits()
    keras.utils.set_random_seed(0)
    inputs = keras.Input(splits.image_shape)
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(inputs))
    classifier = keras.Model(inputs, keras.layers.Activation("sigmoid")(logits))
    kernel, bias = (weight.astype(np.float64) for weight in classifier.get_weights())
    make = methods.examples_of(FREE, splits, classifier)
    loop.train(classifier, splits, experiment.recipe(FREE), runs.Run(tmp_path), examples=make)
    found = models.load(tmp_path / "last.keras").get_weights()
    for mine, wanted, before in zip(found, free_by_hand(splits, kernel, bias), (kernel, bias), strict=True):
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
        assert np.abs(wanted - before).max() > 0.01


@pytest.mark.slow
def test_free_training_ends_as_if_it_had_not_been_stopped(tmp_path, monkeypatch):
    splits, options = make_splits(), dataclasses.replace(FREE, batch_size=10, augment="light", optimizer="adam")

    def train(name):
        return weights(
            fit(
                *(tmp_path / name, options, splits),
                make_examples=lambda classifier: methods.examples_of(options, splits, classifier),
            )[0]
        )

    expected = train("whole")
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        save, count = checkpoints.Checkpoint.save, itertools.count()
        patch.setattr(
            checkpoints.Checkpoint, "save", lambda *arguments: kill() if next(count) == 5 else save(*arguments)
        )
        train("stopped")
    assert train("stopped") == expected


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
@pytest.mark.parametrize(
    ("method", "task"), [*((method, "binary") for method in (*METHODS, "free")), ("trades", "multi-class")]
)
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


def digits():
    """Whether digits of 8 px are odd, from scikit-learn."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    images = np.round(found.images * 255 / 16).astype(np.uint8)[..., None]
    labels = (found.target[:, None] % 2).astype(np.uint8)
    parts = (Split(images[rows], labels[rows]) for rows in (slice(1200), slice(1200, 1500), slice(1500, None)))
    return Splits("digits", "binary", ("odd",), *parts, sha256="0" * 64, synthetic=True)


def plain_fgsm(model, loss, epsilon, strength):
    """Examples as those of `fast`, but from the image itself, which is what overfits to single steps."""

    def examples(images, labels, seed, indices, positions, count):
        radius = epsilon * strength()
        attacked = gradient.ascend(model, loss, images, labels, images, epsilon=radius, step_size=radius)
        return clean_examples(attacked, labels, seed, indices, positions, count)

    return examples


@pytest.mark.slow
def test_a_model_that_overfits_to_single_steps_is_caught_and_its_best_weights_go_on(tmp_path):
    splits, layers = digits(), keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input(splits.image_shape)
    x = layers.Flatten()(inputs)
    for _ in range(3):
        x = layers.Dense(256, activation="relu")(x)
    classifier = keras.Model(inputs, layers.Activation("sigmoid")(layers.Dense(1, name="logits")(x)))
    options = config.AdversarialConfig(epochs=21, patience=21, learning_rate=3e-3, schedule="constant")
    model = models.logits(classifier)
    make = plain_fgsm(model, splits.task.loss, 0.4, schedules.ramp(model, 20 * 19))
    _, summary = loop.train(
        *(classifier, splits, experiment.recipe(options), runs.Run(tmp_path)),
        **{"examples": make, "selection": named.pgd_of(0.15, 10), "collapse": methods.COLLAPSE["fast"]},
    )
    with (tmp_path / "history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    robust = [row["val_pgd_auc"] for row in rows]
    fallen = next(epoch for epoch, score in enumerate(robust) if score < max(robust[: epoch + 1]) - 0.2)
    best = robust.index(max(robust))
    # The single step of 0.4 that it was trained on did more harm than PGD of 0.15 at first, and does less now.
    assert rows[best]["auc"] < robust[best]
    assert rows[fallen]["auc"] > robust[fallen]
    assert summary["collapses"] >= 1
    assert (summary["best_epoch"], summary["best_val_auc"]) == (best + 1, robust[best])


def test_options_that_a_method_does_not_have_are_refused():
    for method, change, message in (
        ("fast", {"train_steps": 3}, "--train-steps: expected --method online, pgd, awp, free, trades. Received fast"),
        (
            "trades",
            {"adv_weight": 0.7},
            "--adv-weight: expected --method online, pgd, awp, fast, certified. Received trades",
        ),
        (
            "certified",
            {"train_steps": 3},
            "--train-steps: expected --method online, pgd, awp, free, trades. Received certified",
        ),
        ("pgd", {"weight_epsilon": 0.1}, "--weight-epsilon: expected --method awp. Received pgd"),
        (
            "free",
            {"adv_weight": 0.7},
            "--adv-weight: expected --method online, pgd, awp, fast, certified. Received free",
        ),
        ("free", {"train_step_size": 0.1}, "--train-step-size: expected .* Received free, which trains on attacked"),
        ("free", {"train_steps": 1}, "--train-steps: expected at least 2 for --method free, .* Received: 1"),
        ("free", {"attack_loss": "training"}, "--attack-loss: expected --method online, pgd, awp, fast, static"),
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
    # Each step of the optimizer on a batch moves its images in the same pass.
    assert passes(method="free", train_steps=4) == 4
