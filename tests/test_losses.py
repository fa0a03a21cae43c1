import numpy as np
import pytest

import losses


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
    np.testing.assert_allclose(losses.averaged(task)(labels, np.zeros_like(labels)), [expected], rtol=1e-6)


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


def test_log_probabilities_turn_with_the_softmax():
    weights, logits = np.float32([[0, -1, 0]]), np.float32([[1, 1, 1]])
    np.testing.assert_allclose(losses.linear_log_probability(weights, logits), [np.log(3)], rtol=1e-6)
