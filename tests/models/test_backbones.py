"""Backbones are built, normalized, frozen, saved and filled with weights; no weight is ever random by surprise."""

import dataclasses
import functools
import http.server
import sys
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from chestrobust import models
from chestrobust.catalogue import MODELS
from chestrobust.errors import ExpectedError, ModelError
from chestrobust.evaluation import outcomes
from chestrobust.models import backbones
from chestrobust.training import loop

IMAGES = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
SMALLEST = {"vit_b16": 32, "dinov2_s14": 42}
# Of the backbone alone, as published: the libraries' own counts without a head.
PARAMETERS = {
    "resnet18": 11_186_112,
    "resnet34": 21_301_696,
    "resnet50": 23_587_712,
    "efficientnet_b0": 4_049_571,
    "densenet121": 7_037_504,
    "vgg16": 14_714_688,
    "mobilenet_v2": 2_257_984,
    "vit_b16": 85_651_200,
    "dinov2_s14": 21_538_176,
}
QUICK = ("resnet18", "mobilenet_v2")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PARAMETERS]
)
def test_a_backbone_takes_small_gray_images_and_survives_saving(name, tmp_path):
    classifier = models.build(name, (28, 28, 1), 14, backbone_size=SMALLEST.get(name))
    assert classifier.get_layer("backbone").count_params() == PARAMETERS[name]
    answers = classifier(IMAGES, training=False).numpy()
    assert answers.shape == (3, 14)
    # Without `training`, Keras must take inference mode too.
    np.testing.assert_array_equal(classifier(IMAGES), answers)
    classifier.save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(models.logits(loaded)(IMAGES), models.logits(classifier)(IMAGES))


@pytest.mark.parametrize(
    ("name", "means", "deviations"),
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("mobilenet_v2", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_pixels_reach_the_backbone_as_its_authors_normalized_them(name, means, deviations):
    classifier = models.build(name, (32, 32, 1), 2)
    before = keras.Model(classifier.input, classifier.get_layer("normalize").output)
    gray = np.full((1, 32, 32, 1), 0.25, np.float32)
    expected = (0.25 - np.array(means)) / np.array(deviations)
    np.testing.assert_allclose(before(gray)[0, 5, 5], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"), [("resnet50", "resnet50"), ("vgg16", "vgg16"), ("densenet121", "densenet")]
)
def test_normalization_is_that_of_keras_applications(name, module):
    classifier = models.build(name, (32, 32, 3), 2)
    before = keras.Model(classifier.input, classifier.get_layer("normalize").output)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected = getattr(keras.applications, module).preprocess_input(255 * images)
    np.testing.assert_allclose(before(images), expected, atol=1e-3)


def test_the_backbone_sees_the_size_that_is_asked_for():
    shapes = [
        models.build("mobilenet_v2", (size, size, 1), 2, backbone_size=wanted).get_layer("backbone").input_shape
        for size, wanted in ((28, None), (64, None), (28, 96))
    ]
    assert [shape[1] for shape in shapes] == [32, 64, 96]


def test_attacks_take_fewer_images_at_once_where_the_model_enlarges_them():
    model = models.logits(models.build("mobilenet_v2", (28, 28, 1), 2, backbone_size=96))
    assert outcomes._pixels(model, (5, 28, 28, 1)) == 96 * 96
    assert outcomes._pixels(lambda images: images, (5, 28, 28, 1)) == 28 * 28


def test_batchnorm_inside_a_backbone_takes_its_statistics_from_all_replicas(monkeypatch):
    classifier = models.build("mobilenet_v2", (32, 32, 1), 2)
    monkeypatch.setattr(loop.devices, "replicas", lambda: 2)
    loop._synchronize(models.logits(classifier))
    norms = [x for x in classifier.get_layer("backbone").layers if isinstance(x, layers.BatchNormalization)]
    assert norms and all(norm.synchronized for norm in norms)


def test_freezing_leaves_the_backbone_and_its_batchnorm_as_they_are():
    classifier = models.build("mobilenet_v2", (32, 32, 1), 2, freeze=True, attention="se")
    names = {variable.path.split("/")[0] for variable in classifier.trainable_variables}
    assert names == {"attention_squeeze", "attention_excite", "logits"}
    backbone = classifier.get_layer("backbone")
    before = backbone.get_weights()
    images = np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    classifier(images, training=True)
    for value, weight in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)
    models.build("mobilenet_v2", (32, 32, 1), 2)  # Another is free.
    norm = next(layer for layer in backbone.layers if isinstance(layer, layers.BatchNormalization))
    x = tf.random.normal((2, 4, 4, norm.moving_mean.shape[0]))
    np.testing.assert_array_equal(norm(x, training=True), norm(x, training=False))


def test_dropout_stands_before_the_logits():
    classifier = models.build("mobilenet_v2", (32, 32, 1), 2, dropout=0.25)
    assert [layer.name for layer in classifier.layers[-3:]] == ["dropout", "logits", "probabilities"]
    assert classifier.get_layer("dropout").rate == 0.25


@pytest.fixture(scope="module")
def trained():
    """A backbone with weights that a fresh one doesn't have."""
    keras.utils.set_random_seed(7)
    backbone = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None)
    rng = np.random.default_rng(7)
    backbone.set_weights([rng.uniform(0.5, 1, weight.shape).astype(np.float32) for weight in backbone.get_weights()])
    return backbone


