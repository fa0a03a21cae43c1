import warnings

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from chestrobust.data.splits import CHEST_LABELS
from chestrobust.evaluation import calibration, metrics
from chestrobust.tasks import Task


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(np.uint8)
    return labels, np.round(rng.normal(size=(200, 4)) + labels, 1)


@pytest.fixture
def real(samples):
    with np.load(samples / "nih_predictions" / "searched_nonrec_seed0.npz") as archive:
        return archive["test_labels"], archive["test_logits"], archive["test_patient"]


def test_scores_are_those_of_scikit_learn_with_ties(predictions):
    labels, logits = predictions
    result = metrics.summary(Task("multi-label"), "abcd", labels, logits)
    assert result["macro_auc"] == pytest.approx(roc_auc_score(labels, logits, average="macro"), abs=1e-12)
    assert result["macro_ap"] == pytest.approx(average_precision_score(labels, logits, average="macro"), abs=1e-12)
    assert result["per_label_auc"]["b"] == pytest.approx(roc_auc_score(labels[:, 1], logits[:, 1]), abs=1e-12)
    assert result["undefined_labels"] == []


def test_scores_are_those_of_medmnists_evaluator(predictions):
    evaluator = pytest.importorskip("medmnist.evaluator", reason="needs medmnist: make setup installs it")
    labels, logits = predictions
    scores = Task("multi-label").probabilities(logits)
    result = metrics.summary(Task("multi-label"), "abcd", labels, logits)
    assert result["macro_auc"] == pytest.approx(evaluator.getAUC(labels, scores, "multi-label, binary-class"), abs=1e-9)
    assert result["accuracy"] == pytest.approx(evaluator.getACC(labels, scores, "multi-label, binary-class"), abs=1e-9)
    classes = labels.argmax(axis=1)
    one_hot = np.eye(4, dtype=np.uint8)[classes]
    result = metrics.summary(Task("multi-class"), "abcd", one_hot, logits)
    scores = Task("multi-class").probabilities(logits)
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
    result = metrics.summary(Task("multi-label"), "abcd", labels, logits)
    assert result["undefined_labels"] == ["b", "c"]
    assert result["per_label_auc"]["b"] is None
    assert result["per_label_ap"]["c"] is None
    assert result["macro_auc"] == pytest.approx(expected)


def test_no_defined_label_at_all_is_null_not_a_half():
    result = metrics.summary(Task("binary"), ["a"], np.ones((5, 1), np.uint8), np.zeros((5, 1)))
    assert result["macro_auc"] is None
    assert result["macro_ap"] is None


def test_an_auc_is_the_share_of_pairs_in_order_and_nothing_undefined_is_ranked(predictions):
    labels, logits = predictions
    pairs = logits[labels[:, 0] == 1, 0][:, None] - logits[labels[:, 0] == 0, 0]
    assert metrics.auc(labels, logits)[0] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean(), rel=1e-15)
    for wrong in (np.nan, np.inf):
        logits[0, 0] = wrong
        with pytest.raises(ValueError, match="Input contains"):
            metrics.auc(labels, logits)
        assert np.isnan(metrics.auc(np.zeros_like(labels), logits)).all()


def test_large_logits_keep_their_order():
    # float32 sigmoids of both are exactly 1: a tie, and an AUC of 0.5.
    logits = np.float32([[40], [50]])
    assert metrics.summary(Task("binary"), ["a"], np.uint8([[0], [1]]), logits)["macro_auc"] == 1


def test_constant_scores_have_an_auc_of_a_half():
    labels = np.uint8([[0], [1], [1]])
    assert metrics.summary(Task("binary"), ["a"], labels, np.zeros((3, 1)))["macro_auc"] == 0.5


def test_answering_no_to_everything_is_accurate_and_worthless():
    labels = np.uint8([[0]] * 95 + [[1]] * 5)
    result = metrics.summary(Task("binary"), ["a"], labels, np.full((100, 1), -3.0))
    assert result["accuracy"] == 0.95
    assert result["macro_auc"] == 0.5


def test_real_scores_are_those_of_medmnists_evaluator(real):
    evaluator = pytest.importorskip("medmnist.evaluator", reason="needs medmnist: make setup installs it")
    labels, logits, _ = real
    result = metrics.summary(Task("multi-label"), CHEST_LABELS, labels, logits)
    scores = Task("multi-label").probabilities(logits)
    assert result["macro_auc"] == pytest.approx(evaluator.getAUC(labels, scores, "multi-label, binary-class"), abs=1e-9)
    assert result["accuracy"] == pytest.approx(evaluator.getACC(labels, scores, "multi-label, binary-class"), abs=1e-9)


