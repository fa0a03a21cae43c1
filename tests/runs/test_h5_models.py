"""Hostile `.h5` files of whole models: refused as `.keras` files are, before a weight is made."""

import json
import os
import sys

import h5py
import keras
import numpy as np
import pytest
from test_modelfiles import lambda_model, loop, virtual

import evaluate
from chestrobust import models, startup
from chestrobust.errors import ModelError
from chestrobust.models import loading
from chestrobust.runs import modelfile


@pytest.fixture
def path(tmp_path):
    """A valid file."""
    models.build_cnn((8, 8, 1), 2).save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def altered(path, change):
    """Change the layers of a file's config, which is put back."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config, {layer["class_name"]: layer for layer in config["config"]["layers"]})
        file.attrs["model_config"] = json.dumps(config)


@pytest.fixture
def refuse(path, capsys, monkeypatch):
    """Evaluates the file in this process, where Keras never sees it, and returns the one line of error."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("loaded"))

    def refusing():
        code = startup.run_script(lambda: evaluate.main([str(path), "--data", "phantom", "--limit", "20"]))
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err[:-1].isprintable() and len(err) < 700
        assert os.listdir(path.parent) == ["model.h5"]
        return err

    return refusing


def test_a_valid_model_answers_as_it_did(path):
    expected = keras.models.load_model(path, compile=False)
    images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(models.load(path)(images), expected(images))


@pytest.mark.parametrize(
    ("layer", "settings"),
    [
        ("Dense", {"units": 2_000_000}),
        ("Conv2D", {"filters": 300_000}),
        ("Conv2D", {"kernel_size": [3000, 3000]}),
    ],
)
def test_layers_for_more_numbers_than_the_file_has_are_not_made(path, monkeypatch, layer, settings):
    made = []
    load = keras.models.load_model
    monkeypatch.setattr(keras.models, "load_model", lambda *args, **settings: made.append(1) or load(*args, **settings))
    altered(path, lambda _, layers: layers[layer]["config"].update(settings))
    with pytest.raises(ModelError, match=r"model\.h5: expected .* Received"):
        models.load(path)
    assert len(made) == 1, "the sketch, whose variables have no values"


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_model_that_is_refused_leaves_no_variables_that_keras_would_make_later(tmp_path, monkeypatch, ending):
    path = tmp_path / f"model.{ending}"
    models.build_cnn((8, 8, 1), 2).save(path)
    monkeypatch.setattr(loading, "SPARE", -(10**9))
    with pytest.raises(ModelError, match="Received layers for"):
        models.load(path)
    made = []
    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", lambda self, shape, **_: made.append(shape))
    keras.layers.Flatten()(keras.Input((2, 2)))
    assert made == []


def test_layers_that_enlarge_images_beyond_measure_are_not_made(path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.UpSampling2D(4)(inputs))
    keras.Model(inputs, keras.layers.Dense(14)(x)).save(path)
    altered(path, lambda _, layers: layers["UpSampling2D"]["config"].update(size=[10_000, 10_000]))
    with pytest.raises(ModelError, match="values per image"):
        models.load(path)


def test_a_lambda_layer_is_refused_by_name(path, refuse):
    lambda_model().save(path)
    assert f"{path}: expected a model as Keras saves it. Received: a Lambda layer" in refuse()


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda config, _: config.update(class_name="Lambda"), "a Lambda layer"),
        (lambda config, _: config.update(class_name="TFSMLayer"), "'TFSMLayer' of None"),
        (lambda config, _: config.update(class_name="TFSMLayer", module="keras.initializers"), "'TFSMLayer' of"),
        (
            lambda _, layers: layers["Activation"]["config"].update(
                activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
            ),
            "'system' of 'os'",
        ),
        (lambda _, layers: layers["Dense"].update(class_name="TextVectorization"), "'TextVectorization' of"),
        (
            lambda _, layers: (layers["Dense"].pop("module", None), layers["Dense"].update(class_name="Mine")),
            "'Mine' of",
        ),
    ],
)
def test_only_layers_and_functions_of_the_list_are_taken(path, refuse, change, received):
    altered(path, change)
    assert received in refuse()


@pytest.mark.parametrize(
    ("config", "received"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[]", "is no object"),
        ("", "Expecting value"),
        (b"\xff\xfe\xfd", "Expecting value"),
        (np.ones(3), "no text"),
        (" " * (1 << 24) + "{}", "no text of at most"),
    ],
)
def test_nested_and_foreign_configs_are_refused(path, refuse, config, received):
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = config
    assert received in refuse()


@pytest.mark.parametrize("where", ["/", "model_weights"])
@pytest.mark.parametrize(
    ("write", "received"),
    [
        (lambda group: group.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")), "a link to elsewhere, 'a'"),
        (lambda group: group.__setitem__("a", h5py.SoftLink("/b")), "a link to elsewhere, 'a'"),
        (lambda group: group.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)]), "no numbers in this"),
        (virtual, "no numbers in this file"),
        (loop, "there twice"),
        (lambda group: group.create_dataset("x", (1 << 40,), "f4", chunks=(1024,)), "weights of 4398"),
        (lambda group: group.create_dataset("x", data="text"), "no numbers in this file"),
    ],
)
def test_weights_that_are_no_numbers_of_this_file_are_refused(path, refuse, where, write, received):
    with h5py.File(path, "r+") as file:
        write(file[where])
    assert received in refuse()


def test_weights_that_keras_would_read_again_and_again_are_refused(path, refuse):
    with h5py.File(path, "r+") as file:
        group = next(group for group in file["model_weights"].values() if len(group.attrs["weight_names"]))
        group.create_dataset("x", (1 << 20,), "f4", chunks=(1024,))
        group.attrs["weight_names"] = [b"x"] * 1000
    assert "that are named until they are 4194304000" in refuse()


def test_texts_of_which_each_may_be_a_long_one_are_refused(path, refuse):
    with h5py.File(path, "r+") as file:
        file.attrs["texts"] = ["x"] * 4000
    assert modelfile.check(path) > 0
    with h5py.File(path, "r+") as file:
        file.attrs["long"] = "x" * (1 << 20)
    assert "an attribute that may be of 4" in refuse()
    with h5py.File(path, "r+") as file:
        numbers = np.empty(1, object)
        numbers[0] = np.zeros(3, np.int8)
        file.attrs.create("numbers", numbers, dtype=h5py.vlen_dtype(np.int8))
    assert "neither text nor numbers, 'numbers'" in refuse()


@pytest.mark.parametrize(("number", "size"), [(0, 0), (0, 8), (0, 1 << 40), (1, 1 << 40), (1, (1 << 64) - 16)])
def test_heaps_of_texts_at_which_hdf5_would_hang_are_refused(path, refuse, number, size):
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL\x01") + 16
    content[place : place + 2], content[place + 8 : place + 16] = (
        number.to_bytes(2, "little"),
        size.to_bytes(8, "little"),
    )
    path.write_bytes(content)
    assert "damaged" in refuse()


def test_damaged_files_are_refused(path, refuse):
    whole = path.read_bytes()
    for content in (b"", b"<!DOCTYPE html>", whole[:1000], whole[: len(whole) // 2], b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        assert "expected a model as Keras saves it. Received: " in refuse()


def test_weights_alone_are_no_model(path, refuse):
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    assert "weights without a model. Save it whole" in refuse()
    assert modelfile.check_weights(path) is None
