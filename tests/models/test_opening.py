"""Strangers' models: where their logits are, what is put around them, and which pixels they take."""

import json
import zipfile

import keras
import numpy as np
import pytest
from conftest import make_splits
from keras import layers, ops

import ensemble
import evaluate
import explain
from chestrobust import models
from chestrobust.data import ranges
from chestrobust.errors import ExpectedError, ModelError
from chestrobust.models import adapters, pixel_ranges
from chestrobust.models import twin as twins
from chestrobust.tasks import Task

SIZE = 6
RNG = np.random.default_rng(5)
KERNEL, BIAS = RNG.normal(size=(SIZE * SIZE, 3)).astype(np.float32), np.float32([0.3, -0.2, 0.1])


@pytest.fixture
def splits():
    return make_splits(size=SIZE)


def dense(activation=None):
    layer = layers.Dense(3, activation=activation)
    layer.build((None, SIZE * SIZE))
    layer.set_weights([KERNEL, BIAS])
    return layer


def functional(make, **settings):
    inputs = keras.Input((SIZE, SIZE, 1), **settings)
    return keras.Model(inputs, make(layers.Flatten()(inputs)))


def logits_of(images):
    return images.reshape(len(images), -1) @ KERNEL + BIAS


def pixels(splits):
    return splits.test.images.astype(np.float32) / 255


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_model_of_ours_is_a_classifier_again_when_it_comes_as_a_file(splits, tmp_path, kind):
    made = models.build_cnn((SIZE, SIZE, 1), 3)
    made.save(tmp_path / "file.keras")
    again = models.opened(tmp_path / "file.keras", splits).classifier(splits.task)
    loaded = models.load(kind(tmp_path / "file.keras"))
    for one in (again, loaded):
        np.testing.assert_allclose(one(pixels(splits)), made(pixels(splits)), atol=1e-6)
        assert [layer.name for layer in one.layers].count("logits") == 1


def shared(x):
    activation = layers.Activation("sigmoid")
    gate = layers.Dense(SIZE * SIZE, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(40.0))
    return activation(dense()(layers.Multiply()([x, activation(gate(x))])))


def head(x):
    return keras.Sequential([keras.Input((SIZE * SIZE,)), dense("sigmoid")])(x)


ENDINGS = {
    "dense": dense("sigmoid"),
    "operation": lambda x: ops.sigmoid(dense()(x)),
    "cast": lambda x: ops.cast(dense("sigmoid")(x), "float32"),
    "linear after it": lambda x: layers.Activation("linear")(dense("sigmoid")(x)),
    "identity": lambda x: layers.Identity()(dense("sigmoid")(x)),
    "dropout": lambda x: layers.Dropout(0.3)(dense("sigmoid")(x)),
    "reshaped": lambda x: layers.Reshape((3,))(layers.Reshape((3, 1))(dense("sigmoid")(x))),
    "clipped": lambda x: ops.clip(dense("sigmoid")(x), 1e-6, 1 - 1e-6),
    "a layer as activation": dense(layers.Activation("sigmoid")),
    "an activation used twice": shared,
    "a head of its own": head,
    "heads side by side": lambda x: layers.Concatenate()(
        [layers.Activation("sigmoid")(dense()(x)[:, i : i + 1]) for i in range(3)]
    ),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_logits_are_those_that_the_sigmoid_is_given(splits, kind):
    classifier = functional(ENDINGS[kind])
    found = models.understood(classifier, splits, own=True)
    assert found.activation == "sigmoid"
    np.testing.assert_allclose(found.model(pixels(splits), training=False), logits_of(pixels(splits)), atol=1e-4)
    assert found.agreement < 1e-5
    again = classifier(pixels(splits), training=False)  # nothing was changed in it
    np.testing.assert_allclose(again, 1 / (1 + np.exp(-logits_of(pixels(splits)))), atol=2e-6)


def test_plain_models_still_have_a_twin_and_quantized_layers_none(splits):
    assert twins.known(models.understood(functional(dense("sigmoid")), splits, own=True).model)
    quantized = functional(dense("sigmoid"))
    quantized.quantize("int8")
    found = models.understood(quantized, splits, own=True)
    assert not twins.known(found.model)
    np.testing.assert_allclose(found.model(pixels(splits)), logits_of(pixels(splits)), atol=0.3)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.25, 0.75)])
