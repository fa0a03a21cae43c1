import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import metrics


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(np.uint8)
    return labels, np.round(rng.normal(size=(200, 4)) + labels, 1)


def test_scores_are_those_of_scikit_learn_with_ties(predictions):
    labels, logits = predictions
    result = metrics.summary("multi-label", "abcd", labels, logits)
    assert result["macro_auc"] == pytest.approx(roc_auc_score(labels, logits, average="macro"), abs=1e-12)
    assert result["macro_ap"] == pytest.approx(average_precision_score(labels, logits, average="macro"), abs=1e-12)
    assert result["per_label_auc"]["b"] == pytest.approx(roc_auc_score(labels[:, 1], logits[:, 1]), abs=1e-12)
    assert result["undefined_labels"] == []


def test_scores_are_those_of_medmnists_evaluator(predictions):
    evaluator = pytest.importorskip("medmnist.evaluator", reason="needs medmnist: make setup installs it")
    labels, logits = predictions
    scores = metrics.probabilities("multi-label", logits)
    result = metrics.summary("multi-label", "abcd", labels, logits)
    assert result["macro_auc"] == pytest.approx(evaluator.getAUC(labels, scores, "multi-label, binary-class"), abs=1e-9)
    assert result["accuracy"] == pytest.approx(evaluator.getACC(labels, scores, "multi-label, binary-class"), abs=1e-9)
    classes = labels.argmax(axis=1)
    one_hot = np.eye(4, dtype=np.uint8)[classes]
    result = metrics.summary("multi-class", "abcd", one_hot, logits)
    scores = metrics.probabilities("multi-class", logits)
    assert result["macro_auc"] == pytest.approx(evaluator.getAUC(classes, scores, "multi-class"), abs=1e-9)
    assert result["accuracy"] == pytest.approx(evaluator.getACC(classes, scores, "multi-class"), abs=1e-9)


def test_real_predictions_give_the_published_macro_auc(samples):
    for path, expected in zip(
        sorted((samples / "nih_predictions").glob("*.npz")), (0.7025, 0.7007, 0.7305), strict=True
    ):
        with np.load(path) as archive:
            labels, logits = archive["test_labels"], archive["test_logits"]
        assert metrics.macro(metrics.auc(labels, logits)) == pytest.approx(expected, abs=5e-5)


def test_a_label_without_positives_or_negatives_is_named_and_left_out(predictions):
    labels, logits = predictions
    expected = np.mean([roc_auc_score(labels[:, label], logits[:, label]) for label in (0, 3)])
    labels[:, 1], labels[:, 2] = 0, 1
    result = metrics.summary("multi-label", "abcd", labels, logits)
    assert result["undefined_labels"] == ["b", "c"]
    assert result["per_label_auc"]["b"] is None
    assert result["per_label_ap"]["c"] is None
    assert result["macro_auc"] == pytest.approx(expected)


def test_no_defined_label_at_all_is_null_not_a_half():
    result = metrics.summary("binary", ["a"], np.ones((5, 1), np.uint8), np.zeros((5, 1)))
    assert result["macro_auc"] is None
    assert result["macro_ap"] is None


def test_large_logits_keep_their_order():
    # float32 sigmoids of both are exactly 1: a tie, and an AUC of 0.5.
    logits = np.float32([[40], [50]])
    assert metrics.summary("binary", ["a"], np.uint8([[0], [1]]), logits)["macro_auc"] == 1


def test_constant_scores_have_an_auc_of_a_half():
    labels = np.uint8([[0], [1], [1]])
    assert metrics.summary("binary", ["a"], labels, np.zeros((3, 1)))["macro_auc"] == 0.5


def test_answering_no_to_everything_is_accurate_and_worthless():
    labels = np.uint8([[0]] * 95 + [[1]] * 5)
    result = metrics.summary("binary", ["a"], labels, np.full((100, 1), -3.0))
    assert result["accuracy"] == 0.95
    assert result["macro_auc"] == 0.5
