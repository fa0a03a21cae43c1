"""The script that computes a model on the report page: run by Node, it answers what Keras answers."""

import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from chestrobust import attacks, losses, models, titles
from chestrobust.models import transcript

SCRIPT = Path(transcript.__file__).parents[1] / "reporting" / "templates" / "network.js"
DRIVER = """
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const network = readNetwork(asked.network), loss = crossEntropy(asked.finding, asked.present);
console.log(JSON.stringify(asked.images.map((image) => ({
  logits: [...logitsOf(network, image)],
  gradient: [...gradientOf(network, Float64Array.from(image), loss)],
  steps: [...attackSteps(network, image, loss, asked.radius, asked.steps)].map((one) => [...one]),
}))));
"""


def answered(model, images, *, finding=0, present=True, radius=4 / 255, steps=3):
    """What the script says of each image."""
    node = shutil.which("node")
    if not node:
        pytest.skip("Node isn't installed; make test-browser looks at the same script in Chromium")
    asked = {
        "network": transcript.of(model),
        "images": [image.ravel().tolist() for image in images],
        **{"finding": finding, "present": present, "radius": radius, "steps": steps},
    }
    done = subprocess.run(
        [node, "-e", SCRIPT.read_text() + DRIVER], input=json.dumps(asked), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shaken(classifier, seed=0):
    """A model whose weights, BatchNorm's too, are drawn anew, so that no bias is 0 and no scale 1."""
    rng = np.random.default_rng(seed)
    for variable in classifier.weights:
        low, high = (0.5, 2.0) if "variance" in variable.path or "gamma" in variable.path else (-0.3, 0.3)
        variable.assign(rng.uniform(low, high, variable.shape))
    return models.logits(classifier)


def strided():
    """Layers as `cnn` has none: even kernels, strides, no padding, images that no window fits."""
    inputs = keras.Input((13, 11, 3))
    x = layers.Conv2D(6, 4, strides=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(5, (2, 3), padding="valid")(x)
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(x))
    x = layers.MaxPooling2D(2, strides=1)(x)
    x = layers.Dense(3, name="logits")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Activation("sigmoid")(x))


BUILT = {"cnn": lambda: models.build_cnn((28, 28, 1), 14), "strided": strided}


@pytest.fixture(params=BUILT)
def model(request):
    return shaken(BUILT[request.param]())


def images_of(model, count=4):
    shape = (count, *model.input_shape[1:])
    return (np.random.default_rng(1).integers(0, 256, shape) / 255).astype(np.float32)


def test_logits_are_those_of_keras(model):
    images = images_of(model)
    expected = model(images, training=False).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose([one["logits"] for one in answered(model, images)], expected, atol=1e-4)


@pytest.mark.parametrize("present", [True, False])
def test_the_gradient_is_that_of_tensorflow(model, present):
    images = tf.constant(images_of(model))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = model(images, training=False)[:, 1:2]
        loss = losses.binary_cross_entropy(tf.fill(logits.shape, float(present)), logits)
    expected = tape.gradient(loss, images).numpy().reshape(len(images), -1)
    found = np.array([one["gradient"] for one in answered(model, images.numpy(), finding=1, present=present)])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_sure_model_still_has_a_gradient():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    model.layers[-1].set_weights([np.full((16, 1), 50.0), np.zeros(1)])
    (found,) = answered(model, np.full((1, 4, 4, 1), 0.5, np.float32), steps=1)
    assert found["logits"] == pytest.approx([400])
    assert found["steps"][0] == pytest.approx([0.5 - 4 / 255] * 16)


@pytest.mark.parametrize("steps", [1, 10])
def test_attacks_stay_in_the_ball_and_do_what_ours_do(model, steps):
    images, radius = images_of(model), 8 / 255
    for present in (True, False):
        found = answered(model, images, finding=2, present=present, radius=radius, steps=steps)
        every = np.array([one["steps"] for one in found])
        clean = images.reshape(len(images), 1, -1)
        assert every.shape == (len(images), steps, clean.shape[-1])
        assert np.abs(every - clean).max() <= radius + 1e-6
        assert every.min() >= 0 and every.max() <= 1
        weights = np.zeros((len(images), model.output_shape[-1]), np.float32)
        weights[:, 2] = -1 if present else 1
        options = {"epsilon": radius, "step_size": titles.usual_step(radius, steps), "steps": steps}
        expected = attacks.pgd(
            model, images, weights, **options, random_start=False, loss=losses.linear, precision="float32"
        )
        attacked = every[:, -1].reshape(images.shape).astype(np.float32)
        ours, theirs, before = (model(tf.constant(each)).numpy()[:, 2] for each in (expected, attacked, images))
        assert ((theirs - before) * weights[:, 2] > 0).all()
        np.testing.assert_allclose(theirs, ours, atol=0.02 * np.abs(ours - before).max())