def brute_force_threshold(labels, scores, cuts):
    return max(cuts, key=lambda cut: (round(f1_score(labels, scores >= cut, zero_division=0), 12), cut))


def test_best_thresholds_are_the_highest_of_the_best_of_all_cuts(predictions):
    labels, scores = predictions
    thresholds = metrics.best_thresholds(labels, scores)
    expected = [brute_force_threshold(y, s, np.unique(s)) for y, s in zip(labels.T, scores.T, strict=True)]
    np.testing.assert_array_equal(thresholds, expected)


def test_grid_thresholds_are_the_highest_of_the_best_in_the_grid(predictions):
    labels, logits = predictions
    scores = Task("multi-label").probabilities(logits - 2)
    grid = np.arange(1, 9) * 0.05
    expected = [brute_force_threshold(y, s, grid) for y, s in zip(labels.T, scores.T, strict=True)]
    np.testing.assert_allclose(metrics.grid_thresholds(labels, scores), expected)
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(metrics.grid_thresholds(labels, scores, grid=(0.1, 0.9, 0.2)) <= 0.2, [1, 1, 1, 1])


def test_of_equally_good_thresholds_the_highest_is_taken():
    # F1 is 2/3 at 0.9 (1 of 2 positives, no false alarm) and at 0.2 (both, with 2 false alarms).
    labels = np.uint8([[1], [0], [0], [1]])
    scores = np.array([[0.9], [0.8], [0.7], [0.2]])
    assert metrics.best_thresholds(labels, scores) == [0.9]
    assert metrics.grid_thresholds(labels, scores, grid=(0.2, 0.75, 0.9)) == [0.9]


def test_thresholds_without_positives_or_negatives_are_a_half():
    labels = np.uint8([[0, 1, 0], [0, 1, 1]])
    scores = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.3]])
    # The third label's scores are constant: all or nothing, and F1 of all is 2/3.
    np.testing.assert_array_equal(metrics.best_thresholds(labels, scores), [0.5, 0.5, 0.3])
    np.testing.assert_array_equal(metrics.grid_thresholds(labels, scores), [0.5, 0.5, 0.30])


def test_best_thresholds_beat_the_grid_and_the_grid_beats_a_half(real):
    labels, logits, _ = real
    scores = Task("multi-label").probabilities(logits)
    best, grid, half = (
        metrics.classification(labels, scores >= thresholds)["f1"]
        for thresholds in (metrics.best_thresholds(labels, scores), metrics.grid_thresholds(labels, scores), 0.5)
    )
    assert (best >= grid).all()
    assert (grid >= half).all()
    assert best.mean() > grid.mean() > half.mean()


