import keras
import numpy as np
import pytest
import tensorflow as tf

from chestrobust import losses
from chestrobust.tasks import Task


def test_binary_cross_entropy_is_the_sum_over_labels():
    # At logit 0 each label costs log 2; at logit 2 a present label costs log(1 + exp(-2)).
    loss = losses.binary_cross_entropy(np.float32([[1, 0], [1, 1]]), np.float32([[0, 0], [2, 0]]))
    np.testing.assert_allclose(loss, [2 * np.log(2), np.log1p(np.exp(-2)) + np.log(2)], rtol=1e-6)


def test_cross_entropy_of_three_equal_logits_is_log_three():
    np.testing.assert_allclose(
        losses.cross_entropy(np.float32([[0, 1, 0]]), np.float32([[5, 5, 5]])), [np.log(3)], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("task", "expected"), [("multi-label", np.log(2)), ("binary", np.log(2)), ("multi-class", np.log(4))]
)
def test_the_averaged_loss_of_undecided_logits(task, expected):
    labels = np.float32([[0, 1, 0, 0]])[:, : 1 if task == "binary" else 4]
    np.testing.assert_allclose(Task(task).training_loss("bce")(labels, np.zeros_like(labels)), [expected], rtol=1e-6)


def test_a_logit_of_a_thousand_has_a_finite_loss():
    np.testing.assert_allclose(losses.binary_cross_entropy(np.float32([[0, 1]]), np.float32([[1000, -1000]])), [2000])


def test_margins_are_signed_logits():
    labels, logits = np.float32([[1, 0, 0]]), np.float32([[2, 3, -1]])
    # -2 for the present label, +3 - 1 for the absent ones.
    np.testing.assert_allclose(losses.margin(labels, logits), [0])
    # The best wrong class has 3, the true one 2.
    np.testing.assert_allclose(losses.class_margin(labels, logits), [1])
    np.testing.assert_array_equal(losses.direction(labels), [[-1, 1, 1]])
    np.testing.assert_array_equal(losses.direction(labels, 0), [[-1, 0, 0]])
    np.testing.assert_array_equal(losses.direction(labels, 2), [[0, 0, 1]])


def test_hiding_looks_at_present_findings_alone_and_cares_little_for_hidden_ones():
    labels = np.float32([[1, 1, 0]])
    seen, hidden, well_hidden = (float(losses.hide(labels, np.float32([[z, z, 9]]))[0]) for z in (3, -5, -10))
    assert seen < hidden < well_hidden
    assert well_hidden - hidden < 0.02
    assert losses.hide(labels, np.float32([[3, 3, -9]]))[0] == seen


def test_a_targeted_loss_is_high_where_the_target_is_met():
    loss = losses.toward(losses.binary_cross_entropy)
    near, far = (float(loss(np.float32([[1, 0]]), np.float32([z]))[0]) for z in ([4, -4], [-4, 4]))
    assert near > far
    assert losses.toward(losses.binary_cross_entropy) is loss


def test_log_odds_are_each_class_against_the_rest():
    weights, logits = np.float32([[0, -1, 0], [1, 0, 0]]), np.float32([[1, 1, 1], [3, 0, 0]])
    # One class against two of the same logit: log(1 / 2); the other way round, 3 against log 2.
    np.testing.assert_allclose(losses.linear_log_odds(weights, logits), [np.log(2), 3 - np.log(2)], rtol=1e-6)


def gradient_in_a_graph(loss, labels, logits, dtype):
    @tf.function
    def slope(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = loss(labels, logits)
        return tape.gradient(values, logits)

    return slope(tf.constant(labels, dtype), tf.constant(logits, dtype)).numpy()


@pytest.mark.parametrize("task", [Task.MULTI_LABEL, Task.MULTI_CLASS])
@pytest.mark.parametrize("label", [0, 1])
def test_no_gradient_vanishes_or_cancels_in_float32(task, label):
    attacked = {name: getattr(task, name) for name in ("loss", "margin", "linear", "hide")}
    one_of_each = np.eye(3)
    trained = {name: losses.for_training(name, task, one_of_each) for name in task.training_losses}
    logits = np.tile([0.3, -0.2, 0.1], (241, 1))
    logits[:, 1] = np.linspace(-60, 60, 241)
    labels = np.tile(one_of_each[label], (241, 1))
    for name, loss in {**attacked, **trained}.items():
        slope, exact = (gradient_in_a_graph(loss, labels, logits, dtype) for dtype in (tf.float32, tf.float64))
        # Below 1e-36 float32 has no number for it.
        np.testing.assert_allclose(slope, exact, rtol=1e-4, atol=1e-36, err_msg=name)


def test_the_gradient_of_a_sure_model_is_the_closed_form():
    # A present label at logit 60: -sigmoid(-60); an absent one at -60: sigmoid(-60).
    slope = gradient_in_a_graph(losses.binary_cross_entropy, [[1.0, 0.0]], [[60.0, -60.0]], tf.float32)
    np.testing.assert_allclose(slope, [[-np.exp(-60), np.exp(-60)]], rtol=1e-4)
    # Of three classes: minus what the others have together, and half of it for each.
    slope = gradient_in_a_graph(losses.cross_entropy, [[1.0, 0.0, 0.0]], [[60.0, 0.0, 0.0]], tf.float32)
    np.testing.assert_allclose(slope, np.exp(-60) * np.float64([[-2, 1, 1]]), rtol=1e-4)


RNG = np.random.default_rng(0)
LABELS, LOGITS = (RNG.random((6, 3)) < 0.4).astype(np.float32), RNG.normal(0, 3, (6, 3)).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 0, 1]]


