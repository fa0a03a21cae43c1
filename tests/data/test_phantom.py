"""Phantoms: ChestMNIST's format, reproducible image by image, and findings where they belong."""

import numpy as np
import pytest

from chestrobust.data.sources import phantom
from chestrobust.data.sources.phantom import FINDINGS, labels, render
from chestrobust.data.splits import selection

# Share of positives among ChestMNIST's test images, in its label order.
CHESTMNIST = np.array([2420, 582, 2754, 3938, 1133, 1335, 242, 1089, 957, 413, 509, 362, 734, 42]) / 22_433
PATIENTS = 48

# Where a finding shows, averaged over patients: the sign of its change, rows and columns (0 to 1).
LUNGS = [(0.15, 0.65, 0.2, 0.4), (0.15, 0.65, 0.6, 0.8)]
LUNG_BASES = [(0.4, 0.65, 0.15, 0.4), (0.4, 0.65, 0.6, 0.85)]
PLACES = {
    "atelectasis": (+1, LUNG_BASES),
    "cardiomegaly": (+1, [(0.4, 0.7, 0.3, 0.4), (0.4, 0.75, 0.6, 0.8)]),
    "effusion": (+1, [(0.5, 0.72, 0.12, 0.35), (0.5, 0.72, 0.65, 0.88)]),
    "infiltration": (+1, LUNGS),
    "mass": (+1, LUNGS),
    "nodule": (+1, LUNGS),
    "pneumonia": (+1, [(0.35, 0.7, 0.2, 0.45), (0.35, 0.7, 0.6, 0.85)]),
    "pneumothorax": (-1, [(0.1, 0.4, 0.2, 0.42), (0.1, 0.4, 0.58, 0.8)]),
    "consolidation": (+1, LUNGS),
    "edema": (+1, [(0.25, 0.65, 0.28, 0.42), (0.25, 0.65, 0.58, 0.74)]),
    "emphysema": (-1, [(0.15, 0.75, 0.2, 0.42), (0.15, 0.75, 0.58, 0.82)]),
    "fibrosis": (+1, LUNG_BASES),
    "pleural": (+1, [(0.2, 0.65, 0.12, 0.26), (0.2, 0.65, 0.76, 0.9)]),
    "hernia": (-1, [(0.55, 0.63, 0.42, 0.6)]),
}


def only(finding, count=PATIENTS):
    """Labels of patients who all have this finding alone."""
    return np.tile((np.array(FINDINGS) == finding).astype(np.uint8), (count, 1))


def changes(finding, size=28):
    """What the finding adds to patients without any, in pixel units of [0, 1], (n, size, size)."""
    indices = np.arange(PATIENTS)
    healthy, ill = render(indices, only(None), size=size), render(indices, only(finding), size=size)
    return (ill.astype(float) - healthy.astype(float))[..., 0] / 255


def test_the_format_is_chestmnists():
    truth = labels(10)
    assert truth.shape == (10, 14)
    assert truth.dtype == np.uint8
    assert set(np.unique(labels(500))) == {0, 1}
    for size in (28, 33, 224):
        images = render([3, 7], truth[[3, 7]], size=size)
        assert images.shape == (2, size, size, 1)
        assert images.dtype == np.uint8
        assert images.max() > 150
        assert images.min() < 60


def test_labels_of_the_wrong_shape_are_an_error():
    with pytest.raises(ValueError, match=r"\(3, 14\).*\(2, 14\)"):
        render([0, 1, 2], labels(2), size=28)


def test_no_images_are_an_empty_array():
    assert render([], labels(0), size=28).shape == (0, 28, 28, 1)


def test_a_prefix_of_the_labels_does_not_depend_on_the_count():
    np.testing.assert_array_equal(labels(50, seed=3), labels(1000, seed=3)[:50])


@pytest.mark.parametrize("size", [28, 45])
def test_an_image_does_not_depend_on_its_batch_or_order(size, monkeypatch):
    truth = labels(60)
    together = render(range(60), truth, size=size)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(render(order, truth[order], size=size), together[order])
    for index in range(0, 60, 7):
        np.testing.assert_array_equal(render([index], truth[[index]], size=size)[0], together[index])
    monkeypatch.setattr(phantom, "CHUNK_PIXELS", 7 * size**2)
    np.testing.assert_array_equal(render(range(60), truth, size=size), together)


def test_seeds_and_indices_give_other_patients():
    assert (labels(100, seed=0) != labels(100, seed=1)).any()
    first, second = render([0, 1], only(None, 2), size=28)
    other = render([0], only(None, 1), size=28, seed=1)[0]
    assert np.abs(first.astype(int) - second).mean() > 5
    assert np.abs(first.astype(int) - other).mean() > 5


def test_progress_wraps_the_chunks(monkeypatch):
    monkeypatch.setattr(phantom, "CHUNK_PIXELS", 4 * 28**2)
    seen = []
    render(range(10), labels(10), size=28, progress=lambda chunks: [seen.append(chunk) or chunk for chunk in chunks])
    assert len(seen) == 3


