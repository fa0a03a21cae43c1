import keras
import numpy as np
import pytest

import models


@pytest.mark.parametrize(("shape", "num_labels", "count"), [((28, 28, 1), 14, 111_662), ((224, 224, 3), 1, 110_561)])
def test_the_cnn_has_as_many_parameters_as_its_layers_say(shape, num_labels, count):
    channels = shape[-1]
    # Convolutions without bias, four BatchNorm values per filter, two dense layers with bias.
    expected = 9 * (channels * 32 + 32 * 64 + 64 * 128) + 4 * (32 + 64 + 128) + 129 * 128 + 129 * num_labels
    assert models.build_cnn(shape, num_labels).count_params() == expected == count


def test_logits_are_what_the_probabilities_come_from():
    classifier = models.build_cnn((28, 28, 1), 14)
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    logits = models.logits(classifier)(images, training=False)
    np.testing.assert_allclose(classifier(images, training=False), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    classifier = models.build_cnn((28, 28, 1), 4, activation="softmax")
    np.testing.assert_allclose(classifier(images, training=False).numpy().sum(axis=1), 1, rtol=1e-5)


def test_the_layers_come_in_the_order_that_lets_batchnorm_be_folded():
    kinds = [type(layer).__name__ for layer in models.build_cnn((28, 28, 1), 14).layers]
    assert kinds[1:4] == ["Conv2D", "BatchNormalization", "ReLU"]
    assert kinds.count("MaxPooling2D") == 2
    assert kinds[-6:] == ["GlobalAveragePooling2D", "Dropout", "Dense", "Dropout", "Dense", "Activation"]


def test_the_moving_averages_follow_within_an_epoch_of_a_small_set():
    classifier = models.build_cnn((8, 8, 1), 2)
    images = np.random.default_rng(0).random((32, 8, 8, 1), np.float32)
    for _ in range(40):
        classifier(images, training=True)
    norm = classifier.get_layer("norm1")
    mean = classifier.get_layer("conv1")(images).numpy().mean(axis=(0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=0.05, atol=1e-4)


def test_the_model_survives_saving(tmp_path):
    classifier = models.build_cnn((28, 28, 1), 14)
    classifier.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(models.logits(loaded)(images), models.logits(classifier)(images))


def test_a_model_without_logits_is_refused():
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="logits"):
        models.logits(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
