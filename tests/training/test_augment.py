"""Augmentation: what it changes, what it leaves alone, and that it depends on seed, epoch and image only."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_splits

from chestrobust import config, models, runs
from chestrobust.training import augment, examples, experiment, loop
from chestrobust.training.augment import Augmentation

EVERYTHING = Augmentation(rotation=30, translation=0.1, flip=True, crop=0.8)


def images(count=12, height=20, width=20, channels=1, seed=0):
    return np.random.default_rng(seed).random((count, height, width, channels), np.float32)


def change(batch, augmentation, indices=None, seed=(0, 0)):
    indices = np.arange(len(batch)) if indices is None else np.asarray(indices)
    return augment.augmented(
        tf.constant(batch), augmentation, seed=tf.constant(seed, tf.int64), indices=tf.constant(indices, tf.int64)
    ).numpy()


@pytest.mark.parametrize("preset", [*augment.PRESETS, "everything"])
@pytest.mark.parametrize("shape", [(20, 20, 1), (16, 24, 3)])
def test_range_shape_and_type_stay(preset, shape):
    batch = images(12, *shape)
    changed = change(batch, augment.PRESETS.get(preset, EVERYTHING))
    assert changed.shape == batch.shape
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert np.array_equal(changed, batch) == (preset == "none")


def test_an_image_changes_in_the_same_way_in_any_batch_and_otherwise_in_another_epoch_or_seed():
    batch = images()
    whole = change(batch, EVERYTHING)
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(change(batch[order], EVERYTHING, order), whole[order])
    np.testing.assert_array_equal(change(batch[5:6], EVERYTHING, [5]), whole[5:6])
    same = np.repeat(batch[:1], 12, axis=0)
    assert len({image.tobytes() for image in change(same, EVERYTHING)}) == 12
    for seed in ((0, 1), (1, 0)):
        assert not np.array_equal(change(batch, EVERYTHING, seed=seed), whole)


def test_a_flip_mirrors_about_half_of_the_images_and_does_nothing_else():
    batch = images(200, 9, 8)
    changed = change(batch, Augmentation(flip=True))
    mirrored = (changed == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (changed == batch).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 70 < mirrored.sum() < 130


def centre(batch):
    """Centre of the brightness of each image, `(count, 2)`, in pixels from the middle, down and right."""
    axes = [np.arange(side) - (side - 1) / 2 for side in batch.shape[1:3]]
    total = batch.sum(axis=(1, 2, 3))
    down = np.einsum("bhwc,h->b", batch, axes[0]) / total
    right = np.einsum("bhwc,w->b", batch, axes[1]) / total
    return np.stack([down, right], axis=1)


def spots(count, height, width, down, right):
    """A bright blob at the same place of each image."""
    batch = np.zeros((count, height, width, 1), np.float32)
    batch[:, down - 1 : down + 2, right - 1 : right + 2] = 1
    return batch


def test_a_translation_is_at_most_its_share_of_the_side_and_reaches_it_nearly():
    batch = spots(300, 40, 60, 20, 30)
    moved = centre(change(batch, Augmentation(translation=0.1))) - centre(batch)
    for axis, side in enumerate((40, 60)):
        assert 0.09 * side < np.abs(moved[:, axis]).max() <= 0.1 * side + 1e-3
        assert abs(moved[:, axis].mean()) < 0.01 * side


def test_a_rotation_turns_about_the_centre_by_at_most_its_angle():
    batch = spots(300, 61, 61, 30, 50)
    turned = centre(change(batch, Augmentation(rotation=30)))
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 20, atol=0.3)
    angles = np.degrees(np.arctan2(turned[:, 0], turned[:, 1]))
    assert 28 < angles.max() <= 30.5
    assert -30.5 <= angles.min() < -28


def test_a_crop_enlarges_a_part_that_lies_inside_the_picture():
    batch = np.ones((100, 32, 32, 1), np.float32)
    batch[:, :, 16:] = 0.5
    cropped = change(batch, Augmentation(crop=0.875))
    assert cropped.min() > 0.4999  # Nothing black has come in.
    edges = (cropped[:, 16, :, 0] > 0.75).sum(axis=1)
    # The edge in the middle moves by at most 2 of 28 pixels to either side, 2.3 when enlarged.
    assert edges.min() >= 13
    assert edges.max() <= 19
    assert len(set(edges)) > 3


@pytest.mark.parametrize("change_of", [{"rotation": 20}, {"translation": 0.2}, {"scale": 0.2}])
def test_what_is_moved_in_is_black_or_repeats_the_edge(change_of):
    batch = np.full((40, 20, 20, 1), 0.5, np.float32)
    assert change(batch, Augmentation(**change_of)).min() < 0.01
    np.testing.assert_allclose(change(batch, Augmentation(**change_of, edges=True)), batch, rtol=1e-6)


def test_options_change_a_preset_and_flips_are_off_unless_asked_for():
    assert experiment.recipe(config.BaselineConfig()).augmentation == Augmentation()
    assert not experiment.recipe(config.BaselineConfig(rotation=10.0)).augmentation.flip
    vgg = config.parse(config.BaselineConfig, ["--augment", "vgg", "--no-flip", "--rotation", "5"])
    assert experiment.recipe(vgg).augmentation == Augmentation(rotation=5, translation=0.1)
    choices = next(field.metadata["choices"] for field in dataclasses.fields(vgg) if field.name == "augment")
    assert set(choices) == set(augment.PRESETS)


def test_training_images_alone_are_changed_once_per_epoch_before_they_are_attacked(tmp_path, monkeypatch):
    splits = make_splits((24, 12, 12))
    seen = {}

    def spy(images, augmentation, *, seed, indices):
        def note(images, seed, indices):
            for image, index in zip(images, indices, strict=True):
                seen.setdefault((int(seed[1]), int(index)), []).append(image)
            return np.int64(0)

        with tf.control_dependencies([tf.numpy_function(note, [images, seed, indices], tf.int64)]):
            return tf.zeros_like(images)

    monkeypatch.setattr(augment, "augmented", spy)

    def make(images, labels, seed, indices, positions, count):
        with tf.control_dependencies([tf.debugging.assert_equal(images, 0.0)]):  # what the spy has made of them
            return examples.clean_examples(tf.identity(images), labels, seed, indices, positions, count)

    classifier = models.build_cnn(splits.image_shape, 3)
    options = config.BaselineConfig(epochs=2, batch_size=10, augment="vgg")
    loop.train(classifier, splits, experiment.recipe(options), runs.Run(tmp_path), examples=make)
    assert set(seen) == {(epoch, index) for epoch in (0, 1) for index in range(24)}
    for (_, index), times in seen.items():
        assert len(times) == 1
        np.testing.assert_allclose(times[0], splits.train.images[index] / 255, atol=1e-6)


def test_scale_moves_the_edges_of_a_square_to_or_from_the_centre():
    side, half = 41, 10  # an odd side has a pixel at its centre
    square = np.zeros((64, side, side, 1), np.float32)
    square[:, 20 - half : 21 + half, 20 - half : 21 + half] = 1
    made = augment.augmented(square, augment.Augmentation(scale=0.3), seed=(0, 0), indices=tf.range(64, dtype=tf.int64))
    # Of the middle row, what is bright is the width of the square.
    widths = made.numpy()[:, 20, :, 0].sum(axis=1) / (2 * half + 1)
    assert 0.69 < widths.min() < 0.8 and 1.2 < widths.max() < 1.31
    rows, columns = made.numpy()[:, :, 20, 0].sum(axis=1), made.numpy()[:, 20, :, 0].sum(axis=1)
    np.testing.assert_allclose(rows, columns, atol=1e-3)  # as high as wide


def test_augmented_training_learns_what_does_not_depend_on_place(tmp_path):
    rng = np.random.default_rng(0)
    splits = make_splits((120, 40, 40), task="binary", num_labels=1)

    def bright(split):
        pixels = rng.integers(0, 100, split.images.shape) + 100 * split.labels[:, :, None, None]
        return dataclasses.replace(split, images=pixels.astype(np.uint8))

    splits = dataclasses.replace(splits, **{part: bright(split) for part, split in splits.parts.items()})
    keras.utils.set_random_seed(0)
    options = config.BaselineConfig(epochs=4, batch_size=20, learning_rate=0.01, dropout=0.0, augment="covid_cnn")
    _, summary = loop.train(
        models.build_cnn(splits.image_shape, 1), splits, experiment.recipe(options), runs.Run(tmp_path)
    )
    assert summary["best_val_auc"] > 0.9
