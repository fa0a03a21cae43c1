"""The audit passes an honest robust model and catches every broken defence, attack and data set planted here."""

import dataclasses
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import config, models, runs
from chestrobust.attacks import named
from chestrobust.attacks.defences import straight_through
from chestrobust.attacks.named import Attack
from chestrobust.evaluation import audit, checks, forms, lines, ordering, published, slopes
from chestrobust.models import opening
from chestrobust.tasks import Task
from chestrobust.training import experiment, loop, methods

EPSILON, STEPS = 0.05, 10
NUM_LINES = 33


@pytest.fixture(scope="module")
def splits():
    return make_splits((300, 60, 96), size=8)


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
    made = methods.examples_of(options, splits, classifier)
    run = runs.Run(tmp_path_factory.mktemp("robust"))
    return loop.train(classifier, splits, experiment.recipe(options), run, examples=made, selection=pgd())[0]


def pgd(kind=Attack):
    """Of a kind, on the cross-entropy, as attacks on an AUC are bound to a split first."""
    return kind(**dataclasses.asdict(named.pgd_of(EPSILON, STEPS)))


def pgd_auc():
    return audit.in_question(Task.MULTI_LABEL, EPSILON, STEPS)


def failed(model, splits, attack=None, **settings):
    """Names of the audit's lines that failed."""
    found = audit.of_split(model, splits.task, splits.test, attack or pgd_auc(), **settings)
    assert len({line.name for line in found}) == len(found) == NUM_LINES
    assert {line.severity for line in found if line.status == audit.FAILED} <= {audit.INVALID, audit.WEAK_MODEL}
    return {line.name for line in found if line.status == audit.FAILED}