def holds(classifier, trained):
    pairs = zip(classifier.get_layer("backbone").get_weights(), trained.get_weights(), strict=True)
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.slow
def test_weights_come_from_a_file_of_a_backbone_or_of_a_classifier(trained, tmp_path):
    build = functools.partial(models.build, "mobilenet_v2", (28, 28, 1), 2)
    trained.save_weights(tmp_path / "own.weights.h5")
    trained.save(tmp_path / "backbone.keras")
    from_weights = build(weights=str(tmp_path / "own.weights.h5"))
    assert holds(from_weights, trained)
    assert holds(build(weights=str(tmp_path / "backbone.keras")), trained)
    from_weights.save(tmp_path / "classifier.keras")
    assert holds(models.build("mobilenet_v2", (64, 64, 1), 5, weights=str(tmp_path / "classifier.keras")), trained)


def test_a_file_of_another_backbone_is_one_line(trained, tmp_path):
    trained.save_weights(tmp_path / "mobilenet.weights.h5")
    trained.save(tmp_path / "mobilenet.keras")
    (tmp_path / "broken.keras").write_text("broken")
    (tmp_path / "broken.h5").write_text("broken")
    for file in ("mobilenet.weights.h5", "mobilenet.keras", "broken.keras", "broken.h5"):
        with pytest.raises(ModelError, match=rf"{file}: expected.*Received"):
            models.build("resnet18", (28, 28, 1), 2, weights=str(tmp_path / file))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine, in the place of the one that has Keras's ImageNet weights; its folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        from keras.src.applications import mobilenet_v2

        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{host.server_port}/")
        # Where Keras keeps what it has downloaded.
        monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
        yield folder
        host.shutdown()


def test_imagenet_weights_are_downloaded(trained, server):
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    with h5py.File(server / name, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, trained)
    assert holds(models.build("mobilenet_v2", (28, 28, 1), 2, weights="imagenet"), trained)


def test_weights_that_cannot_be_downloaded_are_one_line_and_never_random(server):
    with pytest.raises(ModelError, match=r"download the weights of mobilenet_v2. Received: .*404.*--weights FILE"):
        models.build("mobilenet_v2", (28, 28, 1), 2, weights="imagenet")


def publish(monkeypatch, name, preset):
    """Let a model's published weights be those of a preset."""
    monkeypatch.setitem(MODELS, name, dataclasses.replace(MODELS[name], published=str(preset)))


def test_keras_hub_weights_come_from_its_preset(tmp_path, monkeypatch):
    original = backbones.resnet(MODELS["resnet18"], 32, pretrained=False)
    original.save_to_preset(str(tmp_path / "preset"))
    publish(monkeypatch, "resnet18", tmp_path / "preset")
    assert holds(models.build("resnet18", (28, 28, 1), 2, weights="imagenet"), original)
    monkeypatch.setitem(
        MODELS, "resnet18", dataclasses.replace(MODELS["resnet18"], published=str(tmp_path / "nowhere"))
    )
    with pytest.raises(ModelError, match="download the weights of resnet18"):
        models.build("resnet18", (28, 28, 1), 2, weights="imagenet")


@pytest.mark.slow
def test_dinov2_keeps_published_weights_through_saving_and_resizes_its_places_once(tmp_path, monkeypatch):
    hub = pytest.importorskip("keras_hub", reason="needs keras-hub: make setup installs it")
    published = hub.models.DINOV2Backbone(
        patch_size=14, num_layers=12, hidden_dim=384, num_heads=6, intermediate_dim=1536, image_shape=(70, 70, 3)
    )
    published.save_to_preset(str(tmp_path / "preset"))
    monkeypatch.setitem(
        MODELS, "dinov2_s14", dataclasses.replace(MODELS["dinov2_s14"], published=str(tmp_path / "preset"))
    )
    classifier = models.build("dinov2_s14", (28, 28, 1), 2, weights="imagenet", backbone_size=42)
    same = hub.models.DINOV2Backbone.from_preset(str(tmp_path / "preset"), image_shape=(42, 42, 3))
    x = np.random.default_rng(0).normal(size=(1, 42, 42, 3)).astype(np.float32)
    expected = same({"images": x})
    np.testing.assert_allclose(classifier.get_layer("backbone")({"images": x}), expected, atol=1e-4)
    classifier.save(tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.get_layer("backbone")({"images": x}), classifier.get_layer("backbone")({"images": x})
    )


@pytest.mark.parametrize(("name", "weights"), [("resnet18", "imagenet"), ("vit_b16", "none"), ("resnet34", "none")])
def test_without_keras_hub_the_message_says_what_to_install(name, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ExpectedError, match=r"expected keras-hub.*pip install keras-hub safetensors$"):
        models.build(name, (28, 28, 1), 2, weights=weights)
    assert models.build("mobilenet_v2", (32, 32, 1), 2).count_params()


def test_weights_that_need_safetensors_say_so(monkeypatch):
    def converted(row, size, *, pretrained):
        raise ImportError("No module named 'safetensors'")

    row = dataclasses.replace(MODELS["resnet34"], builder="converted")
    monkeypatch.setitem(MODELS, "resnet34", row)
    resolve = backbones.resolve
    monkeypatch.setattr(backbones, "resolve", lambda name: converted if name == "converted" else resolve(name))
    with pytest.raises(ExpectedError, match=r"safetensors'\. Install them by: pip install keras-hub safetensors$"):
        models.build("resnet34", (28, 28, 1), 2, weights="imagenet")