def test_classification_is_that_of_scikit_learn(predictions):
    labels, logits = predictions
    labels[:, 2] = 0  # Recall divides by zero,
    logits[:, 3] = -1  # and so does precision.
    result = metrics.classification(labels, logits > 0)
    np.testing.assert_array_equal(result["confusion"], multilabel_confusion_matrix(labels, logits > 0))
    for average in (None, "macro", "micro"):
        expected = precision_recall_fscore_support(labels, logits > 0, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            np.testing.assert_allclose(result[name if average is None else f"{average}_{name}"], value, atol=1e-12)


def test_classification_of_a_single_column_is_of_its_positives():
    result = metrics.classification(np.uint8([[1], [1], [0], [0]]), np.uint8([[1], [0], [0], [0]]))
    np.testing.assert_array_equal(result["confusion"], [[[2, 0], [1, 1]]])
    assert (result["precision"], result["recall"]) == (1, 0.5)


def test_classification_refuses_probabilities():
    with pytest.raises(ValueError, match="apply thresholds first"):
        metrics.classification(np.uint8([[1], [0]]), np.array([[0.2], [0.1]]))


def test_confusion_counts_true_classes_down_and_predicted_across():
    labels = np.eye(3, dtype=np.uint8)[[0, 0, 0, 1, 1]]
    scores = np.eye(3)[[0, 1, 1, 1, 0]]
    np.testing.assert_array_equal(metrics.confusion(labels, scores), [[1, 2, 0], [1, 1, 0], [0, 0, 0]])


def test_brier_is_that_of_scikit_learn(predictions):
    labels, logits = predictions
    scores = Task("multi-label").probabilities(logits)
    expected = [brier_score_loss(y, s) for y, s in zip(labels.T, scores.T, strict=True)]
    np.testing.assert_allclose(calibration.brier(labels, scores), expected, atol=1e-12)


def test_calibration_error_in_closed_form():
    # Always 0.7, right 7 times in 10: calibrated. Always 1, never right: wrong by 1. Always 0.5 for 8 in 10: by 0.3.
    labels = np.zeros((10, 3), np.uint8)
    labels[:7, 0], labels[:8, 2] = 1, 1
    scores = np.tile([0.7, 1.0, 0.5], (10, 1))
    np.testing.assert_allclose(calibration.error(labels, scores), [0, 1, 0.3], atol=1e-12)


def test_calibration_error_weights_bins_by_their_counts():
    # Two bins, (0, 0.5] with 3 images and (0.5, 1] with 1: 3/4 * |1/3 - 0.3| + 1/4 * |1 - 0.6|.
    labels = np.uint8([[0], [0], [1], [1]])
    scores = np.array([[0.0], [0.4], [0.5], [0.6]])
    assert calibration.error(labels, scores, bins=2) == pytest.approx([0.75 * (1 / 3 - 0.3) + 0.25 * 0.4])
    # In one bin it is the difference of the means.
    assert calibration.error(labels, scores, bins=1) == pytest.approx([0.5 - 0.375])


def test_reliability_in_closed_form():
    # Two bins, (0, 0.5] and (0.5, 1]: 0, 0.4 and 0.5 with one positive, 0.6 with one; in a third nothing.
    labels, scores = np.uint8([[0, 0], [1, 1]]), np.array([[0.0, 0.4], [0.5, 0.6]])
    means, frequencies, counts = calibration.reliability(labels, scores, bins=2)
    np.testing.assert_allclose(means, [0.3, 0.6])
    np.testing.assert_allclose(frequencies, [1 / 3, 1])
    np.testing.assert_array_equal(counts, [3, 1])
    means, frequencies, counts = calibration.reliability(labels, scores, bins=4)
    np.testing.assert_array_equal(counts, [1, 2, 1, 0])
    assert np.isnan([means[3], frequencies[3]]).all()


def test_reliability_adds_up_to_the_calibration_error_of_one_label(predictions):
    labels, logits = predictions
    labels, scores = labels[:, :1], Task("multi-label").probabilities(logits[:, :1])
    means, frequencies, counts = calibration.reliability(labels, scores, bins=15)
    gaps = np.nansum(counts * np.abs(means - frequencies)) / counts.sum()
    np.testing.assert_allclose(gaps, calibration.error(labels, scores), atol=1e-12)


def test_calibration_error_is_a_sum_over_bins(predictions):
    labels, logits = predictions
    scores = Task("multi-label").probabilities(logits)
    expected = np.zeros(4)
    for label in range(4):
        for low in range(15):
            inside = (scores[:, label] > low / 15) & (scores[:, label] <= (low + 1) / 15)
            if inside.any():
                gap = labels[inside, label].mean() - scores[inside, label].mean()
                expected[label] += inside.mean() * abs(gap)
    np.testing.assert_allclose(calibration.error(labels, scores), expected, atol=1e-12)


@pytest.mark.parametrize("score", (calibration.brier, calibration.error, calibration.reliability))
def test_calibration_refuses_logits(score):
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        score(np.uint8([[1], [0]]), np.array([[2.0], [0.5]]))


def drawn_counts(monkeypatch, *arguments, **options):
    """How often `bootstrap` drew each image, `(resamples, count)`, beside its result."""
    counts, draw = [], metrics.drawn

    def record(*arguments):
        for weights in draw(*arguments):
            counts.append(weights)
            yield weights

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "drawn", record)
        result = metrics.bootstrap(*arguments, **options)
    return np.concatenate(counts), result


@pytest.mark.parametrize("clustered", (False, True))
def test_bootstrap_is_scikit_learn_on_each_resample(predictions, monkeypatch, clustered):
    labels, logits = predictions
    logits[:, 3] = 0.5  # Constant scores,
    labels[:, 1] = np.arange(200) == 5  # and a positive that most resamples of patients and many of images lack.
    patients = np.arange(200) // 3 if clustered else None
    counts, result = drawn_counts(monkeypatch, labels, logits, resamples=40, seed=1, patients=patients)
    assert counts.shape == (40, 200)
    for drawn, aucs, precisions in zip(counts, result["auc"], result["ap"], strict=True):
        images = np.repeat(np.arange(200), drawn)
        np.testing.assert_allclose(aucs, metrics.auc(labels[images], logits[images]), atol=1e-9)
        np.testing.assert_allclose(precisions, metrics.average_precision(labels[images], logits[images]), atol=1e-9)
    undefined = np.isnan(result["auc"])
    assert 0 < undefined[:, 1].sum() < 40
    assert not undefined[:, [0, 2, 3]].any()
    np.testing.assert_array_equal(undefined, np.isnan(result["ap"]))