def test_calibrated_logits_that_lie_between_0_and_1_are_not_taken_for_probabilities():
    splits = make_splits((8, 8, 40), size=8, num_labels=1)
    average = splits.test.images.mean() / 255

    def brightness(images, training=False):
        return 8 * (tf.reduce_mean(images, axis=(1, 2)) - average)

    study = checks.Study(brightness, splits.task, splits.test, pgd(), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert study.invariance().status == audit.PASSED


def undefended(images, training=False):
    """Sees each label's rows, but also a pattern of single pixels that the eye would not notice."""
    rows = np.zeros((64, 3), np.float32)
    for label in range(3):
        rows[label * 16 : label * 16 + 16, label] = 10 / 16
    pixel = np.arange(64)
    pattern = np.zeros((64, 3), np.float32)
    pattern[pixel, pixel // 2 % 3] = np.where(pixel % 2, 5, -5)  # differences of neighbours: brightness cancels
    return tf.reshape(images, (-1, 64)) @ (rows + pattern) - 4


ROWS = [
    {"attack": name, "epsilon": epsilon, "macro_auc": auc, "images": 100, "max_perturbation": epsilon}
    for epsilon, aucs in {0.0: {"clean": 0.9}, 0.1: {"fgsm": 0.8, "pgd": 0.7, "joint": 0.7, "floor": 0.6}}.items()
    for name, auc in aucs.items()
] + [{"attack": "pgd", "epsilon": 0.2, "macro_auc": 0.5, "images": 100, "max_perturbation": 0.2}]


BOUND = {"attack": "certified", "epsilon": 0.1, "macro_auc": 0.55, "images": 100, "excess": -0.01}
BOUND["per_label_auc"] = {"mass": 0.5}


def test_an_honest_robust_model_passes_every_line(robust, splits):
    found = audit.of_split(
        models.logits(robust),
        splits.task,
        splits.test,
        pgd_auc(),
        variables=robust.variables,
        thorough=True,
        source=models.logits(models.build_cnn((8, 8, 1), 3)),
        undefended=undefended,
        rows=[*ROWS, BOUND, {**ROWS[-1], "stored": {"levels": 51}}],
        train=splits.train,
        facts={name: {"passed": True, "value": None, "text": "as it should be"} for name in audit.FACTS},
    )
    assert [str(line) for line in found if line.status != audit.PASSED or line.severity] == []


def test_every_line_stands_in_the_docs(robust, splits):
    text = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
    names = [line.name for line in audit.of_split(models.logits(robust), splits.task, splits.test[:2], pgd_auc())]
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == names
    assert lines.judged("falls with epsilon", False, 0.5, "").text.endswith("See docs/audit.md#falls-with-epsilon")


def test_what_is_not_run_says_what_it_needs(robust, splits):
    found = audit.of_split(models.logits(robust), splits.task, splits.test, pgd_auc())
    text = {line.name: line.text for line in found if line.status == audit.NOT_RUN}
    assert text["Square is weaker"] == text["floor without gradients"] == "needs --suite standard"
    assert text["transfer is weaker"] == "needs --transfer-from"
    assert text["undefended model collapses"] == "no undefended model of this run is known"
    assert all(reason.startswith(("needs ", "no undefended")) for reason in text.values())


def test_few_images_prove_nothing(robust, splits):
    few = splits.test[:7]
    rows = [row | {"images": 7} for row in ROWS]
    settings = {"thorough": True, "undefended": undefended, "rows": rows, "variables": robust.variables}
    found = audit.of_split(models.logits(robust), splits.task, few, pgd_auc(), **settings)
    told = {line.name for line in found if line.status != audit.NOT_RUN}
    assert told == {"rows stay in the ball", "weights untouched"}
    assert next(line.text for line in found if line.name == "falls with epsilon") == "needs 32 images; received 7"


@pytest.mark.slow
def test_any_callable_is_audited_from_python(robust, splits):
    model, test = models.logits(robust), splits.test
    images, labels = test.images / np.float32(255), test.labels
    found = audit.audit(model, images, labels, epsilon=EPSILON, steps=STEPS, undefended=undefended)
    expected = audit.of_split(model, splits.task, test, pgd_auc(), thorough=True, undefended=undefended)
    assert [(line.name, line.status) for line in found] == [(line.name, line.status) for line in expected]
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        audit.audit(model, test.images.astype(np.float32), labels, epsilon=EPSILON)


def test_logits_scaled_before_the_sigmoid_are_caught(robust, splits):
    model = models.logits(robust)
    assert "gradients" in failed(lambda images, training: 1000 * model(images, training=training), splits)


def test_a_rounding_layer_is_caught_also_by_the_gradient_free_attack(robust, splits):
    model = models.logits(robust)

    def rounded(images, training=False):
        return model(tf.round(images * 10) / 10, training=training)

    assert {"gradients", "Square is weaker"} <= failed(rounded, splits, thorough=True)


@pytest.mark.parametrize(
    ("factor", "offset"),
    [(1e-6, 0), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((1e-3, 0), (0.03, 0), (1, 30), (1, -30)))],
)
def test_a_decoy_is_caught_whatever_the_size_of_its_logits(robust, splits, factor, offset):
    model = models.logits(robust)

    def decoy(images, training=False):
        return factor * model(tf.round(images * 10) / 10, training=training) + offset

    assert {"Square is weaker", "floor without gradients"} <= failed(decoy, splits, thorough=True)


@pytest.mark.parametrize(("factor", "offset"), [(1e-3, 0), pytest.param(10, 0, marks=pytest.mark.slow), (1, 3)])
def test_an_honest_model_is_trusted_whatever_the_size_of_its_logits(robust, splits, factor, offset):
    model = models.logits(robust)

    def calibrated(images, training=False):
        return factor * model(images, training=training) + offset

    assert failed(calibrated, splits) - {"logits are logits"} == set()


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


def test_randomness_that_python_draws_is_caught_though_a_graph_repeats_it(robust, splits):
    model, generator = models.logits(robust), np.random.default_rng(0)

    def noisy(images, training=False):
        return model(images + generator.normal(0, 0.1, (1, 8, 8, 1)).astype(np.float32), training=training)

    assert "deterministic" in failed(noisy, splits)


def pixels(splits, **changed):
    """A linear model that sees each label's rows, and what becomes of the images that single labels see."""

    def model(images, training=False):
        rows = [
            tf.reduce_sum(changed.get(f"label{label}", tf.identity)(images)[:, 2 * label : 2 * label + 2], (1, 2, 3))
            for label in range(splits.labels.shape[1])
        ]
        return tf.stack(rows, axis=1) - 8

    return model


@pytest.mark.parametrize(
    ("hidden", "lines"),
    [
        (lambda images: tf.round(images * 3) / 3, {"gradients", "answers follow gradients", "floor without gradients"}),
        # A gradient there is, but of another pixel than the one that decides.
        (
            lambda images: tf.stop_gradient(images - 0.3 * images[:, ::-1]) + 0.3 * images[:, ::-1],
            {"answers follow gradients", "floor without gradients"},
        ),
    ],
)
def test_one_label_of_many_that_hides_its_gradient_is_caught(hidden, lines):
    splits = make_splits((8, 8, 128), size=24, num_labels=12)
    settings = {"thorough": True, "attack": audit.in_question(Task.MULTI_LABEL, 0.1, 10)}
    assert failed(pixels(splits.test), splits, **settings) == set()
    assert failed(pixels(splits.test, label0=hidden), splits, **settings) == lines


def swapped(images):
    """The images, with the gradient of their mirror image."""
    return tf.stop_gradient(images - images[:, :, ::-1]) + images[:, :, ::-1]


def reseeded(images):
    """Images with noise that any other image has another draw of."""
    total = tf.cast(tf.reduce_sum(tf.cast(images * 1e6, tf.int64) * tf.range(1, 9, dtype=tf.int64)), tf.int32)
    return images + tf.random.stateless_normal(tf.shape(images), (total, 0), stddev=0.3)


def between_levels(images):
    """Images as they are at whole grey levels, and without their contrasts between them."""
    levels = 255 * images
    off = tf.reduce_max(tf.abs(levels - tf.round(levels)), axis=(1, 2, 3), keepdims=True) > 0.05
    return tf.where(off, 0.1 * images, images)


@pytest.mark.parametrize(
    ("defence", "caught"),
    [
        (swapped, True),
        (lambda images: tf.map_fn(reseeded, images), True),
        (between_levels, True),
        # A gradient that leads through a step without one is no decoy.
        (straight_through(lambda images: tf.round(images * 31) / 31), False),
        (lambda images: 0.8 * images + 0.1, False),
    ],
)
def test_a_gradient_that_answers_do_not_follow_is_caught_by_the_quick_suite(splits, defence, caught):
    weights = tf.random.stateless_normal((64, 3), (0, 0))

    def model(images, training=False):
        return tf.reshape(defence(images), (-1, 64)) @ weights

    study = checks.Study(model, splits.task, splits.test, pgd(), {})
    assert (study.follows().status == audit.FAILED) == caught
    assert study.gradients().status == audit.PASSED


def test_labels_in_another_order_are_caught(robust, splits):
    model = models.logits(robust)

    def turned(images, training=False):
        return tf.gather(model(images, training=training), [1, 0, 2], axis=1)

    assert "labels in order" in failed(turned, splits)


@pytest.mark.parametrize(
    ("form", "turn"),
    [
        ("inverted", lambda images: 1 - images),
        ("transposed", lambda images: tf.transpose(images, (0, 2, 1, 3))),
        ("upside down", lambda images: images[:, ::-1]),
        (None, tf.identity),
    ],
)
def test_images_in_another_form_than_the_models_are_noted(splits, form, turn):
    weights = np.repeat(np.eye(4, 3), 2, axis=0)[:, None] - 0.1  # of rows, as each label is in its own

    def model(images, training=False):
        return tf.einsum("nijc,ikl->nl", turn(images), tf.constant(weights, tf.float32))

    found = forms.line(model, splits.task, splits.test.images / np.float32(255), splits.test.labels)
    assert (found.status, found.severity) == (audit.PASSED, audit.NOTE if form else None)
    assert form is None or f"images that are {form}" in found.text


def test_columns_change_places_only_where_that_is_no_chance():
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 6)) < 0.3).astype(np.uint8)
    scores = labels + generator.standard_normal(labels.shape)
    assert ordering.gain(labels, scores).max() <= 0
    assert ordering.gain(labels, scores[:, [1, 0, 2, 3, 4, 5]]).min() > 0.05
    by_chance = [ordering.gain(labels[:64], generator.standard_normal((64, 6))) for _ in range(50)]
    assert abs(np.mean(by_chance)) < 0.02
    labels[:, 0] = 0  # says nothing of any column
    assert ordering.gain(labels, scores).max() <= 0
    assert np.isnan(ordering.gain(0 * labels, scores)).all()


