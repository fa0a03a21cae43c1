"""The picture of a run: one test image, clean and attacked."""

import numpy as np

from chestrobust import devices, files, models, titles
from chestrobust.data.splits import as_floats
from chestrobust.evaluation import outcomes
from chestrobust.reporting import figures


def draw(classifier, splits, suite, run):
    """Write `chestxray.png`, on the chief: one test image with a finding, clean and attacked.

    Of the first such images it is the one in the middle by how sure the model is of its finding: neither a picture that
    is fooled more easily than others, nor one that is harder to fool.
    """
    if not devices.chief():
        return
    test, model = splits.test, models.logits(classifier)
    candidates = np.flatnonzero(test.labels.any(axis=1))[:256]
    images, labels = as_floats(test.images[candidates]), test.labels[candidates]
    # Not by Keras's `predict`, for which the other workers would have to be here too.
    pieces = [outcomes.answers(model, images[begin : begin + 16]) for begin in range(0, len(images), 16)]
    confidence = (labels * splits.task.probabilities(np.concatenate(pieces))).max(axis=1)
    chosen = int(np.argsort(confidence, kind="stable")[len(confidence) // 2])
    image, truth = images[chosen : chosen + 1], labels[chosen : chosen + 1]
    pictures = {
        attack.title: attack(model, image, truth, task=splits.task, indices=candidates[chosen : chosen + 1])[0]
        for attack in suite
        if attack.reference is None  # One image has no AUC to be attacked for.
    }
    answers = splits.task.probabilities(model(np.stack(list(pictures.values())), training=False))
    present = [name for name, label in zip(splits.label_names, truth[0], strict=True) if label]
    heading = f"{titles.data_title(splits.summary())}, test image {candidates[chosen]}: {', '.join(present)}"
    figure = figures.perturbation(
        pictures, dict(zip(pictures, answers, strict=True)), splits.label_names, title=heading, present=present
    )
    with files.writing(run.path / "chestxray.png") as temporary:
        figures.save(figure, temporary)