def test_another_size_shows_the_same_patients():
    truth = labels(PATIENTS)
    small = render(range(PATIENTS), truth, size=28).reshape(PATIENTS, -1).astype(float)
    for factor in (2, 4):
        large = render(range(PATIENTS), truth, size=28 * factor)
        averaged = large.reshape(PATIENTS, 28, factor, 28, factor).mean((2, 4)).reshape(PATIENTS, -1)
        correlation = np.corrcoef(small, averaged)[:PATIENTS, PATIENTS:]
        assert correlation.diagonal().min() > 0.97
        np.testing.assert_array_equal(correlation.argmax(1), np.arange(PATIENTS))


def test_labels_have_chestmnists_frequencies_softened():
    truth = labels(20_000)
    ratio = truth.mean(0) / (0.3 * np.sqrt(CHESTMNIST))
    # Companions add to three of them; hernia's 250 positives scatter by 6 %.
    assert ratio.min() > 0.85
    assert ratio.max() < 1.4
    assert 0.45 < (truth.sum(1) == 0).mean() < 0.6
    assert labels(600).sum(0).min() >= 3


def test_every_finding_has_a_place():
    assert tuple(PLACES) == FINDINGS


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_shows_where_it_belongs(finding):
    sign, boxes = PLACES[finding]
    mean = sign * changes(finding).mean(0)
    inside = np.zeros((28, 28), bool)
    for box in boxes:
        top, bottom, left, right = np.rint(28 * np.array(box)).astype(int)
        inside[top:bottom, left:right] = True
        assert mean[top:bottom, left:right].mean() > 0.004
    assert mean[inside].mean() > 4 * np.abs(mean[~inside]).mean()


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_stronger_than_the_usual_perturbations(finding):
    # 0.05 is the largest usual epsilon: an adversary can move healthy and ill towards each other by 0.1.
    strongest = np.abs(changes(finding)).max((1, 2))
    assert np.median(strongest) > 0.15
    assert np.quantile(strongest, 0.1) > 0.1


def test_cardiomegaly_widens_the_heart():
    def heart_widths(truth):
        # The row through the ventricles, from the bright middle outwards to the first dark pixel.
        rows = render(range(PATIENTS), truth, size=56)[:, 30, :, 0].astype(float)
        bright = rows > (rows.min(1) + rows.max(1))[:, None] / 2
        left, right = bright[:, 27::-1], bright[:, 28:]
        return left.argmin(1) + right.argmin(1)

    ratio = heart_widths(only("cardiomegaly")) / heart_widths(only(None))
    assert np.median(ratio) > 1.15


def test_emphysema_lowers_the_diaphragm_and_atelectasis_raises_it():
    # Just under the usual dome: air makes it darker, the abdomen brighter.
    base = (slice(None), slice(17, 20), slice(7, 10))
    assert changes("emphysema")[base].mean() < -0.05
    assert changes("atelectasis")[base].mean() > 0.01


def test_one_sided_findings_come_on_either_side():
    for finding in ("effusion", "pneumothorax", "mass", "nodule", "pneumonia", "consolidation", "pleural"):
        weight = np.abs(changes(finding))
        right_share = weight[:, :, 14:].sum((1, 2)) / weight.sum((1, 2))
        assert 0.25 < (right_share > 0.5).mean() < 0.75


def test_a_loaded_phantom_is_a_data_set_whose_limit_only_leaves_images_out():
    counts = {"train": 12, "val": 5, "test": 6}
    whole = phantom.load(counts=counts)
    some = phantom.load(counts=counts, limit=4)
    assert whole.synthetic
    assert (whole.name, whole.task, whole.image_shape) == ("phantom", "multi-label", (28, 28, 1))
    assert whole.summary()["counts"] == counts
    for part, split in some.parts.items():
        chosen = selection(counts[part], 4)
        np.testing.assert_array_equal(split.images, whole.parts[part].images[chosen])
        np.testing.assert_array_equal(split.labels, whole.parts[part].labels[chosen])


def test_only_the_images_that_a_split_keeps_are_drawn(monkeypatch):
    counts, limits = {"train": 12, "val": 9, "test": 6}, {"train": 3, "val": 4, "test": None}
    whole, drawn, original = phantom.load(counts=counts, limit=8).limited(limits), [], phantom.render
    monkeypatch.setattr(
        phantom, "render", lambda indices, *a, **b: drawn.append(len(indices)) or original(indices, *a, **b)
    )
    some = phantom.load(counts=counts, limit=8, limits=limits)
    assert drawn == [3, 4, 6]
    for part, split in some.limited(limits).parts.items():
        np.testing.assert_array_equal(split.images, whole.parts[part].images)
        np.testing.assert_array_equal(split.labels, whole.parts[part].labels)


def test_no_patient_is_in_two_splits():
    whole = phantom.load(counts={"train": 12, "val": 5, "test": 6})
    images = np.concatenate([split.images for split in whole.parts.values()])
    assert len({image.tobytes() for image in images}) == 23


def test_the_identity_of_a_phantom_is_that_of_its_parameters():
    counts = {"train": 2, "val": 2, "test": 2}
    identities = {
        phantom.load(size=size, seed=seed, counts=counts).sha256 for size, seed in ((28, 0), (64, 0), (28, 1), (28, 0))
    }
    assert len(identities) == 3
