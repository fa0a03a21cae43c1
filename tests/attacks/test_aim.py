"""Attacks on the macro AUC: as blind to shift and factor of a label's logits as the AUC is."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import losses
from chestrobust.attacks import aim, named
from chestrobust.data.splits import CHEST_LABELS, Split, Splits
from chestrobust.evaluation import metrics, outcomes
from chestrobust.tasks import Task

EPSILON = 0.02
RNG = np.random.default_rng(0)
LABELS = (RNG.random((40, 3)) < [0.2, 0.5, 0.7]).astype(np.uint8)
SCORES = RNG.normal([-3, 0, 4], [0.5, 1, 3], (40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def splits():
    """Images whose labels a linear model tells well, but not without errors."""
    images = RNG.integers(80, 176, (80, 8, 8, 1), dtype=np.uint8)
    truth = answers(images / np.float32(255)).numpy() + RNG.normal(0, 0.5, (80, 3))
    whole = Split(images, (truth > np.diag(np.quantile(truth, [0.8, 0.5, 0.3], axis=0))).astype(np.uint8))
    return Splits("linear", Task.MULTI_LABEL, CHEST_LABELS[:3], whole, whole, whole, sha256="0" * 64, synthetic=True)


WEIGHTS = tf.constant(RNG.normal(0, 1, (64, 3)), tf.float32)


def answers(images, training=False):
    """Logits that lie within one step of the radius of each other: a label's spread is about 0.9, a change 1."""
    return tf.reshape(images - 0.5, (-1, 64)) @ WEIGHTS


def moved(factors, shifts):
    """The model with other units and zeros of its logits."""
    return lambda images, training=False: answers(images) * tf.constant(factors) + tf.constant(shifts)


def score(labels, logits):
    return metrics.macro(metrics.auc(labels, logits))


def attacked(model, splits, *names):
    """Outcomes of attacks by name, clean images first."""
    known = {}
    for name in ("clean", *names):
        attack = named.of(name, epsilon=EPSILON, steps=20, restarts=1, random_start=False, seed=0, precision="float32")
        attack = named.CLEAN if name == "clean" else attack
        known[attack] = outcomes.run(model, splits.task, splits.test, attack, known=known)
    return {attack.attack: outcome.logits for attack, outcome in known.items()}


def joint_of(model, splits):
    """The joint score of the suite's gradient attacks."""
    suite = named.standard_suite(splits.task, 3, epsilon=EPSILON, steps=20, restarts=1, queries=1, seed=0)
    found = attacked(model, splits, *(name for name in suite if name.startswith("apgd")))
    logits = outcomes.joint(splits.task, splits.test.labels, np.stack([*found.values()]), found["clean"])
    return score(splits.test.labels, logits)


def test_weights_are_the_change_of_an_auc_to_first_order():
    # Label 0: 1 positive, 3 negatives, spread 1 (of 0, 0, 2, 2); label 1: everybody, no AUC.
    labels, scores = np.uint8([[1, 1], [0, 1], [0, 1], [0, 1]]), np.float32([[0, 1], [0, 2], [2, 3], [2, 4]])
    np.testing.assert_allclose(aim.weights(labels, scores), [[-4, 0], [4 / 3, 0], [4 / 3, 0], [4 / 3, 0]], rtol=1e-6)
    # If no label has an AUC, all count, and a label that is always answered alike has the unit 1.
    np.testing.assert_allclose(aim.weights(labels[:1], scores[:1]), [[-1, -1]])


def test_weights_and_pairs_see_neither_shift_nor_factor():
    factors, shifts = np.float32([0.125, 1, 8]), np.float32([3, -20, 200])
    moved = SCORES * factors + shifts
    np.testing.assert_allclose(aim.weights(LABELS, moved) * factors, aim.weights(LABELS, SCORES), rtol=1e-4)
    here, there = aim.Pairs(LABELS, SCORES), aim.Pairs(LABELS, moved)
    answers = SCORES[::-1]
    values = (
        here(tf.constant(LABELS, tf.float32), answers),
        there(tf.constant(LABELS, tf.float32), answers * factors + shifts),
    )
    np.testing.assert_allclose(*values, rtol=1e-3)