def test_a_mean_of_sure_heads_has_exact_logits(splits, weights):
    far = [40.0, -40.0]  # where float32 probabilities are 0 and 1

    def heads(x):
        first, second = (ops.sigmoid(dense()(x) * scale + shift) for scale, shift in zip((9.0, -5.0), far, strict=True))
        return first * weights[0] + second * weights[1] if weights[0] != 0.5 else (first + second) / 2

    found = models.understood(functional(heads), splits, own=True)
    z = logits_of(pixels(splits)).astype(np.float64)
    both = [9.0 * z + far[0], -5.0 * z + far[1]]
    yes = np.logaddexp(*(np.log(w) - np.logaddexp(0, -one) for w, one in zip(weights, both, strict=True)))
    no = np.logaddexp(*(np.log(w) - np.logaddexp(0, one) for w, one in zip(weights, both, strict=True)))
    np.testing.assert_allclose(found.model(pixels(splits)), yes - no, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: layers.Activation("hard_sigmoid")(dense()(x)), "hard_sigmoid"),
        (lambda x: ops.clip(dense("sigmoid")(x), 0.4, 0.6), "difference of"),
        (lambda x: ops.square(ops.sigmoid(40 * dense()(x))), "gradients are lost"),
        (lambda x: layers.Dense(5)(x), "3 labels"),
        (lambda x: layers.Softmax()(dense()(x)), "expected sigmoids"),
    ],
)
def test_what_has_no_logits_is_refused(splits, make, message):
    with pytest.raises(ModelError, match=message):
        models.understood(functional(make), splits, own=True)


