"""`chestrobust.harden`: any Keras classifier, trained against attacks.

    import chestrobust

    robust = chestrobust.harden(
        model, images, labels, epsilon=4 / 255, val_images=val_images, val_labels=val_labels, epochs=20
    )
    print(chestrobust.evaluate(robust, test_images, test_labels).verdict)
    robust.save("robust.keras")

What trains it is what `diagnosis_adv.py` trains a file with.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

from chestrobust import commandline, config, devices, models, runs
from chestrobust.attacks import named
from chestrobust.config.methods import unused
from chestrobust.data import arrays
from chestrobust.errors import DataError, TrainingError, called_from_python
from chestrobust.training import experiment, loop, methods


@called_from_python(run="folder", import_="custom_objects")
def harden(
    model,
    images,
    labels,
    epsilon=4 / 255,
    *,
    val_images,
    val_labels,
    label_names=None,
    task=None,
    input_range=None,
    custom_objects=None,
    folder=None,
    **options,
):
    """Train a classifier adversarially, from the weights that it has; those with the best robust validation AUC stay.

    Args:
        model: A `keras.Model` as `chestrobust.evaluate` takes it; it is left as it is.
        images, labels: To train on, as `chestrobust.evaluate` takes them.
        epsilon: Radius of the training attacks and of those that choose, in pixel units of [0, 1].
        val_images, val_labels: Images and labels that choose the weights.
        label_names, task, input_range: As in `chestrobust.evaluate`.
        custom_objects: Classes of the model that Keras doesn't know, by name.
        folder: A new folder for the history and the checkpoints; by default nothing is kept.
        options: Options of `diagnosis_adv.py` by name: `epochs`, `batch_size`, `train_steps`, `seed` and so on.

    Returns:
        A new `keras.Model` of the same architecture, with the same pixels in and the same answers out.

    Raises:
        ExpectedError: If arrays don't fit each other, or an option is none.
        ModelError: If the model isn't understood, or takes other pixels.
        TrainingError: If training changes no weight, or losses are no longer finite.
    """
    options = commandline.read(config.AdversarialConfig, options | {"epsilon": epsilon})
    epsilon = options.pop("epsilon")
    pixel_range = arrays.pixel_range(input_range)
    splits = arrays.splits(
        *(val_images, val_labels, val_images, val_labels),
        train=(images, labels),
        **{"label_names": label_names, "task": task, "pixel_range": pixel_range},
    )
    options = _radius(epsilon, options.get("method", config.AdversarialConfig.method)) | options
    known = keras.saving.custom_object_scope(custom_objects or {})
    with known, tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) / "run" if folder is None else Path(folder).expanduser()
        try:
            settings = config.AdversarialConfig(**options | {"data": "memory", "run": str(place)})
        except TypeError as error:
            raise DataError(f"harden: expected options of diagnosis_adv.py. Received: {error}.") from None
        config.check_task(settings, splits.task)
        with devices.strategy().scope():
            copy = models.copied(model)
            classifier = models.understood(copy, splits, pixel_range=pixel_range).classifier(splits.task)
            if not copy.trainable_weights:
                raise TrainingError(f"{model.name}: expected a model with trainable weights. Received one without.")
        _train(classifier, splits, settings)
    _check_changed(model, copy)
    return copy


def _radius(epsilon, method):
    """The options that a radius sets, by name."""
    if method == "static":
        raise DataError("harden: expected a method that makes its images anew in every step. Received static.")
    lengths = {"train_epsilon": epsilon, "train_step_size": epsilon / 4, "epsilon": epsilon, "step_size": epsilon / 4}
    return {name: length for name, length in lengths.items() if name not in unused(method)}


def _train(classifier, splits, settings):
    """Train a classifier by an `AdversarialConfig`, in the run folder that it names."""
    methods.check(settings, splits.task, classifier)
    pgd = named.reported_pgd(**config.picked(settings, config.ATTACK))
    run = runs.claim(settings)
    run.start(settings, data=splits.sha256)
    loop.train(
        *(classifier, splits, experiment.recipe(settings), run),
        examples=methods.examples_of(settings, splits, classifier),
        selection=methods.selection(settings, pgd, splits.task),
        collapse=methods.COLLAPSE.get(settings.method),
    )


def _check_changed(model, copy):
    pairs = zip(model.trainable_weights, copy.trainable_weights, strict=True)
    if all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs):
        raise TrainingError(
            f"{model.name}: expected training to change weights. Received those of before. Raise learning_rate."
        )