def test_batchnorm_in_training_mode_is_caught(robust, splits):
    copy = keras.models.clone_model(robust)
    copy.set_weights(robust.get_weights())
    model = models.logits(copy)
    found = failed(lambda images, training: model(images, training=True), splits, variables=copy.variables)
    assert {"alone as in a batch", "weights untouched"} <= found


def test_chance_and_batch_are_seen_in_a_label_beside_much_larger_ones(robust, splits):
    model = models.logits(robust)
    scale, last = tf.constant([1e6, 1e6, 1.0]), tf.constant([0.0, 0.0, 1.0])

    def noisy(images, training=False):
        logits = scale * model(images, training=training)
        return logits + 0.5 * last * tf.random.normal(tf.shape(logits))

    def centred(images, training=False):
        logits = scale * model(images, training=training)
        return logits - last * tf.reduce_mean(logits, axis=0)

    def judged(defence):
        study = checks.Study(defence, splits.task, splits.test, pgd(), {})
        return study.deterministic().status, study.alone().status

    assert judged(noisy)[0] == judged(centred)[1] == audit.FAILED
    assert judged(lambda images, training=False: scale * model(images, training=training)) == (audit.PASSED,) * 2


def test_answers_that_depend_on_the_images_before_are_caught(robust, splits):
    model = models.logits(robust)

    def position(images, training=False):
        logits = model(images, training=training)
        late = tf.cast(tf.range(tf.shape(logits)[0]) > 16, tf.float32)[:, None]
        return logits + 3 * late * tf.reduce_mean(logits, axis=0, keepdims=True)

    study = checks.Study(position, splits.task, splits.test, pgd(), {})
    assert study.alone().status == audit.FAILED


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
        labels = 1 - labels if self.steps and self.steps > 1 else labels
        return super().__call__(model, images, labels, **settings)


