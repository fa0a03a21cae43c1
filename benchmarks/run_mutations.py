"""What lies in a run folder, small and valid, and ways to break it; see `mutations.py`."""

import copy
import dataclasses
import functools
import io
import json
import zipfile

import h5py
import numpy as np
from mutations import NUMBERS, RAW, TEXTS

from chestrobust import config

STATE = {"epoch": 1, "step": 2, "best": 0.6, "history": [{"loss": 0.5}], "digest": "ab"}
DATA = {
    "name": "phantom",
    "task": "multi-label",
    "sha256": "ab",
    "synthetic": True,
    "note": "",
    "label_names": ["a", "b"],
}
ATTACK = dict.fromkeys(("step_size", "steps", "restarts", "random_start", "seed", "precision"))
RESULTS = {
    "schema": 1,
    "data": {**DATA, "image_shape": [28, 28, 1], "counts": {"train": 4, "val": 4, "test": 4}},
    "training": {"seconds": 1.5, "epochs": 2, "best_epoch": 1, "best_val_auc": 0.6, "selected_on": "clean"},
    "evaluations": [
        {
            **{"attack": "clean", "epsilon": 0.0, **ATTACK, "images": 4, "macro_auc": 0.6, "macro_ap": None},
            **{"accuracy": 0.9, "per_label_auc": {"a": 0.6, "b": None}, "undefined_labels": ["b"]},
        }
    ],
    "thresholds": {"a": 0.5, "b": 0.1},
}
LAYER = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
MODEL = {
    **{"module": "keras", "class_name": "Sequential", "registered_name": "Sequential"},
    "config": {"name": "model", "layers": [{**LAYER, "config": {"name": "dense", "units": 2, "activation": "relu"}}]},
}
VALUES = (None, True, -1, 1e308, "", "\x1b[2J", [], {}, [[[[]]]], "../../x", *NUMBERS)
NAMES = ("class_name", "module", "config", "registered_name", "Lambda", "os", "function", "builtins", "__lambda__")


def raw(content, rng):
    """Up to four of the mutations that know nothing of what they break."""
    for _ in range(rng.randrange(5)):
        content = rng.choice(RAW)(content, rng)
    return content


def altered(content, rng):
    """JSON in which a value has been replaced, named otherwise, or nested."""
    parts = [content]
    for part in parts:
        parts += [
            value for value in (part.values() if isinstance(part, dict) else part) if isinstance(value, dict | list)
        ]
    part = rng.choice([one for one in parts if one])
    key = rng.choice(list(part)) if isinstance(part, dict) else rng.randrange(len(part))
    way = rng.randrange(4)
    if way == 0 and isinstance(part, dict):
        part[rng.choice(NAMES)] = part.pop(key)
    elif way == 1:
        part[key] = json.loads("[" * 200 + "]" * 200)
    elif way == 2:
        part[key] = rng.choice(TEXTS).decode(errors="replace")
    else:
        part[key] = copy.deepcopy(rng.choice((*VALUES, *NAMES)))  # else files would depend on those before
    return content


def text(content, rng):
    """JSON as bytes, altered or not."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.randrange(3)):
        content = altered(content, rng)
    return json.dumps(content).encode()


def results(rng):
    """A `results.json`."""
    if rng.random() < 0.02:
        return b"[" * 10**5
    return raw(text(RESULTS, rng), rng)


def options(rng):
    """A `config.json`."""
    return raw(text(dataclasses.asdict(config.BaselineConfig(data="phantom")), rng), rng)


def state(rng):
    """A `state.npz`."""
    file = io.BytesIO()
    arrays = {"0": np.arange(6, dtype=np.float32), "1": np.int64(7)}
    np.savez(file, state=text(STATE, rng).decode(), **arrays)
    return raw(file.getvalue(), rng)


@functools.cache
def _weights():
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.create_dataset("layers/dense/vars/0", data=np.ones((3, 2), np.float32))
        opened.create_dataset("layers/dense/vars/1", data=np.ones(2, np.float32))
    return file.getvalue()


def weights(rng):
    """An `.h5` file of weights, now and then with an array that says it is large."""
    if rng.random() < 0.2:
        file = io.BytesIO(_weights())
        with h5py.File(file, "r+") as opened:
            opened.create_dataset("more", (rng.choice((1, 1 << 20, 1 << 28, 1 << 40)),), "f4", chunks=(1,))
        return raw(file.getvalue(), rng)
    return raw(_weights(), rng)


PLANTS = (
    lambda group: group.__setitem__("more", h5py.ExternalLink("/etc/passwd", "/")),
    lambda group: group.__setitem__("more", h5py.SoftLink("/model_weights")),
    lambda group: group.__setitem__("more", group),
    lambda group: group.create_dataset("more", (4,), "f4", external=[("/etc/passwd", 0, 16)]),
    lambda group: group.create_dataset("more", (1 << 24,), "f4", chunks=(1024,)),
    lambda group: group.create_dataset("more", data="text"),
    lambda group: group.attrs.update(more="x" * (1 << 19), others=["x"] * 4000),
)


def whole(rng):
    """An `.h5` file of a whole model, in which now and then something leads out of it or is there again and again."""
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.attrs["model_config"] = text(MODEL, rng)
        group = opened.create_group("model_weights/dense")
        group.create_dataset("kernel", data=np.ones((3, 2), np.float32))
        if rng.random() < 0.3:
            rng.choice(PLANTS)(group)
        names = rng.choice((["kernel"], ["kernel"], ["more"] * 50, ["../kernel"], ["/model_weights/dense/kernel"]))
        group.attrs["weight_names"] = [name.encode() for name in names]
    return raw(file.getvalue(), rng) if rng.random() < 0.3 else file.getvalue()


def model(rng):
    """A `.keras` file."""
    members = {
        "metadata.json": text({"keras_version": "3.15.0"}, rng),
        "config.json": text(MODEL, rng),
        "model.weights.h5": weights(rng),
    }
    if rng.random() < 0.1:
        members.pop(rng.choice(list(members)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
    return raw(file.getvalue(), rng) if rng.random() < 0.3 else file.getvalue()
