"""What happens to X-rays without an attacker: known pixels, and the same ones whatever the batch."""

import numpy as np
import pytest

from chestrobust.attacks import corruptions
from chestrobust.attacks.named import Attack
from chestrobust.data.sources import phantom

KINDS = list(corruptions.CORRUPTIONS)
NOISES = [kind for kind in KINDS if kind.endswith("noise")]


@pytest.fixture(scope="module")
def images():
    return phantom.load(counts={"train": 1, "val": 1, "test": 20}, size=64).test.images


def flat(value, channels=1):
    return np.full((1, 28, 28, channels), value, np.uint8)


@pytest.mark.parametrize(
    ("kind", "strength", "before", "after"),
    [
        ("brightness_up", 1.5, 100, 150),
        ("brightness_down", 0.5, 100, 50),
        ("contrast_up", 1.6, 100, 100),  # an even image is its own mean
        ("gamma_corr_up", 1.6, 128, 84),  # 256 * (128 / 255) ** 1.6 = 84.9
        ("gamma_corr_down", 0.4, 128, 194),  # 256 * (128 / 255) ** 0.4 = 194.4
        ("gamma_corr_down", 0.4, 255, 255),
        ("gaussian_blur", 11, 77, 77),
        ("pixelate", 0.1, 77, 77),
        ("speckle_noise", 0.45, 0, 0),
        ("shot_noise", 5, 0, 0),
        ("gaussian_noise", 0.0, 77, 77),
        ("impulse_noise", 0.0, 77, 77),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_even_image_becomes_what_the_formula_says(kind, strength, before, after, channels):
    found = corruptions.corrupt(flat(before, channels), kind, strength)
    np.testing.assert_array_equal(found, flat(after, channels))


def test_contrast_moves_pixels_away_from_the_mean():
    image = flat(100)
    image[:, :14] = 200  # the mean is 150
    found = corruptions.corrupt(image, "contrast_down", 0.4)
    assert set(np.unique(found)) == {130, 170}


def test_pixelate_takes_means_of_blocks():
    image = np.zeros((1, 4, 4, 1), np.uint8)
    image[0, :2, :2, 0] = [[0, 40], [80, 120]]
    found = corruptions.corrupt(image, "pixelate", 0.5)
    np.testing.assert_array_equal(found[0, :, :, 0], np.kron([[60, 0], [0, 0]], np.ones((2, 2))))


def test_blur_of_a_point_is_the_kernel():
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 4, 4] = 255
    side = np.exp(-0.5 / 0.8**2)  # deviation of a kernel of 3: 0.15 * 3 + 0.35
    kernel = np.array([side, 1, side]) / (1 + 2 * side)
    found = corruptions.corrupt(image, "gaussian_blur", 3)[0, 3:6, 3:6, 0]
    np.testing.assert_array_equal(found, np.rint(255 * np.outer(kernel, kernel)))
    assert corruptions.corrupt(image, "gaussian_blur", 3).sum() == found.sum()


def test_impulses_are_black_and_white_in_the_share_that_is_asked_for():
    found = corruptions.corrupt(np.full((20, 64, 64, 3), 100, np.uint8), "impulse_noise", 0.17)
    assert set(np.unique(found)) == {0, 100, 255}
    assert np.mean(found == 0) == pytest.approx(0.085, abs=0.005)
    assert np.mean(found == 255) == pytest.approx(0.085, abs=0.005)


@pytest.mark.parametrize(
    ("kind", "strength", "deviation"),
    [("gaussian_noise", 0.08, 0.08), ("speckle_noise", 0.15, 0.15 * 0.4), ("shot_noise", 60, np.sqrt(0.4 / 60))],
)
def test_noise_has_its_deviation_and_less_on_gray_images(kind, strength, deviation):
    for channels, factor in ((3, 1.0), (1, np.linalg.norm([0.299, 0.587, 0.114]))):
        found = corruptions.corrupt(np.full((20, 64, 64, channels), 102, np.uint8), kind, strength) / 255
        assert found.std() == pytest.approx(factor * deviation, rel=0.03)
        assert found.mean() == pytest.approx(0.4, abs=0.004)


@pytest.mark.parametrize("data", ["chestmnist", "pneumoniamnist"])
@pytest.mark.parametrize("kind", KINDS)
def test_more_severe_is_farther_from_the_image(images, kind, data):
    strengths = corruptions.strengths(kind, data)
    assert len(strengths) == 5
    harm = []
    for strength in strengths:
        found = corruptions.corrupt(images, kind, strength)
        assert found.dtype == np.uint8 and found.shape == images.shape
        harm.append(np.mean((found.astype(float) - images) ** 2))
    assert harm[0] > 0
    assert harm == sorted(harm)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_depends_on_the_seed_and_the_number_of_an_image_not_on_its_batch(images, kind):
    strength = corruptions.strengths(kind, "chestmnist")[2]
    whole = corruptions.corrupt(images, kind, strength, seed=3)
    some = corruptions.corrupt(images[[7, 2]], kind, strength, seed=3, indices=[7, 2])
    np.testing.assert_array_equal(some, whole[[7, 2]])
    assert (corruptions.corrupt(images, kind, strength, seed=4) != whole).any(axis=(1, 2, 3)).all()
    twins = corruptions.corrupt(images[[7, 7]], kind, strength)
    assert (twins[0] != twins[1]).any()


def test_pneumonias_strengths_are_its_own():
    assert corruptions.strengths("shot_noise", "pneumoniamnist_64") == (300, 200, 150, 100, 80)
    assert corruptions.strengths("shot_noise", "nih") == (60, 25, 18, 10, 5)


def test_the_usual_exposure_changes_nothing_and_is_among_those_searched(images):
    np.testing.assert_array_equal(corruptions.exposed(images, corruptions.Exposure()), images)
    every = corruptions.exposures()
    assert corruptions.Exposure() in every
    assert len(every) == len(set(every)) == 3 * 3 * 2 * 2 * 3


def test_an_exposure_does_what_it_says(images):
    changed = {"gamma": 1.25, "contrast": 0.8, "blur": 0.02, "noise": 0.02, "rotation": 5.0}
    one = {name: corruptions.exposed(images, corruptions.Exposure(**{name: value})) for name, value in changed.items()}
    pixels = images.astype(float)
    np.testing.assert_array_equal(one["gamma"], np.rint(255 * (pixels / 255) ** 1.25))
    means = pixels.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_array_equal(one["contrast"], np.rint(means + 0.8 * (pixels - means)))
    assert np.abs(np.diff(one["blur"].astype(float), axis=1)).sum() < np.abs(np.diff(pixels, axis=1)).sum()
    assert (one["noise"] - pixels).std() == pytest.approx(0.02 * 255, rel=0.1)
    turned = corruptions.exposed(one["rotation"], corruptions.Exposure(rotation=-5.0)).astype(float)
    assert np.abs(turned - pixels).mean() < np.abs(one["rotation"] - pixels).mean()


@pytest.mark.parametrize(
    "attack",
    [
        Attack("corruption", 1.0, seed=1, kind="gaussian_noise", strength=0.1),
        Attack("exposure", 1.0, seed=1, strength=(0.8, 1.25, 0.02, 0.02, 5.0)),
    ],
)
def test_by_the_contract_of_attacks_pixels_are_changed_and_metadata_is_not(images, attack):
    floats = np.concatenate([images / 255, np.full((*images.shape[:3], 3), 0.5)], axis=-1).astype(np.float32)
    found = attack(None, floats, np.zeros((len(images), 1)), task="binary", indices=np.arange(len(images)))
    assert found.dtype == np.float32 and found.shape == floats.shape
    np.testing.assert_array_equal(found[..., 1:], floats[..., 1:])
    assert found.min() >= 0 and found.max() <= 1
    assert (found[..., :1] != floats[..., :1]).mean() > 0.5
    np.testing.assert_array_equal(np.rint(255 * found[..., 0]).astype(np.uint8) / np.float32(255), found[..., 0])
    again = attack(None, floats[3:5], np.zeros((2, 1)), task="binary", indices=np.array([3, 4]))
    np.testing.assert_array_equal(again, found[3:5])