def test_wrong_pairs_are_what_the_auc_loses():
    answers = SCORES + RNG.normal(0, 1, SCORES.shape).astype(np.float32)
    harm = aim.wrong_pairs(LABELS, SCORES, np.stack([SCORES, answers]))
    # Each pair is counted by both of its images.
    assert harm[0].sum() / 2 == pytest.approx(3 - metrics.auc(LABELS, SCORES).sum())
    # One image's answer changes its own pairs alone.
    for image in range(40):
        mixed = SCORES.copy()
        mixed[image] = answers[image]
        fall = (metrics.auc(LABELS, SCORES) - metrics.auc(LABELS, mixed)).sum()
        assert harm[1, image] - harm[0, image] == pytest.approx(fall)


def test_pairs_come_close_to_the_exact_count():
    sharp = aim.Pairs(LABELS, SCORES, temperature=1e-4)
    answers = SCORES[::-1].copy()
    exact = aim.wrong_pairs(LABELS, SCORES, answers[None])[0]
    np.testing.assert_allclose(sharp(tf.constant(LABELS, tf.float32), answers) / len(LABELS), exact, atol=5e-4)
    # Thinned to quantiles.
    many, scores = np.tile(LABELS, (30, 1)), np.tile(SCORES, (30, 1)) + RNG.normal(0, 0.1, (1200, 3))
    smooth = aim.Pairs(many, scores)
    assert smooth.negatives[0].shape == (3, aim.REFERENCES)
    exact = aim.wrong_pairs(many, scores, scores[None])[0]
    loss = smooth(tf.constant(many, tf.float32), scores.astype(np.float32)) / len(many)
    assert np.corrcoef(loss, exact)[0, 1] > 0.99


def test_a_label_in_other_units_drowns_the_others_in_the_cross_entropy_and_not_in_the_auc(splits):
    alone, drowning = (
        attacked(m, splits, "apgd-bce", "apgd-auc", "apgd-pairs")
        for m in (answers, moved([1e3, 1.0, 1.0], [0.0, 5.0, -5.0]))
    )
    labels = splits.test.labels
    assert score(labels, drowning["apgd-bce"]) > score(labels, alone["apgd-bce"]) + 0.1
    for name in ("apgd-auc", "apgd-pairs"):
        assert score(labels, drowning[name]) == pytest.approx(score(labels, alone[name]), abs=0.01)


@pytest.mark.parametrize(
    ("factors", "shifts"),
    [
        ([1.0, 1.0, 1.0], [3.0, 3.0, 3.0]),
        ([1.0, 1.0, 1.0], [3.0, 0.0, -2.0]),
        ([0.1, 1.0, 10.0], [0.0, 0.0, 0.0]),
        ([10.0, 0.1, 1.0], [5.0, -1.0, 0.0]),
    ],
)
def test_the_joint_score_sees_neither_shift_nor_factor(splits, factors, shifts):
    assert joint_of(moved(factors, shifts), splits) == pytest.approx(joint_of(answers, splits), abs=0.01)


def test_aimed_attacks_are_the_strongest_on_the_auc(splits):
    found = attacked(answers, splits, "apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs")
    aucs = {name: score(splits.test.labels, logits) for name, logits in found.items()}
    assert min(aucs, key=aucs.get) in ("apgd-auc", "apgd-pairs")
    assert max(aucs, key=aucs.get) == "clean"


def test_joint_is_no_higher_than_any_of_its_candidates_and_the_floor_no_higher_than_joint():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # One label's logits drown the others, as of a label times 1000.
        candidates = rng.normal(0, [1, 1000, 0.001], (5, 40, 3))
        joint = outcomes.joint(Task.MULTI_LABEL, LABELS, candidates, candidates[0])
        floor = outcomes.floor(Task.MULTI_LABEL, LABELS, candidates)
        assert score(LABELS, floor) <= score(LABELS, joint) <= min(score(LABELS, logits) for logits in candidates)
        # A whole image at a time.
        assert (joint == candidates).all(axis=2).any(axis=0).all()