def test_rarity_counts_negatives_per_positive_up_to_a_cap():
    labels = np.zeros((100, 4), np.uint8)
    labels[:20, 0] = labels[:1, 1] = labels[:50, 2] = 1
    # 80/20, 99/1 capped, 50/50, and a label nobody has.
    np.testing.assert_allclose(losses.rarity(Task("multi-label"), labels), [4, 20, 1, 1])
    # Of 100 images in 4 classes an average class has 25.
    classes = np.eye(4, dtype=np.uint8)[[0] * 50 + [1] * 25 + [2] * 24 + [3]]
    np.testing.assert_allclose(losses.rarity(Task("multi-class"), classes), [0.5, 1, 25 / 24, 20])


def test_the_weighted_loss_is_tensorflows_and_counts_positives_more():
    loss = losses.for_training("weighted", Task("multi-label"), LABELS)
    weights = losses.rarity(Task("multi-label"), LABELS)
    expected = np.mean(tf.nn.weighted_cross_entropy_with_logits(LABELS, LOGITS, weights), axis=-1)
    np.testing.assert_allclose(loss(LABELS, LOGITS), expected, rtol=1e-6)
    # By hand: weight 20 on a missed positive at logit 0, and on the negative none.
    by_hand = losses.weighted(np.float32([20, 20]), np.float32([[1, 0]]), np.float32([[0, 0]]))
    np.testing.assert_allclose(by_hand, [(20 + 1) / 2 * np.log(2)], rtol=1e-6)


def test_class_weights_are_those_of_keras():
    loss = losses.for_training("weighted", Task("multi-class"), ONE_HOT)
    weights = ONE_HOT @ losses.rarity(Task("multi-class"), ONE_HOT)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)(ONE_HOT, LOGITS) * weights
    np.testing.assert_allclose(loss(ONE_HOT, LOGITS), expected, rtol=1e-5)


def test_the_focal_losses_are_those_of_keras():
    reference = keras.losses.BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True, reduction=None)
    loss = losses.for_training("focal", Task("multi-label"), LABELS)
    np.testing.assert_allclose(loss(LABELS, LOGITS), reference(LABELS, LOGITS), rtol=1e-4)
    reference = keras.losses.CategoricalFocalCrossentropy(from_logits=True, alpha=1.0, reduction=None)
    loss = losses.for_training("focal", Task("multi-class"), ONE_HOT)
    np.testing.assert_allclose(loss(ONE_HOT, LOGITS), reference(ONE_HOT, LOGITS), rtol=1e-4)


def test_the_asymmetric_loss_is_the_papers_and_forgives_easy_negatives():
    loss = losses.for_training("asymmetric", Task("multi-label"), LABELS)
    answers = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    shifted = np.maximum(answers - 0.05, 0)
    expected = -np.mean(LABELS * np.log(answers) + (1 - LABELS) * shifted**4 * np.log(1 - shifted), axis=-1)
    np.testing.assert_allclose(loss(LABELS, LOGITS), expected, rtol=1e-4)
    # A negative below 5 % costs nothing, and a positive at one half costs log 2.
    np.testing.assert_allclose(loss(np.float32([[0, 1]]), np.float32([[-4, 0]])), [np.log(2) / 2], rtol=1e-6)
    with pytest.raises(ValueError, match="multi-class"):
        losses.for_training("asymmetric", Task("multi-class"), ONE_HOT)


def test_the_pairwise_loss_counts_pairs_of_each_label_that_has_some():
    labels = np.float32([[1, 0], [0, 0], [1, 0], [0, 0]])
    logits = np.float32([[2, 5], [1, -5], [-1, 0], [3, 1]])
    pairs = np.mean(np.log1p(np.exp([1 - 2, 3 - 2, 1 + 1, 3 + 1])))  # of the first label; the second has no positive
    expected = (losses.mean_binary_cross_entropy(labels, logits).numpy() + pairs / 2) / 2
    loss = losses.for_training("pairwise", Task("multi-label"), labels)
    np.testing.assert_allclose(loss(labels, logits), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="multi-class"):
        losses.for_training("pairwise", Task("multi-class"), ONE_HOT)


@pytest.mark.parametrize("name", ["bce", "weighted", "focal", "asymmetric", "pairwise"])
def test_training_losses_and_gradients_stay_finite_at_a_logit_of_a_thousand(name):
    labels, logits = tf.constant([[0.0, 1.0, 1.0, 0.0]]), tf.constant([[1000.0, -1000.0, 1000.0, -1000.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = losses.for_training(name, Task("multi-label"), labels.numpy())(labels, logits)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, logits)).all()