def test_bootstrap_is_scikit_learn_on_real_resamples(real, monkeypatch):
    labels, logits, patients = real
    logits = np.round(logits, 1)  # Thousands of ties.
    counts, result = drawn_counts(monkeypatch, labels, logits, resamples=2, patients=patients)
    for drawn, aucs, precisions in zip(counts, result["auc"], result["ap"], strict=True):
        for label, (y, s) in enumerate(zip(labels.T, logits.T, strict=True)):
            assert aucs[label] == pytest.approx(roc_auc_score(y, s, sample_weight=drawn), abs=1e-9)
            assert precisions[label] == pytest.approx(average_precision_score(y, s, sample_weight=drawn), abs=1e-9)


def test_a_label_without_positives_or_negatives_is_nan_in_every_resample():
    labels = np.uint8([[0, 1], [0, 1], [0, 1]])
    result = metrics.bootstrap(labels, np.random.default_rng(0).random((3, 2)), resamples=5)
    assert np.isnan(result["auc"]).all()
    assert np.isnan(result["ap"]).all()


def test_images_are_drawn_with_replacement_and_alike():
    counts = np.concatenate(list(metrics.drawn(10, 4000, 0, None)))
    assert (counts.sum(axis=1) == 10).all()
    # Binomial(10, 1/10) each: mean 1, variance 0.9. Its standard errors here are 0.015 and about 0.03.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=0), 0.9, atol=0.15)


def test_patients_are_drawn_whole():
    patients = ["b", "a", "b", ("c", 1), "a", "b"]
    counts = np.concatenate(list(metrics.drawn(6, 200, 0, patients)))
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    np.testing.assert_array_equal(counts[:, 0], counts[:, 5])
    np.testing.assert_array_equal(counts[:, 1], counts[:, 4])
    # Three patients are drawn out of three, and not always the same.
    np.testing.assert_array_equal(counts[:, [0, 1, 3]].sum(axis=1), 3)
    assert len(np.unique(counts, axis=0)) == 10  # All ways to draw 3 of 3 with replacement.


def test_patients_must_name_one_per_image(predictions):
    with pytest.raises(ValueError, match="one per image, 200"):
        metrics.bootstrap(*predictions, patients=np.arange(300))


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_scores_that_are_not_finite_are_refused(predictions, bad):
    labels, logits = predictions
    logits[3, 1] = bad
    for function in (metrics.bootstrap, metrics.best_thresholds, metrics.grid_thresholds):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            function(labels, logits)


def test_the_seed_alone_decides_the_resamples(predictions, monkeypatch):
    labels, logits = predictions
    counts, first = drawn_counts(monkeypatch, labels, logits, resamples=20, seed=3)
    other_counts, _ = drawn_counts(monkeypatch, labels, -logits, resamples=20, seed=3)
    np.testing.assert_array_equal(counts, other_counts)
    np.testing.assert_array_equal(first["auc"], metrics.bootstrap(labels, logits, resamples=20, seed=3)["auc"])
    assert (first["auc"] != metrics.bootstrap(labels, logits, resamples=20, seed=4)["auc"]).any()
    # Each patient with one image is the same as no patients, whatever their names.
    single = metrics.bootstrap(labels, logits, resamples=20, seed=3, patients=np.arange(200)[::-1])
    np.testing.assert_array_equal(first["ap"], single["ap"])


def test_standard_error_of_the_auc_is_that_of_hanley_and_mcneil():
    # Exponential scores, with means 3 and 1: AUC 3/4, and their Q1 and Q2 are exact. Hanley and McNeil, 1982.
    rng = np.random.default_rng(0)
    num_positives, num_negatives = 500, 2000
    labels = np.uint8([[1]] * num_positives + [[0]] * num_negatives)
    scores = rng.exponential(np.where(labels, 3.0, 1.0))
    q1, q2 = 0.75 / (2 - 0.75), 2 * 0.75**2 / (1 + 0.75)
    variance = 0.75 * 0.25 + (num_positives - 1) * (q1 - 0.75**2) + (num_negatives - 1) * (q2 - 0.75**2)
    expected = np.sqrt(variance / (num_positives * num_negatives))
    resampled = metrics.bootstrap(labels, scores, resamples=1000)["auc"][:, 0]
    assert resampled.std() == pytest.approx(expected, rel=0.1)
    low, high = np.subtract(metrics.interval(resampled), metrics.auc(labels, scores))
    assert (low, high) == pytest.approx((-1.96 * expected, 1.96 * expected), rel=0.15)