def test_joint_of_classes_takes_the_highest_cross_entropy_unless_one_attack_scores_lower():
    labels, clean = np.uint8([[1, 0], [1, 0], [0, 1], [0, 1]]), np.float32([[2, 0], [1, 0], [0, 1], [0, 2]])
    wrong = clean[:, ::-1].copy()
    mixed = np.where([[True], [False], [True], [False]], wrong, clean)
    np.testing.assert_array_equal(outcomes.joint(Task.MULTI_CLASS, labels, np.stack([clean, mixed]), clean), mixed)
    # All logits of the first are lost by a little, of the second half of them by much: AUC 0 against 1/2.
    little = np.float32([[0, 0.1], [0, 0.1], [0.1, 0], [0.1, 0]])
    much = np.float32([[0, 9], [0.3, 0], [0, 0.3], [9, 0]])
    joint = outcomes.joint(Task.MULTI_CLASS, labels, np.stack([little, much]), clean)
    assert score(labels, Task.MULTI_CLASS.ranks(joint)) == 0


def test_an_image_is_lost_if_any_attack_fools_it():
    labels = np.uint8([[1, 0], [0, 1], [1, 0]])
    first, second = np.float32([[1, 0], [1, 0], [1, 0]]), np.float32([[0, 1], [0, 1], [1, 0]])
    assert outcomes.robust_accuracy(Task.MULTI_CLASS, labels, [first, second]) == pytest.approx(1 / 3)
    assert outcomes.robust_accuracy(Task.BINARY, labels[:, :1], [first[:, :1] - 0.5]) == pytest.approx(2 / 3)


def test_a_single_label_has_one_apgd_and_one_square():
    one = named.standard_suite(Task.BINARY, 1, epsilon=0.1, steps=5, restarts=2, queries=3, seed=0)
    assert {name: [attack.attack for attack in group] for name, group in one.items()} == {
        "apgd": ["apgd"],
        "square": ["square-margin"] * 2,
    }
    assert "one and the same" in one["apgd"][0].row.note
    names = set(named.standard_suite(Task.MULTI_LABEL, 3, epsilon=0.1, steps=5, restarts=1, queries=3, seed=0))
    assert {"apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs", "label-margin", "square"} == names
    names = set(named.standard_suite(Task.MULTI_CLASS, 3, epsilon=0.1, steps=5, restarts=1, queries=3, seed=0))
    assert {"apgd-ce", "apgd-margin", "label-margin", "square"} == names


@pytest.mark.parametrize(("steps", "of_each"), [(1, 1), (20, 7), (50, 17)])
def test_each_label_alone_gets_a_third_of_the_steps(steps, of_each):
    suite = named.standard_suite(Task.MULTI_LABEL, 3, epsilon=0.1, steps=steps, restarts=1, queries=3, seed=0)
    assert [(attack.label, attack.steps) for attack in suite["label-margin"]] == [(n, of_each) for n in range(3)]
    assert suite["apgd-auc"][0].steps == steps


def test_all_losses_of_a_single_label_give_the_same_images():
    weights = tf.constant(RNG.normal(0, 1, (64, 1)), tf.float32)
    model = lambda images, training=False: tf.reshape(images, (-1, 64)) @ weights  # noqa: E731
    one = make_splits((4, 4, 30), size=8, task="binary", num_labels=1)
    found = attacked(model, one, "apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs", "apgd")
    for name in ("apgd-bce", "apgd-margin", "apgd-auc"):
        np.testing.assert_allclose(found[name], found["apgd"], atol=1e-4, err_msg=name)


def test_an_attack_for_the_auc_says_by_which_scores_it_is_aimed():
    attack = named.of("pgd-auc", epsilon=EPSILON, steps=2, step_size=0.02, restarts=1, random_start=False, seed=0)
    assert attack.reference == named.CLEAN
    aimed = attack.aimed(LABELS, SCORES)
    assert aimed.loss is losses.linear
    assert aimed.title == attack.title == "PGD-AUC-2, epsilon 0.02, step size 0.02"
    pairs = named.of("apgd-pairs", epsilon=EPSILON, steps=2, restarts=1, random_start=False, seed=0)
    assert pairs.reference == named.of("apgd-auc", epsilon=EPSILON, steps=2, restarts=1, random_start=False, seed=0)
