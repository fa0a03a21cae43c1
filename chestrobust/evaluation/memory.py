"""`chestrobust.evaluate`: any Keras classifier and arrays in memory, and what can be said of its robustness.

    import chestrobust

    result = chestrobust.evaluate(
        model, images, labels, epsilon=4 / 255, val_images=val_images, val_labels=val_labels
    )
    print(result.verdict)  # one sentence
    print(result)  # the tables and the audit
    result.save("evaluation")

What is computed is what `evaluate.py` computes of a file.
"""

import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from chestrobust import commandline, files, models, runs
from chestrobust.config import EvaluateConfig
from chestrobust.data import arrays
from chestrobust.errors import called_from_python
from chestrobust.evaluation import sweep
from chestrobust.models import bounds
from chestrobust.reporting import tables, verdict


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        results: What `evaluate.py` writes as JSON: `evaluations`, a row for each attack and radius, `audit`,
            `adapters`, `input_range`, and how it was computed.
    """

    results: dict

    @property
    def audit(self):
        """The lines of the audit: dictionaries of `name`, `status`, `value` and `text`."""
        return self.results["audit"]

    @property
    def verdict(self):
        """One sentence, as `evaluate.py` ends in; at the radius in the middle if there are several."""
        return verdict.sentence(self.results)

    def tables(self):
        """The tables and the whole audit, as text."""
        return tables.evaluation(self.results)

    def __str__(self):
        """As `evaluate.py` prints it: of the audit what was found or not run, and in the end the verdict."""
        return f"{tables.evaluation(self.results, verbose=False)}\n\n{self.verdict}"

    def to_json(self):
        """All results as JSON text."""
        return json.dumps(self.results, indent=2, allow_nan=False)

    def save(self, folder):
        """Write `evaluation.json`, `.png` and `.svg` into a folder, which is made if need be; returns its path."""
        folder = Path(folder).expanduser()
        with files.explained(folder):
            files.make_folder(folder)
        sweep.write(self.results, folder, "evaluation")
        return folder


@called_from_python(epsilons="epsilon", import_="custom_objects")
def evaluate(
    model,
    images,
    labels,
    epsilon=4 / 255,
    *,
    val_images=None,
    val_labels=None,
    label_names=None,
    task=None,
    input_range=None,
    custom_objects=None,
    suite=EvaluateConfig.suite,
    steps=EvaluateConfig.steps,
    restarts=EvaluateConfig.restarts,
    queries=EvaluateConfig.queries,
    resamples=EvaluateConfig.resamples,
    precision=EvaluateConfig.precision,
    seed=EvaluateConfig.seed,
    certify=EvaluateConfig.certify,
    smooth=EvaluateConfig.smooth,
    draws=EvaluateConfig.draws,
    transfer_from=None,
):
    """Attack a classifier, and say how far its robust score can be trusted.

    Args:
        model: A `keras.Model` with sigmoid, softmax or logit outputs; it is left as it is.
        images: uint8, 0 to 255, or floats in `input_range`; `(count, height, width)` or with channels.
        labels: Classes `(count,)`, 0 or 1 `(count, num_labels)`, or one-hot.
        epsilon: Radius in pixel units of [0, 1], or several.
        val_images, val_labels: As images and labels, for thresholds and checks. Without them thresholds are 0.5, and
            the images themselves are used to check that the model was understood.
        label_names: A name for each label.
        task: `"binary"`, `"multi-label"` or `"multi-class"`; by default the labels tell.
        input_range: Pixels that the model takes: `(low, high)`, `("standardized", mean, deviation)`, `"imagenet"` or
            `"per-image"`; (0, 1) by default. It is checked.
        custom_objects: Classes of the model that Keras doesn't know, by name.
        suite, steps, restarts, queries, resamples, precision, seed, certify: As the options of `evaluate.py`.
        smooth, draws: Likewise; with noise, `results["smoothed"]` says which Euclidean changes reports surely survive.
        transfer_from: Another model, on which transferred images are made.

    Returns:
        An `Evaluation`.

    Raises:
        ExpectedError: If arrays don't fit each other, or an option is none.
        ModelError: If the model isn't understood, or takes other pixels.
    """
    settings = {"suite": suite, "steps": steps, "restarts": restarts, "queries": queries, "resamples": resamples}
    settings |= {"precision": precision, "seed": seed, "certify": certify, "smooth": smooth, "draws": draws}
    settings = commandline.read(EvaluateConfig, settings | {"epsilons": (0.0, *map(float, np.atleast_1d(epsilon)))})
    pixel_range = arrays.pixel_range(input_range)
    splits = arrays.splits(
        images, labels, val_images, val_labels, label_names=label_names, task=task, pixel_range=pixel_range
    )
    understood = functools.partial(models.understood, splits=splits, pixel_range=pixel_range)
    with keras.saving.custom_object_scope(custom_objects or {}):
        found, other = (one and understood(one) for one in (model, transfer_from))
    return Evaluation(_results(found, other, splits, settings, 0.5 if val_images is None else None))


def _results(found, other, splits, settings, threshold):
    """What `evaluate.py` would write of a model in memory, an `opening.Opened`, under attack by these options."""
    thresholds = None if threshold is None else np.full(len(splits.label_names), threshold)
    if settings["certify"]:
        bounds.of(found.model)  # Before anything is attacked.
    input_range = tuple(found.pixel_range.split())
    options = EvaluateConfig("memory", data="memory", input_range=input_range, **settings)
    with tempfile.TemporaryDirectory() as cache:
        others = {"other": other and other.model, "thresholds": thresholds}
        subject = sweep.Subject(found.model, splits, options, Path(cache), **others)
        results = sweep.study(found, subject)
    return {"schema": runs.SCHEMA, "model": "memory", **results, "labels": None}
