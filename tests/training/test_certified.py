"""`--method certified`: its loss by hand, what it is scored by, and what it refuses."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits
from keras import layers
from test_training import weights

from chestrobust import config, losses, models, runs
from chestrobust.attacks import named
from chestrobust.errors import ModelError, TrainingError
from chestrobust.evaluation import certification, metrics
from chestrobust.tasks import Task
from chestrobust.training import examples, experiment, loop, methods


def test_the_loss_is_of_clean_answers_and_of_the_worst_in_the_ball():
    keras.utils.set_random_seed(0)
    weight = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    images = tf.fill((3, 4, 4, 1), 0.5)
    labels = tf.constant([[0, 1], [1, 0], [1, 1]], tf.float32)

    def bounds(low, high):
        middle, radius = (tf.reshape(part, (3, 16)) for part in ((low + high) / 2, (high - low) / 2))
        return middle @ weight - radius @ abs(weight), middle @ weight + radius @ abs(weight)

    for strength, radius, share in ((1.0, 0.1, 0.4), (0.5, 0.05, 0.2)):
        ways = {"epsilon": 0.1, "adv_weight": 0.4, "strength": lambda strength=strength: strength}
        make = examples.bounded(bounds, **ways)
        made = make(images, labels, (0, 0), tf.range(3, dtype=tf.int64), tf.range(3), 3)
        np.testing.assert_array_equal(made.images, images)
        np.testing.assert_allclose(made.weights, 1 / 3)
        logits = tf.reshape(images, (3, 16)) @ weight
        # Of a linear model the worst image moves each pixel by the radius, against the label.
        worst = logits - radius * (2 * labels - 1) * np.abs(weight).sum(axis=0)
        loss = losses.mean_binary_cross_entropy
        expected = (1 - share) * loss(labels, logits) + share * loss(labels, worst)
        np.testing.assert_allclose(made.losses(loss, made.labels, logits), expected, rtol=1e-5)


def test_the_worst_in_the_ball_stays_inside_the_pixel_range():
    found = []
    ways = {"epsilon": 0.1, "adv_weight": 0.5, "strength": lambda: 1.0}
    make = examples.bounded(lambda *box: found.extend(box) or (tf.zeros((1, 1)), tf.zeros((1, 1))), **ways)
    images, labels = tf.constant([0, 0.5, 1.0, 0.95], shape=(1, 2, 2, 1)), tf.zeros((1, 1))
    made = make(images, labels, (0, 0), tf.range(1, dtype=tf.int64), tf.range(1), 1)
    made.losses(losses.mean_binary_cross_entropy, labels, labels)
    np.testing.assert_allclose(tf.reshape(found[0], 4), [0, 0.4, 0.9, 0.85], atol=1e-6)
    np.testing.assert_allclose(tf.reshape(found[1], 4), [0.1, 0.6, 1, 1], atol=1e-6)


@pytest.mark.slow
def test_it_certifies_what_clean_training_does_not_and_repeats_every_byte(tmp_path):
    splits = make_splits((60, 40, 40), task="binary", num_labels=1)
    options = config.AdversarialConfig(method="certified", train_epsilon=0.05, epochs=8, batch_size=10, epsilon=0.015)
    options = dataclasses.replace(options, model="certified_cnn", learning_rate=0.003, patience=8)

    def trained(name, make, selection):
        classifier = experiment.new_classifier(options, splits)
        (tmp_path / name).mkdir()
        settings = {"examples": make(classifier), "selection": selection}
        run = runs.Run(tmp_path / name)
        _, summary = loop.train(classifier, splits, experiment.recipe(options), run, **settings)
        found = certification.of(models.logits(classifier), splits.test, 0.015)
        worst = found.worst(splits.task, splits.test.labels)
        return weights(classifier), summary, metrics.auc(splits.test.labels, worst)[0]

    def make(classifier):
        return methods.examples_of(options, splits, classifier)

    selection = methods.selection(options, named.pgd_of(0.015, 3), splits.task)
    first, summary, certified = trained("first", make, selection)
    again, *_ = trained("again", make, selection)
    _, _, plain = trained("plain", lambda classifier: examples.clean_examples, selection)
    assert first == again
    assert certified > plain + 0.1
    assert summary["selected_on"] == "certified, epsilon 0.015"
    with (tmp_path / "first" / "history.csv").open() as file:
        scores = [float(row["val_certified_auc"]) for row in csv.DictReader(file)]
    assert max(scores) == summary["best_val_auc"] > 0.6


def test_what_it_cannot_train_is_refused():
    options = config.AdversarialConfig(method="certified")
    gated = models.build("cnn", (8, 8, 1), 3, attention="se")
    with pytest.raises(ModelError, match="Received: attention1_by_channel, Multiply"):
        methods.check(options, Task.MULTI_LABEL, gated)
    classes = models.build("certified_cnn", (8, 8, 1), 3, activation="softmax")
    with pytest.raises(TrainingError, match="--method certified: expected multi-label or binary data"):
        methods.check(options, Task.MULTI_CLASS, classes)
    inputs = layers.Input((8, 8, 1))
    logits = layers.Dense(3, name="logits")(layers.Flatten()(inputs))
    known = keras.Model(inputs, layers.Activation("sigmoid")(logits))
    assert methods.check(options, Task.MULTI_LABEL, known) is None


def test_the_radius_grows_unless_it_is_told_not_to_and_its_bounds_choose():
    assert config.AdversarialConfig(method="certified").radius_warmup is None
    splits = make_splits()
    classifier = models.build("certified_cnn", splits.image_shape, 3)
    models.logits(classifier).compile("sgd")
    images, labels = tf.fill((2, *splits.image_shape), 0.5), tf.zeros((2, 3))
    answers = models.logits(classifier)(images)
    shares = {}
    for warmup in (None, 0.0):
        options = config.AdversarialConfig(
            method="certified", train_epsilon=0.4, adv_weight=1.0, epochs=2, batch_size=24, radius_warmup=warmup
        )
        make = methods.examples_of(dataclasses.replace(options, epochs=8), splits, classifier)
        made = make(images, labels, (0, 0), tf.range(2, dtype=tf.int64), tf.range(2), 2)
        # With this loss a clean answer is 0 and a bound is not.
        shares[warmup] = float(made.losses(lambda labels, z: tf.reduce_sum(abs(z - answers)), labels, answers))
    assert 0 < shares[None] < shares[0.0] / 8  # a quarter of the radius and of the weight
    options, pgd = config.AdversarialConfig(method="certified"), named.pgd_of(0.1, 3)
    assert methods.selection(options, pgd, splits.task).epsilon == 0.1
    assert methods.selection(dataclasses.replace(options, select_epsilon=0.02), pgd, splits.task).epsilon == 0.02
    assert methods.passes(options) == 3
