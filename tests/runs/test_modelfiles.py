"""Hostile .keras files: each ends evaluate.py with one line and exit code 2, before Keras sees it."""

import io
import json
import os
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from test_hostile import SIZE, changed

import evaluate
from chestrobust import models, startup
from chestrobust.errors import ModelError
from chestrobust.runs import modelfile


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Names and contents of a valid file."""
    path = tmp_path_factory.mktemp("valid") / "model.keras"
    models.build_cnn((8, 8, 1), 2).save(path)
    modelfile.check(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Evaluates content as a model file in this process and returns the one line of error."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("loaded"))
    path = tmp_path / "model.keras"

    def refusing(content=None):
        if content is not None:
            path.write_bytes(content)
        code = startup.run_script(lambda: evaluate.main([str(path), "--data", "phantom", "--limit", "20"]))
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err[:-1].isprintable()
        assert len(err) < 700
        assert os.listdir(tmp_path) == (["model.keras"] if os.path.lexists(path) else [])
        return err

    return refusing


def lambda_model(function=lambda x: x * 2):
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Lambda(function)(inputs))))


def test_a_lambda_layer_is_refused_by_name(tmp_path, refuse):
    lambda_model().save(tmp_path / "model.keras")
    line = refuse()
    assert f"{tmp_path / 'model.keras'}: expected a model as Keras saves it. Received: a Lambda layer" in line
    assert "Build the model from Keras's own layers" in line


def test_a_lambda_layer_deep_inside_other_layers_is_refused(tmp_path, refuse):
    inner = lambda_model()
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, keras.Sequential([inner])(inputs)).save(tmp_path / "model.keras")
    assert "a Lambda layer" in refuse()


def test_kerass_own_safe_mode_stands_behind(tmp_path, monkeypatch):
    """Without our check, Keras refuses too: no Lambda is loaded, whatever its config looks like to us."""
    lambda_model().save(tmp_path / "model.keras")
    monkeypatch.setattr(modelfile, "check", lambda *_: 10**9)
    with pytest.raises(ModelError, match=r"expected a model as Keras saves it. Received"):
        models.load(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("keras.utils", "get_file"), ("subprocess", "run")]
)
def test_functions_that_are_no_layers_are_never_called(tmp_path, members, module, name):
    config = json.loads(members["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Activation")
    layer["config"]["activation"] = {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }
    (tmp_path / "model.keras").write_bytes(archive({**members, "config.json": json.dumps(config)}))
    with pytest.raises(ModelError) as error:
        models.load(tmp_path / "model.keras")
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "assets/../../evil", "..\\evil"])
def test_names_that_lead_out_are_refused(members, refuse, name):
    assert "which leads out of it" in refuse(archive({**members, name: b"x"}))


def test_bombs_are_refused(members, refuse):
    weights = {**members, "model.weights.h5": bytes(1 << 24)}
    large = changed(archive(weights, 8), SIZE, 1 << 31, name=b"model.weights.h5")
    assert "unpack to 2147483648" in refuse(large)
    many = {**members, **{f"assets/{number}": bytes(1 << 22) for number in range(20)}}
    assert "bytes that unpack to 8" in refuse(archive(many, zipfile.ZIP_DEFLATED))
    config = {**members, "config.json": b" " * (1 << 25)}
    assert "config.json of more than 16777216 bytes" in refuse(archive(config, zipfile.ZIP_DEFLATED))


def test_nested_and_foreign_configs_are_refused(members, refuse):
    for content, received in {
        b"[" * 100_000: "nested too deeply",
        b'{"a":' * 100_000: "nested too deeply",
        b"[]": "is no object",
        b"": "Expecting value",
        b"\xff\xfe\xfd": "codec can't decode",
        b"{": "Expecting",
    }.items():
        assert received in refuse(archive({**members, "config.json": content}))


def weights(write):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        write(opened)
    return file.getvalue()


def loop(file):
    file["group"] = file.create_group("other")
    file["group"]["group"] = file["other"]


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("write", "received"),
    [
        (lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")), "a link to elsewhere, 'a'"),
        (lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "a link to elsewhere, 'a'"),
        (lambda file: file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "no numbers in this"),
        (virtual, "no numbers in this file"),
        (loop, "there twice"),
        (lambda file: file.create_dataset("x", (1 << 40,), "f4", chunks=(1024,)), "weights of 4398046511104 bytes"),
        (lambda file: file.create_dataset("x", data="text"), "no numbers in this file"),
    ],
)
def test_weights_that_are_no_numbers_of_this_file_are_refused(members, refuse, write, received):
    assert received in refuse(archive({**members, "model.weights.h5": weights(write)}))


def test_damaged_files_are_refused(members, refuse):
    whole = archive(members)
    for content in (b"", b"<!DOCTYPE html>", whole[:-10], whole[: len(whole) // 2], whole[100:]):
        assert "expected a model as Keras saves it. Received: " in refuse(content)
    for name in members:
        rest = {key: value for key, value in members.items() if key != name}
        assert f"no {name} in it" in refuse(archive(rest))
    flipped = bytearray(whole)
    flipped[whole.index(members["model.weights.h5"]) + 5000] ^= 255
    assert "Bad CRC-32" in refuse(bytes(flipped))
    assert "Received: " in refuse(archive({**members, "model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}))


def test_what_is_no_file_is_refused_without_waiting(tmp_path, refuse):
    for make in (os.mkfifo, os.mkdir):
        make(tmp_path / "model.keras")
        assert "expected a run folder or a .keras file" in refuse()
        (os.rmdir if make is os.mkdir else os.unlink)(tmp_path / "model.keras")


def with_layer(members, number, **settings):
    """The file with other settings of one of its layers."""
    config = json.loads(members["config.json"])
    layers = [layer for layer in config["config"]["layers"] if layer["class_name"] == number]
    layers[0]["config"].update(settings)
    return archive({**members, "config.json": json.dumps(config)})


@pytest.mark.parametrize(
    ("layer", "settings"),
    [
        ("Dense", {"units": 2_000_000}),
        ("Conv2D", {"filters": 300_000}),
        ("Conv2D", {"kernel_size": [3000, 3000]}),
    ],
)
def test_layers_for_more_numbers_than_the_file_has_are_not_made(tmp_path, members, monkeypatch, layer, settings):
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "model.keras").write_bytes(with_layer(members, layer, **settings))
    with pytest.raises(ModelError, match=r"Received(: Input 0| layers for)"):
        models.load(tmp_path / "model.keras")


@pytest.mark.parametrize("size", [8, None])
@pytest.mark.parametrize(
    ("enlarge", "name", "settings"),
    [
        (keras.layers.UpSampling2D(4), "UpSampling2D", {"size": [10_000, 10_000]}),
        (lambda x: keras.ops.repeat(x, 4, axis=1), "Repeat", {"repeats": 10**8}),
        (keras.layers.ZeroPadding2D(1), "ZeroPadding2D", {"padding": [[10**5, 0], [10**5, 0]]}),
    ],
)
def test_layers_that_enlarge_images_beyond_measure_are_not_made(tmp_path, enlarge, name, settings, size):
    inputs = keras.Input((size, size, 1))
    x = keras.layers.GlobalAveragePooling2D()(enlarge(inputs))
    keras.Model(inputs, keras.layers.Dense(14)(x)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    for file in ("model.keras", "MODEL.KERAS"):
        (tmp_path / file).write_bytes(with_layer(content, name, **settings))
        with pytest.raises(ModelError, match=rf"{file}: .*values per image"):
            models.load(tmp_path / file)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_model_that_was_never_built_is_refused_before_images_would_build_it(tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2_000_000)]).save(path)
    with pytest.raises(ModelError, match="never built"):
        models.load(path)


@pytest.mark.parametrize(
    ("module", "name", "registered"),
    [
        ("keras.layers", "TFSMLayer", None),
        ("keras.layers", "TextVectorization", None),
        ("keras.layers", "TorchModuleWrapper", None),
        ("keras.utils", "get_file", None),
        ("keras.src.saving.saving_lib", "load_model", None),
        ("os", "system", None),
        ("builtins", "eval", "eval"),
        (None, "Mine", "Mine"),
        ("mine", "Mine", "Mine"),
        (["keras"], "Dense", None),
        ("keras.layers", {"a": 1}, None),
        ("keras.layers", "TextVectorization", "mine>Mine"),
        ("keras.layers", "Dense", "keras_hub>WordPieceTokenizer"),
        ("mine", "Mine", "keras_hub>WordPieceTokenizer"),
        ("keras.initializers", "TFSMLayer", None),
        ("keras.src.ops.numpy", "zeros", "zeros"),
    ],
)
def test_only_layers_of_the_list_are_taken(members, refuse, module, name, registered):
    config = json.loads(members["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")
    layer |= {"module": module, "class_name": name, "registered_name": registered}
    config["config"]["layers"][-1] = layer
    assert "which is none of the layers of Keras" in refuse(archive({**members, "config.json": json.dumps(config)}))


@pytest.mark.parametrize("name", ["vgg", "covid_cnn", "mobilenet_v2"])
def test_our_own_models_are_taken(tmp_path, name):
    model = models.build(name, (32, 32, 1), 3)
    model.compile(optimizer="adam", loss=lambda truth, answers: 0 * answers)
    model.save(tmp_path / "model.keras")
    assert models.load(tmp_path / "model.keras").count_params() == model.count_params()


def test_what_keras_ops_leave_in_a_model_is_taken(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.ops.flip(keras.ops.round(4 * inputs) / 4, axis=-1)[:, :4]
    keras.Model(inputs, keras.layers.Dense(2, "relu")(keras.layers.Flatten()(x))).save(tmp_path / "model.keras")
    models.load(tmp_path / "model.keras")


def test_h5_weights_that_promise_more_than_they_hold_are_refused(tmp_path):
    path = tmp_path / "m.weights.h5"
    models.build_cnn((8, 8, 1), 2).save_weights(path)
    modelfile.check_weights(path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("more", (1 << 28,), "f4", chunks=(1024,))
    with pytest.raises(ModelError, match="weights of 107"):
        modelfile.check_weights(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="expected weights as Keras saves them"):
        modelfile.check_weights(path)


def test_a_valid_model_loads_whether_packed_or_not(tmp_path, members):
    expected = models.build_cnn((8, 8, 1), 2)
    images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    answers = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (tmp_path / "model.keras").write_bytes(archive(members, compression))
        model = models.load(tmp_path / "model.keras")
        assert model.count_params() == expected.count_params()
        answers.append(model(images).numpy())
    np.testing.assert_array_equal(*answers)