def test_intervals_cover_the_truth_if_patients_are_kept_whole():
    # Each patient has 8 images with nearly the same score, so that taking images for independent is overconfident.
    covered = {"images": 0, "patients": 0}
    patients = np.repeat(np.arange(40), 8)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = (rng.random((40, 1)) < 0.5).astype(np.uint8)
        scores = rng.exponential(np.where(labels, 3.0, 1.0))[patients]
        for name, ids in (("images", None), ("patients", patients)):
            result = metrics.bootstrap(labels[patients], scores, resamples=150, seed=seed, patients=ids)
            low, high = metrics.interval(result["auc"][:, 0])
            covered[name] += low <= 0.75 <= high
    assert 0.88 < covered["patients"] / 150 < 0.99
    assert covered["images"] / 150 < 0.7


def test_interval_ignores_undefined_values_and_stays_undefined_without_any():
    values = np.full((101, 3), np.nan)
    values[:, 0], values[1::2, 1] = np.arange(101), np.arange(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = metrics.interval(values, confidence=0.9)
    # Percentiles 5 and 95 of 0 ... 100 and of 0 ... 49.
    np.testing.assert_allclose(low, [5, 2.45, np.nan])
    np.testing.assert_allclose(high, [95, 46.55, np.nan])
    low, high = metrics.interval(values[:, 0])
    assert (low, high) == pytest.approx((2.5, 97.5))
    assert isinstance(low, float)


def test_macro_of_is_the_mean_of_each_resamples_defined_labels():
    values = np.array([[0.5, 1.0], [np.nan, 0.25], [np.nan, np.nan]])
    np.testing.assert_array_equal(metrics.macro_of(values), [0.75, 0.25, np.nan])


def test_a_model_differs_from_itself_by_exactly_nothing(predictions):
    labels, logits = predictions
    zero = {"difference": 0, "low": 0, "high": 0}
    expected = {"macro_auc": zero, "macro_ap": zero}
    assert metrics.paired_difference(labels, logits, logits, resamples=20) == expected
    # Nor from itself in other units, though the resamples of both differ from one another.
    assert metrics.paired_difference(labels, logits, 2 * logits + 1, resamples=20) == expected


def test_paired_difference_is_b_minus_a_on_the_same_resamples(predictions):
    labels, better = predictions
    worse = np.round(better + np.random.default_rng(1).normal(size=better.shape), 1)
    patients = np.arange(200) // 2
    options = {"resamples": 50, "seed": 2, "patients": patients}
    result = metrics.paired_difference(labels, worse, better, **options)
    a, b = metrics.bootstrap(labels, worse, **options), metrics.bootstrap(labels, better, **options)
    for name, score in (("auc", roc_auc_score), ("ap", average_precision_score)):
        assert result[f"macro_{name}"]["difference"] == pytest.approx(score(labels, better) - score(labels, worse))
        low, high = np.quantile(b[name].mean(axis=1) - a[name].mean(axis=1), (0.025, 0.975))
        assert (result[f"macro_{name}"]["low"], result[f"macro_{name}"]["high"]) == pytest.approx((low, high))
        assert 0 < low < result[f"macro_{name}"]["difference"] < high


def test_pairing_finds_a_difference_that_separate_intervals_hide(real, samples):
    labels, searched, patients = real
    images = slice(8000)
    with np.load(samples / "nih_predictions" / "resnet18_seed0.npz") as archive:
        resnet = archive["test_logits"]
    labels, resnet, searched, patients = labels[images], resnet[images], searched[images], patients[images]
    options = {"resamples": 100, "patients": patients}
    paired = metrics.paired_difference(labels, resnet, searched, **options)["macro_auc"]
    assert 0 < paired["low"] < paired["difference"] < paired["high"] < 0.1
    low, high = metrics.interval(metrics.macro_of(metrics.bootstrap(labels, resnet, **options)["auc"]))
    assert paired["high"] - paired["low"] < high - low


def test_sure_answers_of_a_softmax_are_ranked_without_ties():
    logits = np.array([[60.0, 0, 0], [80.0, 0, 0], [0, 1, 0]])
    ranks = Task("multi-class").ranks(logits)
    assert ranks[1, 0] > ranks[0, 0] > ranks[2, 0]
    np.testing.assert_allclose(1 / (1 + np.exp(-ranks)), Task("multi-class").probabilities(logits), rtol=1e-9)
