"""Run folders as the scripts write them, made without a model, for tests of what is made from them."""

import base64
import csv
import json
import struct
import zlib
from dataclasses import asdict

from chestrobust import config

LABELS = ["effusion", "mass", "hernia"]
RADII = [2 / 255, 4 / 255]


def data(**changed):
    return {
        "name": "chestmnist",
        "task": "multi-label",
        "sha256": "ab" * 32,
        "synthetic": False,
        "note": "",
        "image_shape": [28, 28, 1],
        "label_names": LABELS,
        "counts": {"train": 48, "val": 24, "test": 20},
        **changed,
    }


def row(attack, epsilon, auc, labels=LABELS, full=True, **more):
    """A row of results; `full` ones are those of `evaluate.py`."""
    found = {
        "attack": attack,
        "epsilon": epsilon,
        "steps": 10 if "pgd" in attack else None,
        "images": 20,
        "macro_auc": auc,
        "macro_ap": auc / 2,
        "accuracy": 0.9,
        "per_label_auc": {name: round(auc - 0.01 * number, 6) for number, name in enumerate(labels)},
        "undefined_labels": [],
        "max_perturbation": epsilon,
    }
    if full:
        found |= {
            "intervals": {
                "macro_auc": [auc - 0.05, auc + 0.05],
                "macro_ap": [auc / 2 - 0.05, auc / 2 + 0.05],
                "per_label_auc": {name: [max(0.0, auc - 0.2), auc + 0.1] for name in labels},
            },
            "f1": {"macro": 0.4},
            "recall": {"macro": round(auc - 0.1, 6)},
            "brier": 0.1,
            "hidden": 0.25,
            "invented": 0.125,
            "confusion": {name: [[11, 3], [2, 4]] for name in labels},
            "by": {},
        }
    return found | more


def rows(drop, full=True, **more):
    found = [row("clean", 0.0, 0.875, full=full, **more)]
    for number, epsilon in enumerate(RADII if full else RADII[1:]):
        found += [
            row("fgsm", epsilon, 0.75 - drop - number / 16, full=full, **more),
            row("pgd", epsilon, 0.625 - drop - number / 16, full=full, **more),
        ]
    return found


def line(name, status="passed", severity=None, value=0.25):
    return {"name": name, "status": status, "value": value, "text": f"text of {name}", "severity": severity}


def evaluation(drop=0.0, **changed):
    rows_ = rows(drop)
    for number, epsilon in enumerate(RADII):
        rows_ += [row(name, epsilon, 0.5 - drop - number / 16) for name in ("joint", "floor")]
    return {
        "schema": 1,
        "model": "runs/robust/model.keras",
        "data": data(),
        "config": {**asdict(config.EvaluateConfig("runs/robust")), "suite": "standard"},
        "versions": {"python": "3.11.7", "keras": "3.15.1", "medmnist": None},
        "commit": "c0ffee" * 6,
        "hardware": {"machine": "x86_64", "cores": 2},
        "thresholds": dict.fromkeys(LABELS, 0.25),
        "evaluations": rows_,
        "steps_curve": {
            "epsilon": RADII[0],
            "images": 20,
            "points": [{"steps": steps, "macro_auc": 0.6 - drop - steps / 500} for steps in (1, 2, 5, 10, 20)],
        },
        "audit": [line("gradients"), line("noise is weaker"), line("transfer is weaker", "not run", value=None)],
        **changed,
    }


def smoothed(**changed):
    """What `evaluate.py --smooth` finds: at the last length nothing is left, and there is no interval of it."""
    rows = [
        {
            "radius": radius,
            "unchanged": unchanged,
            **{f"macro_{name}": share for name, share in (("sensitivity", share), ("specificity", share - 0.125))},
            "per_label_sensitivity": dict.fromkeys(LABELS, share),
            "per_label_specificity": dict.fromkeys(LABELS, share - 0.125),
            "intervals": {
                "macro_sensitivity": [share - 0.0625, share + 0.0625] if radius else None,
                "macro_specificity": [share - 0.25, share],
            },
        }
        for radius, share, unchanged in ((0.0, 0.75, 0.875), (0.05, 0.5, 0.25), (0.1, 0.25, 0.0))
    ]
    return {"sigma": 0.1, "draws": 200, "alpha": 0.001, "largest_radius": 0.163, "radii": rows} | changed


def results(drop=0.0, baseline=None, **changed):
    options = config.AdversarialConfig() if baseline else config.BaselineConfig()
    found = {
        "schema": 1,
        "data": data(),
        "config": asdict(options),
        "versions": {"python": "3.11.7", "keras": "3.15.1"},
        "commit": "c0ffee" * 6,
        "hardware": {"machine": "x86_64", "cores": 2},
        "model": {"name": "cnn", "attention": "none", "parameters": 111_662},
        "evaluations": rows(drop, full=False),
        "training": {"seconds": 10.0, "epochs": 3, "best_epoch": 2, "selected_on": "PGD-10, epsilon 0.05"},
        "thresholds": dict.fromkeys(LABELS, 0.25),
    }
    if baseline:
        found["baseline"] = {"data": {}, "run": "runs/base", "sha256": "0" * 64, "path": baseline}
        found["baseline"]["evaluations"] = rows(0.25, full=False)
    return found | changed


def png(size=4):
    """A gray PNG of `size` pixels along a side."""

    def chunk(kind, content):
        packed = struct.pack(">I", len(content)) + kind + content
        return packed + struct.pack(">I", zlib.crc32(kind + content))

    lines = b"".join(b"\0" + bytes(range(0, 40 * size, 40)) for _ in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def gallery(models=("baseline", "robust")):
    picture = base64.b64encode(png()).decode()
    answers = [[[0.9, 0.4, 0.1], [0.6, 0.4, 0.1], [0.05, 0.8, 0.1]] for _ in models]
    patient = {
        "present": ["effusion"],
        "clean": picture,
        "attacked": [[picture] * 2 for _ in models],
        "answers": answers,
    }
    return {
        "schema": 1,
        "attack": "PGD-10",
        "radii": [0.0, 4 / 255, 8 / 255],
        "label_names": LABELS,
        "models": [{"name": name, "thresholds": [0.5, 0.5, 0.5]} for name in models],
        "patients": [{"index": index, **patient} for index in (3, 7)],
    }


def network(weight):
    """A model of the gallery's pictures, written down: the first logit is 2 and changes by `weight` with each pixel."""
    packed = [
        struct.pack("<48f", *(weight * (label == 0) for _ in range(16) for label in range(3))),
        struct.pack("<3f", 2 - weight * 960 / 255, -1, -1),
    ]
    kernel, bias = (base64.b64encode(content).decode() for content in packed)
    return {"input": [4, 4, 1], "layers": [{"kind": "dense", "shape": [16, 3], "kernel": kernel, "bias": bias}]}


def folder(path, found, evaluations=None, **files):
    """Write a run folder."""
    (path / "evaluations").mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(found))
    (path / "config.json").write_text("{}")
    for name, content in (evaluations or {}).items():
        (path / "evaluations" / f"{name}.json").write_text(json.dumps(content))
    with (path / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "loss", "auc", "val_loss", "val_auc", "val_pgd_auc"])
        writer.writeheader()
        for epoch in range(3):
            writer.writerow(
                {"epoch": epoch, "loss": 0.5, "auc": 0.6, "val_loss": 0.4, "val_auc": 0.7, "val_pgd_auc": 0.3}
            )
    (path / "chestxray.png").write_bytes(png())
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path
