import json

import numpy as np
import pytest

from chestrobust import losses
from chestrobust.tasks import Task


def test_a_task_is_its_name_in_results_and_texts():
    assert json.dumps({"task": Task.MULTI_LABEL}) == '{"task": "multi-label"}'
    assert f"{Task('binary')}" == "binary"
    with pytest.raises(ValueError, match="multi-task"):
        Task("multi-task")


@pytest.mark.parametrize("task", Task)
def test_losses_and_activation_are_those_of_the_labels(task):
    labels, logits = np.float32([[1, 0]]), np.float32([[0.5, 2.0]])
    expected = np.exp(0.5) / (np.exp(0.5) + np.exp(2)) if task.exclusive else 1 / (1 + np.exp(-0.5))
    assert float(task.activate(logits)[0, 0]) == pytest.approx(expected)
    assert task.probabilities(logits)[0, 0] == pytest.approx(expected)
    entropy = -np.log(expected) + (0 if task.exclusive else np.log1p(np.exp(2)))
    assert float(task.loss(labels, logits)[0]) == pytest.approx(entropy)
    assert float(task.training_loss("bce")(labels, logits)[0]) == pytest.approx(entropy / (1 if task.exclusive else 2))
    assert float(task.margin(labels, logits)[0]) == pytest.approx(1.5)
    assert float(task.hide(labels, logits)[0]) == pytest.approx(
        -np.log(expected) if task.exclusive else -np.log1p(np.exp(0.5))
    )
    weights = losses.presence(labels, 1)
    assert weights.tolist() == [[0, 1]]
    assert float(task.linear(weights, logits)[0]) == pytest.approx(2 - (0.5 if task.exclusive else 0))
    for name in task.training_losses:
        assert callable(task.training_loss(name))
    assert ("asymmetric" in task.training_losses) != task.exclusive


def test_a_report_names_what_reaches_its_threshold_or_the_likeliest_class():
    logits = np.float32([[-1, 0, 1], [-3, -2, -1]])
    thresholds = np.array([0.2, 0.5, 0.9])
    labels = Task.MULTI_LABEL.predicted(logits, thresholds)
    assert labels.tolist() == [[True, True, False], [False, False, False]]
    assert Task.MULTI_CLASS.predicted(logits, thresholds).tolist() == [[False, False, True]] * 2


def test_labels_taken_apart_or_left_alone_are_another_task():
    assert [task.apart() for task in Task] == [Task.MULTI_LABEL, Task.BINARY, Task.MULTI_LABEL]
    assert [task.of(1) for task in Task] == [Task.BINARY, Task.BINARY, Task.MULTI_CLASS]
    assert Task.MULTI_LABEL.of(2) is Task.MULTI_LABEL


def test_strata_are_classes_and_several_labels_have_none():
    one_hot = np.uint8([[1, 0], [0, 1], [0, 1]])
    assert Task.MULTI_LABEL.strata(one_hot) is None
    assert Task.MULTI_CLASS.strata(one_hot).tolist() == [1, 2, 2]
    assert Task.BINARY.strata(np.uint8([[0], [1]])).tolist() == [0, 1]