def test_probabilities_of_another_making_get_the_logit_of_the_probability(splits):
    found = models.understood(functional(lambda x: ops.square(ops.sigmoid(0.1 * dense()(x)))), splits, own=True)
    assert (found.activation, found.adapters) == ("sigmoid", ("logits computed from its probabilities",))
    p = 1 / (1 + np.exp(-0.1 * logits_of(pixels(splits)).astype(np.float64))) ** 1
    np.testing.assert_allclose(found.model(pixels(splits)), np.log(p**2) - np.log1p(-(p**2)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions_are_computed_in_float32(splits, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        classifier = functional(dense("sigmoid"))
    finally:
        keras.config.set_dtype_policy(before)
    found = models.understood(classifier, splits, own=True)
    np.testing.assert_allclose(found.model(pixels(splits)), logits_of(pixels(splits)), atol=1e-4)
    assert {layer.compute_dtype for layer in found.model.layers if layer.weights} == {"float32"}
    assert classifier.dtype_policy.name == policy or classifier.layers[-1].dtype_policy.name == policy


def test_several_heads_are_put_in_the_order_of_the_labels(splits):
    inputs = keras.Input((SIZE, SIZE, 1))
    logits = dense()(layers.Flatten()(inputs))
    heads = {name: ops.sigmoid(logits[:, i : i + 1]) for i, name in reversed(list(enumerate(splits.label_names)))}
    for outputs in (heads, [heads[name] for name in splits.label_names]):
        found = models.understood(keras.Model(inputs, outputs), splits, own=True)
        np.testing.assert_allclose(found.model(pixels(splits)), logits_of(pixels(splits)), atol=1e-4)
    written = {name.capitalize().replace(" ", "_"): head for name, head in heads.items()}
    listed = [layers.Identity(name=name.capitalize().replace(" ", "_"))(head) for name, head in heads.items()]
    for outputs in (written, listed):
        found = models.understood(keras.Model(inputs, outputs), splits, own=True)
        np.testing.assert_allclose(found.model(pixels(splits)), logits_of(pixels(splits)), atol=1e-4)


def test_heads_by_other_names_are_in_no_order(splits):
    inputs = keras.Input((SIZE, SIZE, 1))
    logits = dense()(layers.Flatten()(inputs))
    heads = {f"out {i}": ops.sigmoid(logits[:, i : i + 1]) for i in range(len(splits.label_names))}
    with pytest.raises(ModelError, match="expected heads called as the labels"):
        models.understood(keras.Model(inputs, heads), splits, own=True)


def test_a_model_for_other_shapes_is_the_same_function_of_the_datas_pixels():
    splits = make_splits(size=SIZE)
    rows = keras.Input((SIZE * SIZE,))
    gray = keras.Input((SIZE, SIZE))
    batch = keras.Input(batch_shape=(32, SIZE, SIZE, 1))
    colour, large = keras.Input((SIZE, SIZE, 3)), keras.Input((2 * SIZE, 2 * SIZE, 1))
    models_ = {
        "row": keras.Model(rows, dense("sigmoid")(rows)),
        "no channel": keras.Model(gray, dense("sigmoid")(layers.Flatten()(gray))),
        "batch": keras.Model(batch, dense("sigmoid")(layers.Flatten()(batch))),
        "colour": keras.Model(colour, dense("sigmoid")(layers.Flatten()(colour[..., 1:2]))),
        "large": keras.Model(large, dense("sigmoid")(layers.Flatten()(large[:, ::2, ::2]))),
    }
    said = {}
    for name, classifier in models_.items():
        found = models.understood(classifier, splits, own=True)
        said[name] = found.adapters
        images = pixels(splits)
        if name != "large":
            np.testing.assert_allclose(found.model(images), logits_of(images), atol=1e-4)
        assert found.model(images[:5]).shape == (5, 3)
    assert said["row"] == ("shape (6, 6, 1) to (36,)",)
    assert said["batch"] == ()
    assert said["colour"] == ("gray to RGB",)
    assert said["large"] == ("resized from 6x6 to 12x12",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0 255", lambda x: 255 * x),
        ("-1 1", lambda x: 2 * x - 1),
        ("standardized 0.5 0.25", lambda x: (x - 0.5) / 0.25),
        (
            "per-image",
            lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / np.maximum(x.std((1, 2, 3), keepdims=True), 1 / 6),
        ),
        ("imagenet", lambda x: (x - np.mean([0.485, 0.456, 0.406])) / 0.2255),
    ],
)
def test_pixels_come_in_the_range_that_is_named(splits, words, expected):
    images = keras.Input((SIZE, SIZE, 1))
    x, said = adapters.before(images, (SIZE, SIZE, 1), ranges.parse(words.split()))
    tolerance = {"rtol": 0.02, "atol": 0.02} if words == "imagenet" else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(keras.Model(images, x)(pixels(splits)), expected(pixels(splits)), **tolerance)
    assert len(said) == 1


@pytest.mark.parametrize("words", [["1"], ["5", "2"], ["nan", "1"], ["standardized", "0", "0"], ["imagine"]])
def test_other_ranges_are_refused(words):
    with pytest.raises(ExpectedError, match="--input-range"):
        ranges.parse(words)


def test_two_columns_become_one_and_one_becomes_two():
    two = functional(lambda x: layers.Softmax()(dense()(x)[:, :2]))
    binary = make_splits(size=SIZE, task="binary", num_labels=1)
    found = models.understood(two, binary, own=True)
    z = logits_of(pixels(binary))
    np.testing.assert_allclose(found.model(pixels(binary))[:, 0], z[:, 1] - z[:, 0], atol=1e-4)
    assert found.activation == "sigmoid"
    assert "two columns to one" in found.adapters[0]
    one = functional(lambda x: ops.sigmoid(dense()(x)[:, :1]))
    classes = make_splits(size=SIZE, task="multi-class", num_labels=2)
    found = models.understood(one, classes, own=True)
    answered = Task("multi-class").probabilities(found.model(pixels(classes)))
    np.testing.assert_allclose(answered[:, 1:], one(pixels(classes)), atol=1e-5)


def learned(splits, *first):
    keras.utils.set_random_seed(0)
    body = [keras.Input((8, 8, 1)), *first, layers.Flatten(), layers.Dense(3, activation="sigmoid")]
    model = keras.Sequential(body)
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    return model


def test_a_range_that_fits_better_is_refused_by_name_in_every_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = make_splits((96, 48, 24), size=28, num_labels=14)
    arrays = {}
    for part, split in splits.parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez("data.npz", **arrays)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(14, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(splits.train.images.astype("float32"), splits.train.labels, epochs=20, verbose=0)
    model.save("bytes.keras")
    for script, more in ((evaluate, ["bytes.keras"]), (explain, ["bytes.keras"]), (ensemble, ["bytes.keras"] * 2)):
        with pytest.raises(ModelError, match="--input-range 0 255"):
            script.main([*more, "--data", "data.npz", "--data-dir", "cache"])
    arguments = ["bytes.keras", "--data", "data.npz", "--data-dir", "cache", "--input-range", "0", "255"]
    assert evaluate.main([*arguments, "--epsilons", "0", "4/255", "--steps", "2", "--resamples", "10"]) == 0
    found = json.loads((tmp_path / "evaluations" / "bytes-data-quick.json").read_text())
    assert found["adapters"] == ["pixels from 0 ... 1 to 0 ... 255"]
    assert found["input_range"]["name"] == "0 255"
    assert found["evaluations"][1]["max_perturbation"] == pytest.approx(4 / 255, abs=1e-6)
    assert {line["name"]: line["status"] for line in found["audit"]}["input range"] == "passed"


def test_validation_images_tell_the_range_where_no_layer_does():
    splits = make_splits((96, 64, 8))
    model = learned(splits)
    model.fit(splits.train.images / 127.5 - 1, splits.train.labels, epochs=40, verbose=0)
    with pytest.raises(ModelError, match="--input-range -1 1"):
        models.understood(model, splits)
    assert models.understood(model, splits, pixel_range=ranges.parse(["-1", "1"])).pixel_range == "-1 1"


def test_an_unsure_model_of_the_right_range_is_not_suspected():
    # Other pixels would make it surer, but it ranks as well as it is.
    losses = {"0 1": (0.55, 0.99, 0.69), "per-image": (0.36, 0.99, 0.69)}
    assert pixel_ranges.check(losses, "0 1") is None
    for nonsense in ((0.75, 0.9, 0.69), (0.6, 0.9, 0.69)):
        with pytest.raises(ModelError, match="per-image"):
            pixel_ranges.check(losses | {"0 1": nonsense}, "0 1")
    # On images from elsewhere a model may be worse than chance in the range that it was trained on.
    assert pixel_ranges.check(losses | {"0 1": (0.75, 0.9, 0.69)}, "0 1", given=True) is None
    with pytest.raises(ModelError, match="per-image"):
        pixel_ranges.check(losses | {"0 1": (0.75, 0.6, 0.69)}, "0 1", given=True)
    assert pixel_ranges.check({"0 1": (0.9, 0.5, 0.3), "0 255": (0.5, 0.5, 0.3)}, "0 1") is None


@keras.saving.register_keras_serializable("test_opening")
class Brighter(layers.Layer):
    def call(self, images):
        return 2 * images


MODULE = """
import keras

@keras.saving.register_keras_serializable("elsewhere")
class Unheard(keras.layers.Layer):
    def call(self, images):
        return 2 * images
"""


def test_files_of_other_kinds_are_read_or_refused_by_what_they_are(tmp_path, monkeypatch):
    model = functional(dense("sigmoid"))
    for name in ("a.h5", "a.keras"):
        model.save(tmp_path / name)
    (tmp_path / "UPPER.KERAS").write_bytes((tmp_path / "a.keras").read_bytes())
    images = RNG.random((2, SIZE, SIZE, 1), np.float32)
    for name in ("a.h5", "UPPER.KERAS"):
        np.testing.assert_allclose(models.load(tmp_path / name)(images), model(images))
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "old.keras", "w") as new:
        config = json.dumps({"class_name": "Functional", "module": "keras.src.engine.functional", "config": {}})
        for name, content in (("metadata.json", '{"keras_version": "2.13.1"}'), ("config.json", config)):
            new.writestr(name, content)
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    with pytest.raises(ModelError, match=r"Keras 2\.13\.1"):
        models.load(tmp_path / "old.keras")


def test_classes_come_from_a_module_that_the_user_names(tmp_path):
    from chestrobust import startup

    (tmp_path / "mine.py").write_text(MODULE)
    startup.run_file(str(tmp_path / "mine.py"))
    unheard = keras.saving.get_registered_object("elsewhere>Unheard")
    inputs = keras.Input((SIZE, SIZE, 1))
    keras.Model(inputs, dense("sigmoid")(layers.Flatten()(unheard()(inputs)))).save(tmp_path / "a.keras")
    keras.saving.get_custom_objects().pop("elsewhere>Unheard")
    with pytest.raises(ModelError, match=r"Unheard.*--import"):
        models.load(tmp_path / "a.keras")
    startup.run_file(str(tmp_path / "mine.py"))
    assert models.load(tmp_path / "a.keras").output_shape == (None, 3)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ExpectedError, match="ZeroDivisionError"):
        startup.run_file(str(tmp_path / "broken.py"))


def test_a_loss_of_ones_own_is_no_code_in_the_model(tmp_path):
    model = functional(dense("sigmoid"))
    model.compile("adam", loss=lambda labels, answers: keras.losses.binary_crossentropy(labels, answers))
    model.save(tmp_path / "a.keras")
    assert models.load(tmp_path / "a.keras").output_shape == (None, 3)


def test_a_model_of_ours_out_of_its_run_is_trained_on_as_it_is():
    splits = make_splits((24, 24, 24), task="binary", num_labels=1)
    keras.utils.set_random_seed(0)
    ours = models.build_cnn(splits.image_shape, 1)
    classifier = models.understood(ours, splits).classifier(splits.task)
    assert [layer.name for layer in classifier.layers].count("logits") == 1
    images = splits.test.images.astype("float32") / 255
    np.testing.assert_allclose(classifier(images), ours(images), atol=1e-6)


def test_a_model_that_is_sure_of_nonsense_takes_other_pixels():
    """Sure of too much in its own range as well: its loss is above that of the labels' frequencies, 0.238."""
    fits = {"0 1": (0.673, 0.745, 0.238), "0 255": (0.25, 0.769, 0.238)}
    with pytest.raises(ModelError, match="--input-range 0 255"):
        pixel_ranges.check(fits, "0 1")
    pixel_ranges.check(fits, "0 1", given=True)
    pixel_ranges.check(fits | {"0 1": (0.4, 0.745, 0.238)}, "0 1")
