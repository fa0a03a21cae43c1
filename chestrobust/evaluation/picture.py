"""The picture of a run: one test image through each of its models, clean and attacked."""

import numpy as np

from chestrobust import commandline, devices, titles
from chestrobust.data.splits import as_floats
from chestrobust.evaluation import outcomes, patients
from chestrobust.reporting import figures, story


def draw(models, splits, thresholds, suite, run):
    """Write `chestxray.png` and `.svg`, on the chief: the same patient for every model, each attacked for itself.

    The patient is chosen by `patients.chosen`, which knows the answers to clean images alone.

    Args:
        models: Callables that return logits, by the names of the models; an undefended one first.
        splits: The `Splits`; an image of the test split is shown.
        thresholds: Of each model's probabilities by the same names, `(num_labels,)`.
        suite: `Attack`s, the clean one first; what needs more than one image is left out.
        run: The `Run` to write into.
    """
    if not devices.chief():
        return
    commandline.under_way("Drawing a patient through each model")
    [index] = patients.chosen(models, splits, thresholds, 1)
    colours = dict(zip(models, figures.COLOURS, strict=False))
    note = f"The patient: {patients.RULE}."
    figures.write(of(models, splits, thresholds, suite, index, colours=colours, note=note), run.path / "chestxray")


def of(models, splits, thresholds, suite, index, *, colours, note):
    """The picture of one test image.

    Args:
        models, splits, thresholds, suite: As for `draw`.
        index: Number of the test image.
        colours: Of the models, by the same names.
        note: What stands at its foot.

    Returns:
        A matplotlib `Figure`.
    """
    row = np.array([index])
    image, label = as_floats(splits.test.images[row]), splits.test.labels[row]
    attacks = [attack for attack in suite if attack.reference is None]  # One image has no AUC to be attacked for.
    told = []
    for name, model in models.items():
        pictures = {
            attack.title: np.asarray(
                attack(model, image, label.astype(np.float32), task=splits.task, indices=row)[0], np.float32
            )
            for attack in attacks
        }
        logits = outcomes.answers(model, np.stack(list(pictures.values())))
        cuts = None if splits.task.exclusive else np.broadcast_to(thresholds[name], logits.shape[1:])
        answers, reported = splits.task.probabilities(logits), splits.task.predicted(logits, cuts)
        told.append(story.Told(name, colours[name], pictures, answers, reported, cuts))
    present = label[0] == 1
    findings = ", ".join(np.array(splits.label_names)[present]) or "no finding"
    title = f"{titles.data_title(splits.summary())}, test image {index}: {findings}"
    return story.draw(told, splits.label_names, present, title=title, note=note)
