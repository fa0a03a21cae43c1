"""Models written down for the report page: which there are, and that small ones alone are."""

import base64

import keras
import numpy as np
import pytest
from keras import layers

from chestrobust import models
from chestrobust.models import transcript


def ended(x, inputs):
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


def kinds(written):
    return [layer["kind"] for layer in written["layers"]]


def test_the_default_model_is_written_with_its_normalization_folded():
    written = transcript.of(models.logits(models.build_cnn((28, 28, 1), 14)))
    block = ["convolution", "relu", "pool"]
    assert kinds(written) == [*block, *block, *block[:2], "average", "dense", "relu", "dense"]
    assert written["input"] == [28, 28, 1]
    assert written["layers"][0]["shape"] == [3, 3, 1, 32]
    # All parameters but the four of BatchNorm per channel, of which a bias is left.
    texts = [layer[name] for layer in written["layers"] for name in layer.keys() & {"kernel", "bias"}]
    assert sum(len(base64.b64decode(text)) for text in texts) == 4 * (111_662 - 3 * (32 + 64 + 128))


def test_weights_are_little_endian_float32():
    inputs = keras.Input((2, 1, 1))
    model = ended(inputs, inputs)
    kernel, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5, -1, 2], np.float32)
    model.get_layer("logits").set_weights([kernel, bias])
    (layer,) = transcript.of(model)["layers"]
    assert layer == {
        **{"kind": "dense", "shape": [2, 3]},
        "kernel": base64.b64encode(kernel.astype("<f4").tobytes()).decode(),
        "bias": base64.b64encode(bias.astype("<f4").tobytes()).decode(),
    }


@pytest.mark.parametrize(
    "layer",
    [
        layers.AveragePooling2D(2),
        layers.BatchNormalization(),
        layers.Conv2D(2, 3, dilation_rate=2),
        layers.Conv2D(2, 3, groups=2),
        layers.Conv2D(2, 3, activation="gelu"),
        layers.Dense(2),
        layers.MaxPooling2D(2, padding="same"),
        layers.ReLU(max_value=6),
        layers.Conv2D(2, 3, dtype="mixed_bfloat16"),
    ],
    ids=lambda layer: layer.name,
)
def test_what_the_page_cannot_compute_has_no_transcript(layer):
    inputs = keras.Input((8, 8, 2))
    assert transcript.of(ended(inputs, inputs)) is not None
    assert transcript.of(ended(layer(inputs), inputs)) is None


def test_what_branches_has_none():
    inputs = keras.Input((8, 8, 2))
    first = layers.ReLU()(inputs)
    assert transcript.of(ended(layers.ReLU()(inputs), inputs)) is not None
    layers.ReLU()(first)
    assert transcript.of(ended(layers.Add()([inputs, first]), inputs)) is None


def test_what_is_large_or_slow_has_none():
    assert transcript.of(models.logits(models.build_cnn((64, 64, 3), 14))) is not None
    assert transcript.of(models.logits(models.build_cnn((80, 80, 1), 14))) is None
    assert transcript.of(models.logits(models.build_vgg((28, 28, 1), 14))) is None
    inputs = keras.Input((260, 260, 1))
    assert transcript.of(ended(inputs, inputs)) is None


def test_what_is_no_model_has_none():
    assert transcript.of(lambda images, training=False: images) is None
