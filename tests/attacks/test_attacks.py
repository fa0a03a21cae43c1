import functools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust import attacks, losses, models
from chestrobust.attacks import autopgd, blackbox, checks
from chestrobust.attacks.norms import L2, LINF
from chestrobust.training import examples


class Linear:
    """Logits `images @ weights + bias`: the worst image in a box is known in closed form."""

    def __init__(self, weights, bias=0.0):
        self.weights, self.bias = tf.constant(weights, tf.float32), bias
        self.calls, self.largest_batch = 0, 0

    def __call__(self, images, training=False):
        assert training is False
        self.calls += 1
        return tf.reshape(images, (-1, self.weights.shape[0])) @ self.weights + self.bias


@pytest.fixture
def cnn():
    keras.utils.set_random_seed(0)
    return models.build_cnn((8, 8, 1), 3)


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    return rng.random((10, 8, 8, 1), np.float32), (rng.random((10, 3)) < 0.5).astype(np.float32)


def bce(model, images, labels):
    return losses.binary_cross_entropy(labels, model(images, training=False)).numpy()


PGD = {"epsilon": 0.05, "step_size": 0.01, "steps": 10}


def test_pgd_reaches_the_closed_form_optimum_of_a_linear_model():
    model = Linear([[1.0], [-2.0]])
    images = tf.constant([0.5, 0.95], shape=(1, 1, 2, 1))
    adversarial = attacks.pgd(model, images, tf.ones((1, 1)), epsilon=0.1, step_size=0.02, steps=10)
    # Label 1, so lower the logit: x - epsilon * sign(w), and pixel 2 stops at 1.0.
    np.testing.assert_allclose(tf.squeeze(adversarial), [0.4, 1.0], atol=1e-6)


def test_each_label_pulls_with_its_own_sign():
    model = Linear([[1.0, 0.0], [0.0, 1.0]])
    images = np.full((1, 1, 2, 1), 0.5, np.float32)
    adversarial = attacks.fgsm(model, images, np.array([[1, 0]]), epsilon=0.1)
    # Label 1 present: its pixel falls. Label 2 absent: its pixel rises.
    np.testing.assert_allclose(adversarial.squeeze(), [0.4, 0.6], atol=1e-6)


def test_fgsm_is_one_full_step_of_pgd_from_the_image(cnn, batch):
    model = models.logits(cnn)
    one = attacks.pgd(model, *batch, epsilon=0.05, step_size=0.05, steps=1, random_start=False)
    np.testing.assert_array_equal(attacks.fgsm(model, *batch, epsilon=0.05), one)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 8 / 255, 0.3, 1.0])
def test_results_stay_in_the_ball_and_in_the_pixel_range(cnn, batch, epsilon, random_start):
    images, labels = batch
    images[0], images[1] = 0, 1
    adversarial = attacks.pgd(
        models.logits(cnn), images, labels, epsilon=epsilon, step_size=0.1, steps=5, random_start=random_start
    )
    assert np.abs(adversarial - images).max() <= epsilon + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert np.isfinite(adversarial).all()
    if epsilon == 0:
        np.testing.assert_array_equal(adversarial, images)
    else:
        assert np.abs(adversarial - images).max() > 0.5 * epsilon


def test_attacks_raise_the_loss_of_every_image_and_more_steps_raise_it_more(cnn, batch):
    model = models.logits(cnn)
    images, labels = batch
    clean = bce(model, images, labels)
    fast = bce(model, attacks.fgsm(model, images, labels, epsilon=0.05), labels)
    slow = bce(model, attacks.pgd(model, images, labels, **PGD), labels)
    assert (fast > clean).all()
    assert (slow > clean).all()
    assert slow.sum() >= fast.sum() - 1e-4


def test_images_without_any_finding_are_attacked_too(cnn, batch):
    images = batch[0]
    labels = np.zeros((10, 3), np.float32)
    model = models.logits(cnn)
    adversarial = attacks.pgd(model, images, labels, **PGD)
    assert (bce(model, adversarial, labels) > bce(model, images, labels)).all()


@pytest.mark.parametrize("kind", ["numpy", "tensor"])
def test_the_result_is_of_the_kind_shape_and_dtype_of_the_images(cnn, batch, kind):
    images = batch[0].astype(np.float64) if kind == "numpy" else tf.constant(batch[0])
    adversarial = attacks.fgsm(models.logits(cnn), images, batch[1], epsilon=0.05)
    assert type(adversarial) is type(images)
    assert adversarial.shape == images.shape
    assert adversarial.dtype == images.dtype