class Idle(Attack):
    """Stops after the random start."""

    def __call__(self, model, images, labels, **settings):
        attack = dataclasses.replace(self, attack="noise") if self.steps and self.steps > 1 else self
        return Attack.__call__(attack, model, images, labels, **settings)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Unprojected, "perturbation"),
        (Normalized, "perturbation"),
        (Unclipped, "perturbation"),
        (Descending, "single-step is weaker"),
        (Descending, "noise is weaker"),
        (Idle, "single-step is weaker"),
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


def rows_of(**changed):
    """`ROWS` with other macro AUCs at radius 0.1, by attack."""
    return [
        row | {"macro_auc": changed.get(row["attack"], row["macro_auc"])} if row["epsilon"] == 0.1 else row
        for row in ROWS
    ]


def checked(rows):
    return [check(rows) for check in published.CHECKS]


@pytest.mark.parametrize(
    ("rows", "line", "value"),
    [
        (rows_of(joint=0.72), "joint is the worst", 0.02),
        (rows_of(joint=0.75, fgsm=0.69), "joint is the worst", 0.06),
        (rows_of(floor=0.71), "floor is below", 0.01),
        (rows_of(fgsm=0.6), "PGD is the strongest", 0.1),
        ([*ROWS, ROWS[2] | {"stored": {"macro_auc": 0.6}}], "PGD is the strongest", 0.1),
        ([*ROWS, ROWS[2] | {"attack": "square", "macro_auc": 0.059}], "PGD is the strongest", 0.641),
        ([*ROWS, ROWS[2] | {"epsilon": 0.3, "macro_auc": 0.56}], "rows fall with epsilon", 0.06),
        ([*ROWS, ROWS[2] | {"attack": "noise", "max_perturbation": 0.11}], "rows stay in the ball", 0.01),
        ([*ROWS, ROWS[2] | {"stored": {"levels": 26}}], "stored images stay in the ball", 1),
    ],
)
def test_rows_that_contradict_each_other_are_caught(rows, line, value):
    assert [one.status for one in checked([*ROWS, BOUND])] == [audit.PASSED] * 6 + [audit.NOT_RUN]
    found = {one.name: one for one in checked(rows)}[line]
    assert (found.status, found.severity) == (audit.FAILED, audit.INVALID)
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("row", "bound", "value"),
    [
        ({}, {"macro_auc": 0.65}, 0.05),  # the floor's 0.6 is inside the ball, the 0.5 of a larger one isn't
        ({}, {"excess": 0.02}, 0.02),
        ({"attack": "noise", "epsilon": 0.05, "macro_auc": 0.5}, {}, 0.05),
        ({"attack": "noise", "per_label_auc": {"mass": 0.4}}, {}, 0.1),
        ({"attack": "noise", "per_label_auc": {"mass": None}}, {"excess": 0.02}, 0.02),
    ],
)
def test_a_certificate_that_something_lies_below_is_none(row, bound, value):
    line = checked([*ROWS, ROWS[1] | row, BOUND | bound])[-2]
    assert (line.name, line.status, line.severity) == ("certified is a lower bound", audit.FAILED, audit.INVALID)
    assert line.value == pytest.approx(value)


