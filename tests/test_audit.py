"""The audit passes an honest robust model and catches every broken defence, attack and data set planted here."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import config, models, runs
from chestrobust.attacks import named
from chestrobust.attacks.named import Attack
from chestrobust.evaluation import audit
from chestrobust.training import experiment, loop

EPSILON = 0.05


@pytest.fixture(scope="module")
def splits():
    return make_splits((300, 60, 160), size=8)


@pytest.fixture(scope="module")
def robust(splits, tmp_path_factory):
    """A small adversarially trained classifier."""
    options = config.AdversarialConfig(
        epochs=10,
        batch_size=30,
        learning_rate=0.01,
        dropout=0.0,
        train_epsilon=EPSILON,
        train_step_size=0.02,
        train_steps=4,
    )
    keras.utils.set_random_seed(0)
    classifier = models.build_cnn((8, 8, 1), 3)
    made = experiment.adversarial_examples(options, splits, classifier)
    run = runs.Run(tmp_path_factory.mktemp("robust"))
    return loop.train(classifier, splits, experiment.recipe(options), run, examples=made, selection=pgd())[0]


def pgd(kind=Attack):
    return kind(**dataclasses.asdict(named.pgd_of(EPSILON, 20)))


def failed(model, splits, attack=None, **settings):
    """Names of the audit's lines that failed."""
    lines = audit.audit(model, splits.task, splits.test, attack or pgd(), **settings)
    assert len({line.name for line in lines}) == len(lines) == 16
    return {line.name for line in lines if line.status == audit.FAILED}


def test_an_honest_robust_model_passes_every_line(robust, splits):
    model = models.logits(robust)
    weak = models.logits(models.build_cnn((8, 8, 1), 3))
    # Sees each label's rows, but also a pattern of single pixels that the eye would not notice.
    rows = np.zeros((64, 3), np.float32)
    for label in range(3):
        rows[label * 16 : label * 16 + 16, label] = 10 / 16
    pixel = np.arange(64)
    pattern = np.zeros((64, 3), np.float32)
    pattern[pixel, pixel // 2 % 3] = np.where(pixel % 2, 5, -5)  # differences of neighbours: brightness cancels

    def undefended(images, training=False):
        return tf.reshape(images, (-1, 64)) @ (rows + pattern) - 4

    lines = audit.audit(
        model,
        splits.task,
        splits.test,
        pgd(),
        variables=robust.variables,
        thorough=True,
        source=weak,
        undefended=undefended,
    )
    assert [line for line in lines if line.status != audit.PASSED] == []


def test_what_is_not_run_says_what_it_needs(robust, splits):
    lines = audit.audit(models.logits(robust), splits.task, splits.test, pgd())
    assert {line.name: line.text for line in lines if line.status == audit.NOT_RUN} == {
        "Square is weaker": "needs --suite standard",
        "transfer is weaker": "needs --transfer-from",
        "undefended model collapses": "no undefended model of this run is known",
    }


def test_logits_scaled_before_the_sigmoid_are_caught(robust, splits):
    model = models.logits(robust)
    assert "gradients" in failed(lambda images, training: 1000 * model(images, training=training), splits)


def test_a_rounding_layer_is_caught_also_by_the_gradient_free_attack(robust, splits):
    model = models.logits(robust)

    def rounded(images, training=False):
        return model(tf.round(images * 10) / 10, training=training)

    assert {"gradients", "Square is weaker"} <= failed(rounded, splits, thorough=True)


def test_random_noise_at_inference_is_caught(robust, splits):
    model = models.logits(robust)

    def noisy(images, training=False):
        return model(images + tf.random.normal(tf.shape(images), stddev=0.1), training=training)

    assert "deterministic" in failed(noisy, splits)


def test_random_resizing_is_caught(robust, splits):
    model = models.logits(robust)

    def resized(images, training=False):
        side = tf.random.uniform((), 5, 9, tf.int32)
        return model(tf.image.resize(tf.image.resize(images, (side, side)), (8, 8)), training=training)

    assert "deterministic" in failed(resized, splits)


def test_batchnorm_in_training_mode_is_caught(robust, splits):
    copy = keras.models.clone_model(robust)
    copy.set_weights(robust.get_weights())
    model = models.logits(copy)
    found = failed(lambda images, training: model(images, training=True), splits, variables=copy.variables)
    assert {"alone as in a batch", "weights untouched"} <= found


def test_probabilities_given_as_logits_are_caught(robust, splits):
    assert "logits are logits" in failed(robust, splits)


def test_gradients_that_underflow_in_float16_are_caught(robust, splits):
    model = models.logits(robust)

    def half(images, training=False):
        # The answers rank as before, but what flows back through float16 is below its smallest number.
        return 1e-7 * model(tf.cast(tf.cast(images, tf.float16), tf.float32), training=training)

    assert "gradients" in failed(half, splits)


def test_labels_misaligned_by_one_are_caught(robust, splits):
    test = splits.test
    shifted = dataclasses.replace(splits, test=dataclasses.replace(test, labels=np.roll(test.labels, 1, axis=0)))
    assert "clean above chance" in failed(models.logits(robust), shifted)


class Unprojected(Attack):
    """Forgets to project."""

    def __call__(self, model, images, labels, **settings):
        adversarial = super().__call__(model, images, labels, **settings)
        return np.clip(images + 1.5 * (adversarial - images), 0, 1)


class Normalized(Attack):
    """Works on images that were normalized outside of the model, with the radius in normalized units."""

    def __call__(self, model, images, labels, **settings):
        adversarial = super().__call__(model, images, labels, **settings)
        return images + 0.25 * (adversarial - images)


class Unclipped(Attack):
    """Forgets the range of the pixels."""

    def __call__(self, model, images, labels, **settings):
        return images + self.epsilon * np.sign(images - 0.3)


class Descending(Attack):
    """Goes down the loss instead of up, in every attack with more than one step."""

    def __call__(self, model, images, labels, **settings):
        labels = 1 - labels if self.attack == "pgd" else labels
        return super().__call__(model, images, labels, **settings)


class Idle(Attack):
    """Stops after the random start."""

    def __call__(self, model, images, labels, **settings):
        attack = dataclasses.replace(self, attack="noise") if self.attack == "pgd" else self
        return Attack.__call__(attack, model, images, labels, **settings)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Unprojected, "perturbation"),
        (Normalized, "perturbation"),
        (Unclipped, "perturbation"),
        (Descending, "single-step is weaker"),
        (Descending, "noise is weaker"),
        (Idle, "falls with epsilon"),
    ],
)
def test_a_broken_attack_is_caught(robust, splits, kind, line):
    assert line in failed(models.logits(robust), splits, pgd(kind))


def test_a_nan_image_is_caught(robust, splits):
    class Broken(Attack):
        def __call__(self, model, images, labels, **settings):
            return np.where(images > 0.3, np.nan, images)

    assert {"perturbation", "noise is weaker"} & failed(models.logits(robust), splits, pgd(Broken))


def test_an_undefended_model_that_does_not_collapse_is_caught(robust, splits):
    model = models.logits(robust)
    assert "undefended model collapses" in failed(model, splits, undefended=model)


def test_a_source_that_transfers_better_than_the_attack_is_caught(robust, splits):
    model = models.logits(robust)

    def rounded(images, training=False):
        return model(tf.round(images * 10) / 10, training=training)

    assert "transfer is weaker" in failed(rounded, splits, source=model)