def test_a_saturated_sigmoid_does_not_stop_an_attack_on_logits(batch):
    # At a logit of 100 a float32 sigmoid is exactly 1 and its gradient exactly 0; the logit still has one.
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dense(3, name="logits", bias_initializer=keras.initializers.Constant(100.0))(
        keras.layers.Flatten()(inputs)
    )
    classifier = keras.Model(inputs, keras.layers.Activation("sigmoid")(x))
    images, labels = batch[0], np.ones((10, 3), np.float32)
    adversarial = attacks.fgsm(models.logits(classifier), images, 1 - labels, epsilon=0.05)
    assert (adversarial != images).mean() > 0.9
    through_sigmoid = attacks.fgsm(lambda x, training: classifier(x, training=training), images, labels, epsilon=0.05)
    assert (
        bce(models.logits(classifier), adversarial, 1 - labels).sum()
        > bce(models.logits(classifier), through_sigmoid, 1 - labels).sum()
    )


def test_the_model_is_not_changed_and_runs_in_inference_mode(cnn, batch):
    before = [variable.numpy().copy() for variable in cnn.variables]
    attacks.pgd(models.logits(cnn), *batch, **PGD)
    for variable, old in zip(cnn.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    # Linear asserts `training is False` at every call.
    attacks.pgd(Linear(np.ones((64, 3))), *batch, **PGD)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(cnn, batch):
    model = models.logits(cnn)
    first, again, other = (attacks.pgd(model, *batch, **PGD, seed=seed) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_random_start_is_on_by_default_and_differs_between_images():
    flat = Linear(np.zeros((64, 3)))
    images, labels = np.full((4, 8, 8, 1), 0.5, np.float32), np.zeros((4, 3), np.float32)
    moved = attacks.pgd(flat, images, labels, **PGD) - images
    # A flat loss leaves the start as it is: uniform in the ball.
    assert len({image.tobytes() for image in moved}) == 4
    assert np.abs(moved).max() <= 0.05 + 1e-6
    assert abs(moved.mean()) < 0.01
    assert moved.std() == pytest.approx(0.05 / np.sqrt(3), rel=0.1)


def test_results_do_not_depend_on_batches_or_pieces(cnn, batch):
    model = models.logits(cnn)
    images, labels = batch
    whole = attacks.pgd(model, images, labels, **PGD, restarts=2)
    np.testing.assert_allclose(attacks.pgd(model, images, labels, **PGD, restarts=2, batch_size=3), whole, atol=1e-6)
    pieces = [
        attacks.pgd(
            model, images[at : at + 4], labels[at : at + 4], **PGD, restarts=2, indices=np.arange(at, min(at + 4, 10))
        )
        for at in (0, 4, 8)
    ]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_restarts_keep_the_worst_start_of_each_image(cnn, batch):
    model = models.logits(cnn)
    settings = {"epsilon": 0.2, "step_size": 0.2, "steps": 1}
    runs = [attacks.pgd(model, *batch, **settings, restarts=count) for count in (1, 2, 5)]
    one, two, five = (bce(model, images, batch[1]) for images in runs)
    assert (one <= two + 1e-6).all()
    assert (two <= five + 1e-6).all()
    assert five.sum() > one.sum()


def test_any_number_of_images_traces_the_model_once(batch):
    model = Linear(np.ones((64, 3)))
    for count in (1, 10, 7, 3):
        attacks.pgd(model, batch[0][:count], batch[1][:count], **PGD, restarts=2, batch_size=4)
    # Once for the step, once for the loss that compares restarts; and a look at whether these are logits.
    assert model.calls == 3


def test_a_split_is_never_attacked_in_one_tape():
    sizes = []

    def model(images, training=False):
        tf.py_function(lambda x: sizes.append(len(x)), [images], [])
        return tf.reduce_sum(images, (1, 2))

    attacks.fgsm(model, np.zeros((50, 4, 4, 1), np.float32), np.zeros((50, 1)), epsilon=0.1, batch_size=16)
    assert sizes == [checks.LOOK_AT, 16, 16, 16, 16]


@pytest.mark.parametrize("norm", [LINF, L2])
def test_apgd_is_at_least_as_strong_as_pgd_with_the_same_number_of_steps(cnn, batch, norm):
    model = models.logits(cnn)
    epsilon = 0.1 if norm is LINF else 0.5
    auto = attacks.apgd(model, *batch, epsilon=epsilon, steps=30, norm=norm)
    fixed = attacks.pgd(model, *batch, epsilon=epsilon, step_size=epsilon / 10, steps=30, norm=norm)
    assert (norm.length(auto - batch[0]).numpy() <= epsilon + 1e-5).all()
    assert auto.min() >= 0
    assert auto.max() <= 1
    assert bce(model, auto, batch[1]).sum() >= 0.999 * bce(model, fixed, batch[1]).sum()


def test_apgd_never_returns_less_than_the_best_it_has_seen(cnn, batch):
    model = models.logits(cnn)
    losses_by_steps = [bce(model, attacks.apgd(model, *batch, epsilon=0.1, steps=steps), batch[1]) for steps in (1, 50)]
    assert (losses_by_steps[1] >= losses_by_steps[0] - 1e-5).all()


def narrow_peak(images, training=False):
    """One logit, highest where the only pixel is 0.6137: off every multiple of a first step."""
    return -tf.abs(tf.reshape(images, (-1, 1)) - 0.6137)


def test_apgd_halves_its_steps_until_it_sits_on_a_narrow_peak():
    # From many places, as long steps come near by luck from some.
    images = np.linspace(0.4, 0.8, 50, dtype=np.float32).reshape(50, 1, 1, 1)
    adversarial = attacks.apgd(narrow_peak, images, np.zeros((50, 1)), epsilon=0.3, steps=100)
    np.testing.assert_allclose(adversarial, 0.6137, atol=0.003)


def test_apgd_returns_the_best_point_it_saw_not_the_last():
    # It starts beside the peak, and its first steps, which are long, lead far beyond.
    images = np.full((3, 1, 1, 1), 0.6, np.float32)
    adversarial = attacks.apgd(narrow_peak, images, np.zeros((3, 1)), epsilon=0.3, steps=3)
    np.testing.assert_array_equal(adversarial, images)


def test_falling_steps_reach_the_optimum_of_a_linear_model():
    images = tf.constant([0.5, 0.95], shape=(1, 1, 2, 1))
    adversarial = autopgd.falling_pgd(Linear([[1.0], [-2.0]]), images, tf.ones((1, 1)), epsilon=0.1, steps=3)
    np.testing.assert_allclose(tf.squeeze(adversarial), [0.4, 1.0], atol=1e-6)
    with pytest.raises(ValueError, match="steps=0"):
        autopgd.falling_pgd(Linear([[1.0], [-2.0]]), images, tf.ones((1, 1)), epsilon=0.1, steps=0)


def test_falling_steps_end_on_a_narrow_peak_and_keep_the_best_point():
    images = np.linspace(0.4, 0.8, 50, dtype=np.float32).reshape(50, 1, 1, 1)
    adversarial = autopgd.falling_pgd(narrow_peak, images, np.zeros((50, 1)), epsilon=0.3, steps=40)
    np.testing.assert_allclose(adversarial, 0.6137, atol=2 * 0.3 * autopgd.LAST)
    # It starts beside the peak, and its steps lead beyond.
    images = np.full((3, 1, 1, 1), 0.6, np.float32)
    adversarial = autopgd.falling_pgd(narrow_peak, images, np.zeros((3, 1)), epsilon=0.3, steps=3)
    np.testing.assert_array_equal(adversarial, images)


def test_falling_steps_ask_for_a_gradient_each_and_may_end_on_the_last_point():
    asked = []

    def towards(images, goal=0.75):
        asked.append(float(images[0, 0, 0, 0]))
        return -tf.reduce_sum((images - goal) ** 2, axis=(1, 2, 3)), 2 * (goal - images)

    clean = tf.fill((1, 1, 1, 1), 0.5)
    found = autopgd._fallen(towards, clean, clean, epsilon=0.2, steps=4, norm=LINF)
    assert len(asked) == 4 and float(tf.squeeze(found)) == pytest.approx(0.7) == max(asked)
    # The last step alone leads nearer than any point whose loss was asked for.
    asked.clear()
    found = autopgd._fallen(functools.partial(towards, goal=0.505), clean, clean, epsilon=0.01, steps=2, norm=LINF)
    assert asked == pytest.approx([0.5, 0.51]) and float(tf.squeeze(found)) == pytest.approx(0.51 - 0.02 * autopgd.LAST)


def test_the_checkpoints_of_apgd_are_those_of_the_paper():
    # p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99, 1.05 in units of 100 steps.
    marks = autopgd._checkpoints(100)
    assert list(marks)[:8] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert marks[22] == 22
    assert marks[41] == 19


def test_l2_attacks_reach_the_closed_form_optimum_of_a_linear_model():
    model = Linear([[3.0], [-4.0]])
    images = np.full((1, 1, 2, 1), 0.5, np.float32)
    adversarial = attacks.pgd(model, images, np.zeros((1, 1)), epsilon=0.1, step_size=0.05, steps=20, norm=L2)
    # Label 0, so raise the logit along the weights: (3, -4) / 5 * 0.1.
    np.testing.assert_allclose(adversarial.squeeze(), [0.56, 0.42], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "count"), [((-1,), 1), ((-1, 1), 3), ((-1, 3), 1), ((-1, 3, 1), 3), ((-1, 1, 3), 3), ((1, -1, 3), 3)]
)
@pytest.mark.parametrize("attack", [attacks.fgsm, attacks.apgd, attacks.square])
def test_a_model_whose_answers_would_be_broadcast_is_refused(attack, shape, count):
    weights = np.ones((4, shape[1] if len(shape) == 2 else 3 if len(shape) == 3 else 1), np.float32)

    def model(images, training=False):
        return tf.reshape(tf.reshape(images, (-1, 4)) @ weights, shape)

    with pytest.raises(ValueError, match="a logit for each label"):
        attack(model, np.full((3, 2, 2, 1), 0.5, np.float32), np.ones((3, count)), epsilon=0.1)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_l2_attacks_climb_gradients_whose_squares_float32_does_not_hold(size):
    model = Linear([[3.0 * size], [-4.0 * size]])
    images, labels = np.full((1, 1, 2, 1), 0.5, np.float32), np.zeros((1, 1))
    settings = {"epsilon": 0.1, "step_size": 0.05, "steps": 5, "random_start": False, "loss": losses.margin}
    adversarial = attacks.pgd(model, images, labels, norm=L2, **settings)
    np.testing.assert_allclose(adversarial.squeeze(), [0.56, 0.42], atol=1e-5)


def test_l2_results_stay_in_the_ball_and_in_the_pixel_range(cnn, batch):
    images, labels = batch
    images[0], images[1] = 0, 1
    for epsilon in (0.0, 0.5, 5.0):
        adversarial = attacks.pgd(
            models.logits(cnn), images, labels, epsilon=epsilon, step_size=epsilon, steps=3, norm=L2
        )
        assert (np.linalg.norm((adversarial - images).reshape(10, -1), axis=1) <= epsilon * (1 + 1e-5)).all()
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1


def test_l2_random_starts_fill_the_ball():
    flat = Linear(np.zeros((4, 1)))
    images = np.full((400, 2, 2, 1), 0.5, np.float32)
    moved = attacks.pgd(flat, images, np.zeros((400, 1)), epsilon=0.4, step_size=0.1, steps=1, norm=L2) - images
    lengths = np.linalg.norm(moved.reshape(400, -1), axis=1) / 0.4
    assert lengths.max() <= 1 + 1e-5
    # In four dimensions half of the ball's volume lies beyond 0.5 ** (1 / 4) of its radius.
    assert np.mean(lengths > 0.5**0.25) == pytest.approx(0.5, abs=0.1)


def test_momentum_goes_on_through_a_dip():
    # Uphill to 0.3, a short dip to 0.34, then uphill again: plain steps turn back, momentum carries over.
    def model(images, training=False):
        x = tf.reshape(images, (-1, 1))
        return tf.where(x < 0.3, x, tf.where(x < 0.34, 0.6 - x, x - 0.08))

    images, labels = np.full((1, 1, 1, 1), 0.2, np.float32), np.zeros((1, 1))
    settings = {"epsilon": 0.5, "step_size": 0.03, "steps": 12, "random_start": False}
    assert attacks.pgd(model, images, labels, **settings).item() < 0.35
    assert attacks.pgd(model, images, labels, **settings, momentum=1.0).item() > 0.4


def test_nesterov_momentum_turns_before_the_top_that_plain_momentum_runs_over():
    # Uphill to 0.315, then down. One pixel, so that every normalized gradient is 1 or -1, and steps of 0.01.
    def model(images, training=False):
        return 0.315 - tf.abs(tf.reshape(images, (-1, 1)) - 0.315)

    images, labels = np.full((1, 1, 1, 1), 0.3, np.float32), np.zeros((1, 1))
    settings = {"epsilon": 0.04, "steps": 4, "precision": "float32"}
    # Gradients at 0.30, 0.31, 0.32, 0.33: their sums are 1, 2, 1, 0.
    heavy = attacks.pgd(model, images, labels, **settings, step_size=0.01, random_start=False, momentum=1.0)
    assert heavy.item() == pytest.approx(0.33)
    # At 0.30, 0.31 + 0.01, 0.31, 0.32 + 0.01: 1, 0, 1, 0.
    assert attacks.ni_fgsm(model, images, labels, **settings).item() == pytest.approx(0.32)


def test_nesterov_momentum_follows_its_formula():
    centre, curvature = np.float32([0.45, 0.52, 0.57, 0.54]), np.float32([1, 2, 0.5, 4])

    def model(images, training=False):
        return -tf.reduce_sum(curvature * (tf.reshape(images, (-1, 4)) - centre) ** 2, axis=-1, keepdims=True)

    images, labels = np.full((1, 2, 2, 1), 0.5, np.float32), np.zeros((1, 1))
    x, g, step = np.full(4, 0.5), np.zeros(4), 0.1 / 8
    for _ in range(8):
        # The slope of the cross-entropy over the logit is a factor that normalization takes away.
        slope = -2 * curvature * (x + step * g - centre)
        g = g + slope / np.abs(slope).mean()
        x = np.clip(x + step * np.sign(g), 0.4, 0.6)
    moved = attacks.ni_fgsm(model, images, labels, epsilon=0.1, steps=8, precision="float32")
    np.testing.assert_allclose(moved.ravel(), x, atol=1e-6)
    plain = attacks.pgd(model, images, labels, epsilon=0.1, step_size=step, steps=8, momentum=1.0, random_start=False)
    assert np.abs(moved - plain).max() > step / 2


def test_directions_and_targets_choose_what_is_attacked(cnn, batch):
    model = models.logits(cnn)
    images, labels = batch
    before = model(images).numpy()
    only = attacks.pgd(model, images, losses.direction(labels, 1), **PGD, loss=losses.linear)
    moved = (model(only).numpy() - before) * losses.direction(labels)
    assert (moved[:, 1] > 0).all()
    target = 1 - labels
    reached = attacks.pgd(model, images, target, **PGD, loss=losses.toward(losses.binary_cross_entropy))
    assert (bce(model, reached, target) < bce(model, images, target)).all()


def test_multi_class_models_are_attacked_by_their_own_loss():
    model = Linear([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    images = np.array([0.9, 0.1, 0.5], np.float32).reshape(1, 1, 3, 1)
    adversarial = attacks.fgsm(model, images, np.array([[1, 0, 0]]), epsilon=0.05, loss=losses.cross_entropy)
    np.testing.assert_allclose(adversarial.squeeze(), [0.85, 0.15, 0.55], atol=1e-6)


def test_a_model_without_gradient_returns_the_start(batch):
    adversarial = attacks.fgsm(lambda images, training: tf.round(images)[:, 0, :3, 0], *batch, epsilon=0.05)
    np.testing.assert_array_equal(adversarial, batch[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -0.1}, "epsilon=-0.1"),
        ({"epsilon": 8}, "8 / 255"),
        ({"step_size": -1}, "step_size=-1"),
        ({"steps": 0}, "steps=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"restarts": 2, "random_start": False}, "random_start=False"),
        ({"norm": L2, "epsilon": -1}, "epsilon=-1"),
        ({"images": np.zeros((10, 8, 8, 1), np.uint8)}, "divide uint8"),
        ({"images": np.full((10, 8, 8, 1), 255, np.float32)}, "maximum 255"),
        ({"images": np.full((10, 8, 8, 1), np.nan, np.float32)}, "nan"),
        ({"images": np.zeros((8, 8, 1), np.float32)}, r"\(8, 8, 1\)"),
        ({"labels": np.zeros((9, 3))}, r"\(9, 3\)"),
        ({"labels": np.zeros(10)}, r"\(10,\)"),
        ({"labels": np.full((10, 3), -1.0)}, "Received: -1.0"),
        ({"labels": np.full((10, 3), 2)}, "Received: 2"),
        ({"labels": np.full((10, 3), np.nan)}, "Received: nan"),
        ({"labels": np.full((10, 3), np.nan), "loss": losses.linear}, "Received: nan"),
    ],
)
def test_bad_arguments_are_refused_with_the_value_received(cnn, batch, change, message):
    settings = {"images": batch[0], "labels": batch[1], **PGD, **change}
    with pytest.raises(ValueError, match=message):
        attacks.pgd(models.logits(cnn), **settings)


@pytest.mark.parametrize(
    "attack",
    [
        lambda *batch: attacks.pgd(*batch, epsilon=0.03, step_size=0.02, steps=2),
        lambda *batch: attacks.pgd(*batch, epsilon=0.3, step_size=0.2, steps=2, norm=L2),
        lambda *batch: attacks.apgd(*batch, epsilon=0.03, steps=3),
        lambda *batch: autopgd.falling_pgd(*batch, epsilon=0.03, steps=3),
        lambda *batch: blackbox.square(*batch, epsilon=0.03, queries=5),
        lambda *batch: blackbox.noise(*batch, epsilon=0.03),
    ],
)
def test_images_in_float16_stay_in_the_ball(cnn, batch, attack):
    images = batch[0].astype(np.float16)
    attacked = attack(models.logits(cnn), images, batch[1])
    change = attacked.astype(np.float64) - images
    assert attacked.dtype == np.float16
    assert 0 < np.abs(change).max() <= 0.03 + 1e-7 or np.linalg.norm(change.reshape(10, -1), axis=1).max() <= 0.3 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_a_model_that_answers_probabilities_draws_a_warning(cnn, batch):
    with pytest.warns(UserWarning, match=r"models\.logits"):
        attacks.fgsm(cnn, *batch, epsilon=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attacks.fgsm(models.logits(cnn), *batch, epsilon=0.1)
        attacks.fgsm(lambda images, training: 9 * models.logits(cnn)(images) - 4, *batch, epsilon=0.1)


@pytest.mark.parametrize("loss", [losses.margin, losses.linear])
def test_logits_in_other_units_are_attacked_alike_by_margins(cnn, batch, loss):
    model, images, labels = models.logits(cnn), *batch
    settings = {"epsilon": 0.05, "steps": 10, "precision": "float32", "loss": loss}
    usual = attacks.apgd(model, images, 1 - 2 * labels if loss is losses.linear else labels, **settings)
    for factor in (2.0**-20, 2.0**10):  # about 1e-6 and 1e3, and exact
        scaled = attacks.apgd(
            lambda images, training, factor=factor: factor * model(images, training=training),
            images,
            1 - 2 * labels if loss is losses.linear else labels,
            **settings,
        )
        np.testing.assert_array_equal(scaled, usual)


def test_an_attack_without_a_model_fails(batch):
    # The published code that this project follows crafted its training set with `model=None`.
    with pytest.raises(TypeError):
        attacks.fgsm(None, *batch, epsilon=0.1)


def examples_of(model, images, labels, adv_weight=0.5):
    settings = {"epsilon": 0.1, "step_size": 0.03, "steps": 5, "strength": lambda: 1.0}
    make = examples.half_and_half(model, losses.binary_cross_entropy, adv_weight=adv_weight, **settings)
    numbers = tf.range(len(images))
    made = make(tf.constant(images), tf.constant(labels), (0, 0), tf.cast(numbers, tf.int64), numbers, len(images))
    return made[:3]


def test_training_examples_keep_each_image_with_its_labels(batch):
    model = Linear(np.random.default_rng(0).normal(size=(64, 3)))
    images, labels = batch
    views, view_labels, weights = examples_of(model, images, labels, adv_weight=0.7)
    np.testing.assert_array_equal(views[:10], images)
    np.testing.assert_array_equal(view_labels, np.concatenate([labels, labels]))
    assert np.abs(views[10:] - images).max() <= 0.1 + 1e-6
    # Every attacked image is worse than its clean one under the labels it is trained with.
    assert (bce(model, views[10:], view_labels[10:]) > bce(model, images, labels)).all()
    np.testing.assert_allclose(weights[:10], 0.03, rtol=1e-6)
    np.testing.assert_allclose(weights[10:], 0.07, rtol=1e-6)


def test_training_examples_are_made_anew_from_the_current_weights(batch):
    rng = np.random.default_rng(0)
    model = Linear(rng.normal(size=(64, 3)))
    before = examples_of(model, *batch)[0]
    model.weights = tf.constant(rng.normal(size=(64, 3)), tf.float32)
    after = examples_of(model, *batch)[0]
    np.testing.assert_array_equal(before[:10], after[:10])
    assert (before[10:] != after[10:]).numpy().mean() > 0.3


def test_a_last_batch_of_one_image_can_be_trained_on(cnn, batch):
    views, _, weights = examples_of(models.logits(cnn), batch[0][:1], batch[1][:1])
    assert views.shape == (3, 8, 8, 1)
    assert float(tf.reduce_sum(weights)) == pytest.approx(1)
