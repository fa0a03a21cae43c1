import numpy as np
import pytest
from scipy.stats import norm

from chestrobust.evaluation import intervals


def test_a_share_has_wilsons_interval():
    # 3 of 10: (0.3 + 1.96^2 / 20 -+ 1.96 sqrt(0.021 + 1.96^2 / 400)) / (1 + 1.96^2 / 10).
    assert intervals.share(np.arange(10) < 3) == pytest.approx((0.3, 0.10779, 0.60323), abs=1e-5)
    assert intervals.share(np.ones(5, bool)) == pytest.approx((1, 5 / (5 + intervals.Z**2), 1))
    assert np.isnan(intervals.share([])).all()


def test_a_share_counts_patients_that_answer_alike_once():
    hits = np.repeat(np.arange(20) < 8, 5)
    once, copies = intervals.share(hits[::5]), intervals.share(hits, np.arange(100) // 5)
    assert copies == pytest.approx(once)
    # One image each is no cluster; and of patients whose images never agree no more is believed than of as many others.
    assert intervals.share(hits, np.arange(100)) == pytest.approx(intervals.share(hits))
    mixed = intervals.share(np.tile([True, True, False, False], 100), np.arange(400) // 4)
    alone = intervals.share(np.tile([True, True, False, False], 100))
    assert mixed == pytest.approx(alone)
    none = intervals.share(np.zeros(100, bool), np.arange(100) // 5)
    assert none == pytest.approx(intervals.share(np.zeros(20, bool)))


def brute_force_variance(labels, scores):
    """DeLong's, from all pairs."""
    pairs = scores[labels][:, None] - scores[~labels]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    parts = (wins.mean(axis=1 - axis).var(ddof=1) / wins.shape[axis] for axis in (0, 1))
    return wins.mean(), sum(parts)


def test_an_auc_is_as_far_from_both_ends_as_its_variance_says():
    rng = np.random.default_rng(0)
    labels = np.arange(90) < 12
    scores = np.round(rng.normal(labels * 1.0), 1)  # with ties
    value, delong = brute_force_variance(labels, scores)
    newcombe = lambda auc: auc * (1 - auc) * (1 + 44 * (1 - auc) / (2 - auc) + 44 * auc / (1 + auc)) / (12 * 78)  # noqa: E731
    ratio = (8 + 11 * delong / newcombe(value)) / (8 + 11)
    low, high = intervals.auc(labels, scores)
    assert 0 < low < value < high < 1
    for end in (low, high):
        assert abs(value - end) == pytest.approx(1.959964 * np.sqrt(ratio * newcombe(end)), rel=1e-5)
    # Of many images it is that of DeLong on the scale of log-odds, but for terms of higher order.
    labels = np.arange(8000) < 3000
    scores = rng.normal(labels * 0.8, 1 + labels)
    value, delong = brute_force_variance(labels, scores)
    width = np.subtract(*intervals.auc(labels, scores)[::-1])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(delong), rel=0.01)


def test_an_auc_of_0_or_1_has_an_interval_to_one_side():
    labels, scores = np.arange(100) < 6, np.arange(100.0)
    low, high = intervals.auc(labels, -scores)
    assert (high, intervals.auc(labels, scores)[0]) == (1, 0)
    assert 0.6 < low < 0.95
    assert intervals.auc(labels, scores)[1] == pytest.approx(1 - low)


def test_a_mean_of_perfect_labels_has_the_mean_of_their_ends():
    assert intervals.of_mean([(0.6, 1.0), (0.8, 1.0)]) == pytest.approx((0.7, 1))
    assert intervals.of_mean([(0.6, 1.0), None]) is None and intervals.of_mean([]) is None
    # 0.9 in [0.7, 1] minus 0.2 in [0.1, 0.5]: roots of 0.2^2 + 0.3^2 and of 0.1^2 + 0.1^2.
    assert intervals.apart(0.9, (0.7, 1), 0.2, (0.1, 0.5)) == pytest.approx((0.36056, 0.14142), abs=1e-5)
    assert intervals.apart(1, None, 0, (0, 0.2)) is None


def test_a_perfect_average_precision_has_wilsons_interval_of_its_patients():
    assert intervals.average_precision(1.0, np.ones(9), 20) == pytest.approx((20 / (20 + intervals.Z**2), 1))
    assert intervals.average_precision(0.5, np.full(9, 0.5), 20) is None


def test_fewer_than_four_patients_have_no_interval():
    scores = np.random.default_rng(0).normal(size=60)
    for count, patients in ((3, None), (57, None), (9, np.arange(60) // 3)):
        assert intervals.auc(np.arange(60) < count, scores, patients) is None
    assert intervals.auc(np.arange(60) < 4, scores) is not None
    assert intervals.auc(np.arange(60) < 12, scores, np.arange(60) // 3) is not None
    assert intervals.average_precision(0.3, np.full(10, 0.3), 3) is None
    assert intervals.difference(0.3, np.full(10, 0.3), 3) is None


@pytest.mark.parametrize("positives", (4, 8, 17))
@pytest.mark.parametrize("truth", (0.5, 0.7, 0.9))
def test_intervals_of_rare_labels_hold_the_true_auc(positives, truth):
    rng, labels = np.random.default_rng(positives), np.arange(393) < positives
    apart = np.sqrt(2) * norm.ppf(truth)
    found = [intervals.auc(labels, rng.normal(apart * labels)) for _ in range(300)]
    assert 0.9 <= np.mean([low <= truth <= high for low, high in found]) <= 0.985


def test_copies_of_images_do_not_narrow_an_interval():
    rng, covered = np.random.default_rng(0), {"images": 0, "patients": 0}
    labels, patients = np.arange(60) < 15, np.repeat(np.arange(60), 8)
    for _ in range(150):
        scores = rng.normal(labels * 0.7416)[patients]  # AUC 0.7
        for name, who in (("images", None), ("patients", patients)):
            low, high = intervals.auc(labels[patients], scores, who)
            covered[name] += low <= 0.7 <= high
    assert 0.9 <= covered["patients"] / 150 <= 0.99
    assert covered["images"] / 150 < 0.7


def test_a_difference_is_tested_by_student_with_few_positives():
    resampled = np.array([0.1, 0.3] * 50)
    low, high, p = intervals.difference(0.2, resampled, 4)
    # Standard error 0.1 sqrt(4/3), Student's quantile for 3 degrees of freedom 3.182, and t = 1.732.
    assert (low, high) == pytest.approx((0.2 - 3.1824 * 0.11547, 0.2 + 3.1824 * 0.11547), abs=1e-4)
    assert p == pytest.approx(0.1817, abs=1e-4)
    assert intervals.difference(0.0, np.zeros(5), 9) == (0, 0, 1)
    # Where resamples show no spread the error is that of the intervals of both.
    low, high, p = intervals.difference(-1.0, np.full(5, -1.0), 4, still=0.6)
    assert (low, high) == (-1, pytest.approx(-1 + 3.1824 * 0.6 / 1.95996 * np.sqrt(4 / 3), abs=1e-3))
    assert p == pytest.approx(0.0663, abs=1e-3)


def test_average_precision_has_an_interval_on_the_scale_of_log_odds():
    resampled = 1 / (1 + np.exp(-np.array([-1.0, 1.0] * 20)))
    low, high = intervals.average_precision(0.5, resampled, 9)
    assert (low, high) == pytest.approx((1 / (1 + np.exp(1.96)), 1 / (1 + np.exp(-1.96))), abs=1e-4)


def test_holm_multiplies_the_least_by_all_and_never_falls():
    # As R's p.adjust(c(0.05, 0.01, 0.04, 0.02, 0.03), "holm").
    corrected = intervals.holm([0.05, 0.01, np.nan, 0.04, 0.02, 0.03])
    np.testing.assert_allclose(corrected, [0.09, 0.05, np.nan, 0.09, 0.08, 0.09])
    assert np.isnan(intervals.holm([np.nan])).all()
