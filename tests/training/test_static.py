"""The one-off adversarial set: exact, kept on disk, and trained on by the same loop."""

import keras
import numpy as np
import pytest
from conftest import make_splits
from test_training import small

from chestrobust import attacks, config, losses, models, runs
from chestrobust.attacks import gradient
from chestrobust.data.lazy import Lazy, Rows, white_of
from chestrobust.errors import ExpectedError
from chestrobust.training import checkpoints, experiment, loop, static_set

OPTIONS = config.AdversarialConfig(method="static", epochs=2, batch_size=10, learning_rate=0.01, train_epsilon=0.03)
FGSM = {"epsilon": 0.03, "loss": losses.binary_cross_entropy, "precision": "auto"}


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return models.logits(small((8, 8, 1), 3, activation="sigmoid"))


@pytest.fixture
def joined(model, splits, tmp_path):
    return static_set.joined(splits, model, runs.Run(tmp_path), **FGSM)


def test_the_second_half_are_fgsm_images_to_the_last_bit_that_floats_have(model, splits, joined):
    count = len(splits.train)
    images = splits.train.images.astype(np.float32) / 255
    labels = splits.train.labels.astype(np.float32)
    attacked = attacks.fgsm(model, images, labels, epsilon=0.03, batch_size=64)
    assert len(joined.train) == 2 * count
    np.testing.assert_array_equal(joined.train.images[np.arange(count)], images)
    np.testing.assert_allclose(joined.train.images[np.arange(count, 2 * count)], attacked, atol=1e-7)
    mixed = np.array([count + 3, 3, 0])
    np.testing.assert_allclose(joined.train.images[mixed], np.stack([attacked[3], images[3], images[0]]), atol=1e-7)
    np.testing.assert_array_equal(joined.train.labels, np.concatenate([splits.train.labels] * 2))
    assert joined.val is splits.val and joined.test is splits.test


def test_white_is_what_the_set_says_also_of_some_of_its_rows(joined, splits):
    assert (white_of(splits.train.images), white_of(joined.train.images)) == (255, 1)
    assert white_of(joined.train.view(np.arange(3)).images) == 1
    assert white_of(Rows(splits.train.images, np.arange(3))) == 255


def test_the_set_is_made_once_and_removed_when_the_run_is_finished(model, splits, joined, tmp_path, monkeypatch):
    run = runs.Run(tmp_path)
    monkeypatch.setattr(gradient, "fgsm", None)  # Would fail if it were called again.
    again = static_set.joined(splits, model, run, **FGSM)
    rows = np.arange(len(again.train))
    np.testing.assert_array_equal(again.train.images[rows], joined.train.images[rows])
    run.finish(OPTIONS, splits)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_training_shows_both_halves_and_resumes(model, splits, tmp_path, monkeypatch):
    def train(name, stop_at=None):
        (tmp_path / name).mkdir(exist_ok=True)
        run = runs.Run(tmp_path / name)
        keras.utils.set_random_seed(0)
        classifier = small(splits.image_shape, 3, activation="sigmoid")
        shown = static_set.joined(splits, models.logits(classifier), run, **FGSM)
        compiled, seen = loop._compiled_step, []

        def counted(*arguments):
            step = compiled(*arguments)

            def wrapped(images, labels, indices, *rest):
                if len(seen) == stop_at:
                    raise KeyboardInterrupt
                seen.append(indices.numpy())
                step(images, labels, indices, *rest)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "SAVE_EVERY", -1)
            patch.setattr(checkpoints, "SHARE", 1e9)
            patch.setattr(loop, "_compiled_step", counted)
            return loop.train(classifier, shown, experiment.recipe(OPTIONS), run)[0], np.concatenate(seen)

    whole, seen = train("whole")
    assert sorted(seen) == sorted(2 * list(range(2 * len(splits.train))))
    with pytest.raises(KeyboardInterrupt):
        train("stopped", stop_at=7)
    resumed, _ = train("stopped")
    for weight, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_what_is_known_about_it_is_said():
    assert "--method online" in static_set.WARNING
    assert "once" in static_set.WARNING


def test_the_set_takes_a_byte_per_pixel(joined, splits, tmp_path):
    assert (tmp_path / static_set.FILE).stat().st_size < splits.train.images.size + 256
    assert np.load(tmp_path / static_set.FILE, mmap_mode="r").dtype == np.int8
    assert isinstance(joined.train.images, Lazy)


def test_multi_class_data_work_too(tmp_path):
    splits = make_splits(task="multi-class")
    model = models.logits(models.build_cnn((8, 8, 1), 3, activation="softmax"))
    joined = static_set.joined(splits, model, runs.Run(tmp_path), **FGSM)
    assert joined.train.labels.sum() == 2 * len(splits.train)


@pytest.mark.parametrize("option", ["--adv-weight=0", "--train-steps=50", "--train-step-size=0.1"])
def test_options_that_a_static_set_has_no_use_for_are_refused(option):
    with pytest.raises(ExpectedError, match=f"{option.partition('=')[0]}: expected --method online.* Received static"):
        config.parse(config.AdversarialConfig, ["--method", "static", option])


@pytest.mark.parametrize("damage", ["zeros", "short", "gone", "no checksum"])
def test_a_set_that_was_altered_is_made_again(joined, splits, tmp_path, damage):
    file = tmp_path / static_set.FILE
    whole = file.read_bytes()
    if damage == "zeros":
        file.write_bytes(whole[:128] + bytes(len(whole) - 128))
    elif damage == "short":
        file.write_bytes(whole[:-100])
    else:
        (file if damage == "gone" else tmp_path / static_set.CHECKSUM).unlink()
    model = models.logits(models.build_cnn(splits.image_shape, 3))
    again = static_set.joined(splits, model, runs.Run(tmp_path), **FGSM)
    rows = np.arange(2 * len(splits.train))
    assert file.stat().st_size == len(whole)
    assert again.train.images[rows].max() <= 1


def test_a_whole_set_is_not_made_again(joined, splits, tmp_path):
    before = (tmp_path / static_set.FILE).stat().st_mtime_ns
    static_set.joined(splits, None, runs.Run(tmp_path), **FGSM)
    assert (tmp_path / static_set.FILE).stat().st_mtime_ns == before