def test_what_is_scored_label_by_label_may_lie_below_the_joint_score():
    alone = ROWS[2] | {"attack": "label-margin", "macro_auc": 0.4}
    assert [one.status for one in checked([*ROWS, alone])][:5] == [audit.PASSED] * 5


def test_a_model_that_knows_nothing_is_weak_and_nothing_else(splits):
    model = models.logits(models.build_cnn((8, 8, 1), 3))
    test = splits.test
    half = dataclasses.replace(test, labels=np.random.default_rng(0).permutation(test.labels))
    found = {line.name: line for line in audit.of_split(model, splits.task, half, pgd_auc(), undefended=model)}
    assert found["clean above chance"].severity == audit.WEAK_MODEL
    for name in ("falls with epsilon", "undefended model collapses", "corners"):
        assert found[name].status == audit.NOT_RUN


def test_a_small_radius_needs_no_collapse(splits):
    few = audit.in_question(Task.MULTI_LABEL, 0.004, STEPS)
    strong = audit.of_split(undefended, splits.task, splits.test, few, undefended=undefended)
    assert next(line for line in strong if line.name == "undefended model collapses").status == audit.PASSED


def test_copies_of_training_images_are_noted(robust, splits):
    train = dataclasses.replace(splits.train, images=np.concatenate([splits.train.images, splits.test.images[5:8]]))
    found = audit.of_split(models.logits(robust), splits.task, splits.test, pgd_auc(), train=train)
    line = next(line for line in found if line.name == "copies of training images")
    assert (line.status, line.severity, line.value) == (audit.PASSED, audit.NOTE, 3)
    assert str(line).startswith("   note  copies of training images: 3: ")


def test_a_label_burnt_into_a_corner_is_noted(splits):
    images = splits.test.images.copy()
    images[:, 0, 0, 0] = 255 * splits.test.labels[:, 0]
    test = dataclasses.replace(splits.test, images=images, labels=splits.test.labels[:, :1])

    def reads_the_corner(images, training=False):
        return 10 * images[:, 0, 0] + 0.1 * tf.reduce_mean(images, axis=(1, 2)) - 5

    line = next(line for line in audit.of_split(reads_the_corner, Task.BINARY, test, pgd()) if line.name == "corners")
    assert (line.status, line.severity) == (audit.PASSED, audit.NOTE)


def test_facts_that_the_loader_found_become_lines(robust, splits):
    fact = {"passed": False, "value": 0.3, "text": "0 to 255 fits better"}
    found = audit.of_split(models.logits(robust), splits.task, splits.test, pgd_auc(), facts={"input range": fact})
    status = {line.name: line.status for line in found}
    assert (status["input range"], status["logits give the answers"]) == (audit.FAILED, audit.NOT_RUN)


def test_a_loss_that_cancels_in_float32_is_caught():
    labels, logits = np.ones((1, 1)), np.full((1, 1), 25.0)

    def cancels(labels, logits):
        return -tf.reduce_sum(labels * tf.math.log(tf.sigmoid(logits)), axis=-1)

    assert slopes.gradient_gap(cancels, labels, logits) > 0.5
    assert (
        slopes.gradient_gap(lambda labels, logits: -tf.reduce_sum(tf.math.log_sigmoid(logits), -1), labels, logits)
        < 1e-5
    )


def test_numbers_that_are_none_fail_unless_images_cannot_tell():
    nan = float("nan")
    assert lines.judged("x", True, nan, "an AUC").status == audit.FAILED
    assert lines.judged("x", True, nan, "a gap", may_be_undefined=True).status == audit.NOT_RUN


@pytest.mark.parametrize(("best_other", "severity"), [(0.5, None), (0.3, "note")])
def test_a_range_that_fits_a_little_better_is_noted(best_other, severity):
    fits = {"0 255": 0.4, "0 1": 0.9, "-1 1": best_other}
    facts = audit.facts(opening.Opened(None, "sigmoid", (), 0.0, 1e-4, "0 255", fits))
    line = lines.judged("input range", **facts["input range"])
    assert (line.status, line.severity) == (audit.PASSED, severity)
    assert f"{best_other:.3f}" in line.text
