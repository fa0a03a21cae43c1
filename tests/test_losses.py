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
