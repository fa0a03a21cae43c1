"""What both training scripts do around training: a fresh model, a picture, and the baseline to compare with."""

import keras
import numpy as np

import devices
import figures
import losses
import metrics
import models
import report
import robustness
import runs


def new_classifier(options, splits):
    """The options' model, with weights from their seed or where they say, on all devices.

    Raises:
        ModelError: If the weights can't be had.
    """
    keras.utils.set_random_seed(options.seed)
    with devices.strategy().scope():
        return models.build(
            options.model,
            splits.image_shape,
            len(splits.label_names),
            dropout=options.dropout,
            activation="softmax" if splits.task == "multi-class" else "sigmoid",
            attention=options.attention,
            weights=options.weights,
            freeze=options.freeze,
            backbone_size=options.backbone_size,
        )


def describe(options, classifier):
    """What `results.json` says about the model."""
    return {"name": options.model, "attention": options.attention, "parameters": classifier.count_params()}


def attack_loss(options, splits):
    """What the training's attacks climb: the task's loss, not that of a remedy for rare labels, unless asked."""
    if options.attack_loss == "task":
        return losses.for_task(splits.task)
    return losses.for_training(options.loss, splits.task, splits.train.labels)


def thresholds(classifier, splits):
    """The threshold of each label with the best F1 on clean validation images, by name."""
    values = robustness.thresholds(models.logits(classifier), splits)
    return dict(zip(splits.label_names, map(float, values), strict=True))


def draw(classifier, splits, suite, run):
    """Write `chestxray.png`, on the chief: one test image with a finding, clean and attacked.

    Of the first such images it is the one in the middle by how sure the model is of its finding: neither a picture that
    is fooled more easily than others, nor one that is harder to fool.
    """
    if not devices.chief():
        return
    test, model = splits.test, models.logits(classifier)
    candidates = np.flatnonzero(test.labels.any(axis=1))[:256]
    images, labels = test.images[candidates].astype(np.float32) / 255, test.labels[candidates]
    confidence = (labels * classifier.predict(images, batch_size=16, verbose=0)).max(axis=1)
    chosen = int(np.argsort(confidence, kind="stable")[len(confidence) // 2])
    image, truth = images[chosen : chosen + 1], labels[chosen : chosen + 1]
    pictures = {
        attack.title: attack(model, image, truth, task=splits.task, indices=candidates[chosen : chosen + 1])[0]
        for attack in suite
    }
    answers = metrics.probabilities(splits.task, model(np.stack(list(pictures.values())), training=False))
    present = [name for name, label in zip(splits.label_names, truth[0], strict=True) if label]
    heading = f"{report.data_title(splits.summary())}, test image {candidates[chosen]}: {', '.join(present)}"
    figure = figures.perturbation(
        pictures, dict(zip(pictures, answers, strict=True)), splits.label_names, title=heading, present=present
    )
    with runs.writing(run.path / "chestxray.png") as temporary:
        figures.save(figure, temporary)
