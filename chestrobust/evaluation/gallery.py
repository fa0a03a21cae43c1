"""The gallery of the report page: the same test images through each model, clean and attacked at growing radii.

Radii are whole grey levels, and attacked images are rounded to such inside the ball, so that what is shown as 8-bit PNG
is to the last bit what the probabilities beside it are of. Small models come along, for the page's readers to attack.
"""

import base64
import io
import json

import numpy as np

from chestrobust import commandline, devices, runs
from chestrobust.attacks import named, storage
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats
from chestrobust.evaluation import outcomes, patients
from chestrobust.models import transcript

LEVELS = (0, 1, 2, 4, 8, 16)  # radii in grey levels
PATIENTS = 4
STEPS = 10
MAX_CHARACTERS = 5 << 19  # of images and models in Base64: the page stays below 5 MB
NAME = "gallery.json"


def write(models, splits, thresholds, folder, *, precision="auto"):
    """Write `gallery.json` into a folder of a run; only the chief does, and other workers needn't be here.

    Args:
        models: Callables that return logits, by the names of the models; an undefended one first.
        splits: The `Splits`; the test split is shown.
        thresholds: Of each model's probabilities by the same names, `(num_labels,)`.
        folder: Path of the folder.
        precision: Of the attack's convolutions.
    """
    if not devices.chief():
        return
    commandline.under_way("Attacking the patients of the gallery")
    task, test = splits.task, splits.test
    chosen = patients.chosen(models, splits, thresholds, PATIENTS)
    attacks = [named.pgd_of(level / 255, STEPS, precision=precision) for level in LEVELS[1:]]
    images, labels = as_floats(test.images[chosen]), test.labels[chosen]
    stored = {name: _attacked(model, images, labels, chosen, task, attacks) for name, model in models.items()}
    answers = {
        name: [task.probabilities(outcomes.answers(model, version)) for version in stored[name]]
        for name, model in models.items()
    }
    described = [_described(name, model, thresholds[name], task) for name, model in models.items()]
    found, size = [], len(json.dumps(described))
    for number, index in enumerate(chosen):
        shown = {name: [_png(version[number]) for version in versions] for name, versions in stored.items()}
        size += sum(len(text) for versions in shown.values() for text in versions)
        if found and size > MAX_CHARACTERS:
            break
        found.append(
            {
                "index": int(index),
                "present": [name for name, label in zip(splits.label_names, labels[number], strict=True) if label],
                "clean": next(iter(shown.values()))[0],
                "attacked": [versions[1:] for versions in shown.values()],
                "answers": [[_rounded(answer[number]) for answer in answers[name]] for name in models],
            }
        )
    content = {
        "schema": runs.SCHEMA,
        "attack": f"PGD-{STEPS}",
        "radii": [level / 255 for level in LEVELS],
        "label_names": list(splits.label_names),
        "models": described,
        "patients": found,
    }
    runs.Run(folder).write(NAME, json.dumps(content, allow_nan=False) + "\n")


def _described(name, model, thresholds, task):
    """What the page says of a model, with its layers if they are few: those of classes aren't attacked there."""
    if task.exclusive:
        return {"name": name, "thresholds": None}
    layers = transcript.of(model)
    return {"name": name, "thresholds": _rounded(thresholds)} | ({"network": layers} if layers else {})


def _attacked(model, images, labels, indices, task, attacks):
    """The images as they are stored, clean and under each attack: floats of whole grey levels, inside the ball."""
    versions = [images]
    for attack in attacks:
        found = attack(model, images, labels.astype(np.float32), task=task, indices=indices)
        versions.append(as_floats(storage.stored(found, images, attack.epsilon)))
    return versions


def _png(image):
    """A PNG of an image's pixels, in Base64."""
    levels, file = np.rint(255 * metadata.pixels(image)).astype(np.uint8), io.BytesIO()
    storage.picture(levels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _rounded(values):
    return [round(float(value), 4) for value in values]
