import gc
import itertools
import weakref

import keras
import numpy as np
import pytest

from chestrobust import models
from chestrobust.models import blocks, twin


@pytest.mark.parametrize(("shape", "num_labels", "count"), [((28, 28, 1), 14, 111_662), ((224, 224, 3), 1, 110_561)])
def test_the_cnn_has_as_many_parameters_as_its_layers_say(shape, num_labels, count):
    channels = shape[-1]
    # Convolutions without bias, four BatchNorm values per filter, two dense layers with bias.
    expected = 9 * (channels * 32 + 32 * 64 + 64 * 128) + 4 * (32 + 64 + 128) + 129 * 128 + 129 * num_labels
    assert models.build_cnn(shape, num_labels).count_params() == expected == count


def test_the_vgg_has_as_many_parameters_as_its_layers_say():
    # 28 px are pooled twice, to 7; convolutions and dense layers have a bias per output.
    expected = 10 * 32 + (9 * 32 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64
    expected += (7 * 7 * 64 + 1) * 256 + 257 * 14
    assert models.build_vgg((28, 28, 1), 14).count_params() == expected == 871_662


@pytest.mark.parametrize("size", [28, 224])
def test_the_robust_cnn_has_as_many_parameters_as_its_layers_say(size):
    # Two 3x3 convolutions per block, a 1x1 one where channels change, no bias; four values per channel and BatchNorm.
    convolutions = 25 * 32 + 9 * (2 * 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    convolutions += 32 * 64 + 64 * 128
    norms = 4 * (32 + 32 + 32 + 64 + 64 + 128 + 128)
    classifier = models.build("robust_cnn", (size, size, 1), 1)
    assert classifier.count_params() == convolutions + norms + 129 == 308_001
    assert twin.known(models.logits(classifier))


def test_the_certified_cnn_has_as_many_parameters_as_its_layers_say():
    # 28 px are halved twice, to 7.
    expected = 17 * 32 + (16 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 100 + 101 * 14
    assert models.build("certified_cnn", (28, 28, 1), 14).count_params() == expected == 348_490


@pytest.mark.parametrize(("size", "left", "count"), [(112, 7, 61_484_065), (28, 1, 11_152_417)])
def test_the_covid_cnn_has_as_many_parameters_as_its_layers_say(size, left, count):
    filters = (1, 64, 128, 128, 256, 256, 256, 512, 512, 1024)
    expected = sum((9 * before + 1) * after + 4 * after for before, after in itertools.pairwise(filters))
    # Two strides and two poolings, all by 2, leave a sixteenth of the side.
    units = (left * left * 1024, 1024, 128, 16, 1)
    expected += sum((before + 1) * after for before, after in itertools.pairwise(units))
    assert models.build_covid_cnn((size, size, 1), 1).count_params() == expected == count


@pytest.mark.parametrize(("name", "shift"), [("vgg", (-1, 1)), ("covid_cnn", (-2, 2))])
def test_hand_made_models_normalize_as_their_authors_did(name, shift):
    classifier = models.build(name, (28, 28, 1), 1)
    normalize = classifier.get_layer("normalize")
    np.testing.assert_allclose(normalize(np.float32([0, 1])), shift)


@pytest.mark.parametrize("kind", ["se", "cbam"])
def test_attention_weights_channels_and_places(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 32))
    model = keras.Model(inputs, blocks.attended(inputs, kind, name="a"))
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 32)).astype(np.float32)
    received = model(x).numpy()
    weights = [weight.numpy() for weight in model.weights]
    (squeeze, b1, excite, b2), places = weights[:4], weights[4:]

    def scores(pooled):
        return np.maximum(pooled @ squeeze + b1, 0) @ excite + b2

    score = scores(x.mean(axis=(1, 2))) + (scores(x.max(axis=(1, 2))) if kind == "cbam" else 0)
    expected = x / (1 + np.exp(-score[:, None, None]))
    if kind == "cbam":
        maps = np.stack([expected.mean(axis=-1), expected.max(axis=-1)], axis=-1)
        expected *= 1 / (1 + np.exp(-(keras.ops.conv(maps, places[0], padding="same") + places[1])))
    np.testing.assert_allclose(received, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "robust_cnn", "vgg", "covid_cnn", "certified_cnn"])
def test_attention_joins_the_blocks_of_hand_made_models_and_is_saved(name, tmp_path):
    classifier = models.build(name, (28, 28, 1), 3, attention="cbam")
    blocks = {"cnn": 3, "robust_cnn": 3, "vgg": 2, "covid_cnn": 9, "certified_cnn": 2}[name]
    assert sum(layer.name.endswith("_by_place") for layer in classifier.layers) == blocks
    classifier.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(models.load(tmp_path / "model.keras")(images), classifier(images))


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


def test_logits_of_a_classifier_are_one_model_and_go_with_it(tmp_path):
    classifier = models.build_cnn((28, 28, 1), 14)
    classifier.save(tmp_path / "model.keras")
    others = [keras.models.clone_model(classifier), models.load(tmp_path / "model.keras")]
    assert models.logits(classifier) is models.logits(classifier)
    assert len({id(models.logits(model)) for model in (classifier, *others)}) == 3
    alive = [weakref.ref(model) for model in (classifier, models.logits(classifier))]
    del classifier
    gc.collect()
    gc.collect()  # The model of the logits is let go when the classifier has been collected.
    assert [model() for model in alive] == [None, None]


def test_a_model_without_logits_is_refused():
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="logits"):
        models.logits(keras.Model(inputs, keras.layers.Dense(1)(inputs)))


def test_logits_that_are_probabilities_are_refused():
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match="before any activation"):
        models.logits(keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="logits")(inputs)))
