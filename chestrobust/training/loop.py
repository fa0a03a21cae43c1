"""One training loop for clean and adversarial training; they differ in the function that makes a step's examples.

The loop is our own, around one compiled step, because Keras's `fit` can't resume in the middle of an epoch and fails on
several workers (Keras 3.15). It still drives Keras's callbacks for the bar and TensorBoard. On one device as on many, a
step goes through `strategy.run`. Whatever the loop needs to continue is in a `State` and in variables, and every random
number is a function of (seed, epoch, image) or of a saved variable.
"""

import csv
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from chestrobust import devices, files, interruption, losses, models, titles
from chestrobust.attacks import named
from chestrobust.data import batching, sampling
from chestrobust.data.lazy import white_of
from chestrobust.errors import TrainingError, setting
from chestrobust.evaluation import metrics, outcomes
from chestrobust.evaluation.certification import Certified
from chestrobust.models import graph, twin
from chestrobust.training import augment, gradients, progress, schedules
from chestrobust.training.averaging import Average
from chestrobust.training.checkpoints import Checkpoint
from chestrobust.training.examples import clean_examples


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; names and values are those of the options in `config.BaselineConfig`.

    But for `replays`: steps of the optimizer on each batch. Schedules go by these; all else here that counts steps
    counts batches, between which training can be stopped.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    schedule: str
    warmup: float
    weight_decay: float
    clip_norm: float
    ema: float
    patience: int
    loss: str
    label_smoothing: float
    sampler: str
    augmentation: augment.Augmentation
    precision: str
    seed: int
    replays: int = 1


def train(
    classifier, splits, recipe, run, *, examples=clean_examples, selection=named.CLEAN, collapse=None, callback=None
):
    """Train a classifier and keep the weights with the best validation macro AUC.

    Args:
        classifier: A `keras.Model` with a layer named `logits`, made in the scope of `devices.strategy()`; its weights
            change.
        splits: The `Splits`; the test split isn't touched.
        recipe: A `Recipe`.
        run: The `Run` to write `model.keras`, `last.keras`, `history.csv`, `logs/` and, while unfinished, `state.npz`
            to.
        examples: What a step trains on; see `clean_examples`.
        selection: The `Attack` under which the validation macro AUC chooses the checkpoint and stops training, or a
            `Certified` for the AUC that bounds guarantee.
        collapse: How far the validation macro AUC may fall below the best before the best weights are taken back; None
            for any.
        callback: A `keras.callbacks.Callback` that takes the place of the bar and may raise to end training.

    Returns:
        The classifier, with the best weights as they are in `model.keras`, and a summary for `results.json`.

    Raises:
        TrainingError: If losses or weights are no longer finite, or memory is short.
        RunError: If the run folder can't be written to.
        KeyboardInterrupt: If Ctrl-C or SIGTERM stops it, after the step that it is in and a checkpoint.
    """
    steps_per_epoch = -(-len(splits.train) // recipe.batch_size)
    running = _running_metrics(splits)
    with devices.strategy().scope():
        model = _prepared(classifier, recipe, steps_per_epoch)
        average = Average(model, recipe.ema)
        checkpoint = Checkpoint(run, model, running, average)
        state = checkpoint.restore()
    step = _compiled_step(model, splits, examples, running, recipe, average)
    callbacks = progress.callbacks(model, run, callback, epochs=recipe.epochs, steps=steps_per_epoch)
    with progress.writing(run):
        callbacks.on_train_begin()
    with _kept(state, checkpoint):
        while state.epoch < recipe.epochs and state.epoch - state.best_epoch <= recipe.patience:
            with _out_of_memory(recipe.batch_size):
                logs = _epoch(step, running, splits, recipe, state, callbacks, checkpoint)
            with average.in_place():
                logs |= _validate(model, splits, selection, state, checkpoint)
            logs["learning_rate"] = float(model.optimizer.learning_rate)
            with interruption.delayed():
                score = _end_epoch(classifier, selection, logs, state, run, checkpoint)
                if collapse is not None and score < state.best - collapse:
                    _take_back(classifier, average, state, checkpoint)
                checkpoint.save_if_due(state, every=0)
                with progress.writing(run):
                    callbacks.on_epoch_end(state.epoch - 1, logs)
        with progress.writing(run):
            callbacks.on_train_end()
        progress.forget_host(run)
    checkpoint.finish(classifier, state)
    # Into the model that attacks are compiled for.
    classifier.set_weights(devices.load(run.path / "model.keras", like=classifier).get_weights())
    return classifier, _summary(state, recipe, selection, collapse, len(splits.train))


def _prepared(classifier, recipe, steps_per_epoch):
    """The classifier's logits with the recipe's optimizer, as a model that is trained on all devices."""
    model = models.logits(classifier)
    model.compile(_optimizer(recipe, steps_per_epoch))
    model.optimizer.build(model.trainable_variables)
    _synchronize(model)
    if note := twin.note(model):
        print(note)
    return model


def _summary(state, recipe, selection, collapse, count):
    """What `results.json` says of a training on `count` images."""
    return {
        "seconds": round(state.seconds, 1),
        "checkpoint_seconds": round(state.saving, 3),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch + 1,
        "best_val_auc": state.best,
        "selected_on": selection.title,
        **({"collapses": state.collapses} if collapse is not None else {}),
        "precision": twin.dtype(recipe.precision),
        "images_per_second": round(state.epoch * count / state.seconds, 1),
    }


def _epoch(step, running, splits, recipe, state, callbacks, checkpoint):
    """The steps that are left of the state's epoch; returns the running metrics over all of it."""
    callbacks.on_epoch_begin(state.epoch)
    if state.step == 0:
        for metric in running:
            metric.reset_state()
    order = sampling.order(recipe.sampler, splits.train.labels, seed=recipe.seed, epoch=state.epoch)
    for batch in batching.batches(splits.train, recipe.batch_size, order=order, start=state.step, part=devices.part):
        with interruption.delayed():
            callbacks.on_train_batch_begin(state.step)
            step(*batch, (recipe.seed, state.epoch))
            loss = float(running[0].result())
            if not np.isfinite(loss):
                raise checkpoint.diverged("losses", loss, state)
            callbacks.on_train_batch_end(state.step, {"loss": loss})
            state.step += 1
            checkpoint.save_if_due(state)
    # Not the last step's: a run that was stopped while validating has no step left.
    return {metric.name: float(metric.result()) for metric in running}


def _end_epoch(classifier, selection, logs, state, run, checkpoint):
    """Keep the weights if they are the best so far, and write down that the epoch is done; returns its score."""
    score = logs[titles.validation_score("auc", selection.attack)]
    if score > state.best:
        checkpoint.keep(classifier)
        state.best, state.best_epoch = score, state.epoch
    state.history.append(logs)
    state.epoch, state.step = state.epoch + 1, 0
    if devices.chief():
        with files.writing(run.path / "history.csv") as temporary, temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, ["epoch", *sorted(logs)])
            table.writeheader()
            table.writerows({"epoch": epoch, **row} for epoch, row in enumerate(state.history))
    return score


def _take_back(classifier, average, state, checkpoint):
    """Put the best weights in the place of those that collapsed."""
    # The optimizer stays: without its velocities, Adam's next steps would be several times as long.
    classifier.set_weights(checkpoint.best_weights(classifier))
    average.restart()
    state.collapses += 1


@contextmanager
def _kept(state, checkpoint):
    """Saves the state if Ctrl-C or SIGTERM ends the training."""
    try:
        yield
    except KeyboardInterrupt:
        # It is only raised between steps, where state and variables belong together.
        with interruption.delayed():
            checkpoint.save(state)
        raise


@contextmanager
def _out_of_memory(batch_size):
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        fewer = setting("batch_size", batch_size // 2) if batch_size > 1 else f"a smaller {setting('size')}"
        raise TrainingError(
            f"{setting('batch_size', batch_size)}: expected memory for a training step. Received too little. "
            f"Try {fewer} in another {setting('run')}."
        ) from error


def _optimizer(recipe, steps_per_epoch):
    steps = recipe.epochs * steps_per_epoch * recipe.replays
    rate = schedules.learning_rate(recipe.schedule, recipe.learning_rate, steps=steps, warmup=recipe.warmup)
    optimizers = {
        "adam": keras.optimizers.Adam,
        "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    }
    return optimizers[recipe.optimizer](rate)


def _running_metrics(splits):
    """Metrics of the training examples for the bar; the AUC among them is Keras's binned estimate."""
    return (
        keras.metrics.Mean(name="loss"),
        keras.metrics.CategoricalAccuracy() if splits.task.exclusive else keras.metrics.BinaryAccuracy(),
        keras.metrics.AUC(multi_label=True, num_labels=len(splits.label_names), name="auc"),
    )


def _compiled_step(model, splits, examples, running, recipe, average):
    """The optimizer's steps on a batch, one per replay, as a graph: `step(images, labels, indices, count, seed)`.

    A worker calls it with its part of a batch of `count` images. Labels are uint8, images too or floats.
    """
    strategy = devices.strategy()
    activate = splits.task.activate
    mean, accuracy, auc = running
    forward, white = twin.of(model, twin.dtype(recipe.precision)), white_of(splits.train.images)
    loss = losses.for_training(recipe.loss, splits.task, splits.train.labels)
    loss = _smoothed(loss, recipe.label_smoothing, splits.task.exclusive)

    def descend(made, count):
        """One step of the optimizer; returns what is seen of it, and the `Examples` of the next on the same batch."""

        def share():
            logits = forward(made.images, training=True)
            total = tf.reduce_sum(made.weights * made.losses(loss, made.labels, logits))
            return total / tf.cast(devices.copies(count), tf.float32), logits

        variables, images = model.trainable_variables, (made.images,) if made.moved else ()
        ways = {"images": images, "weight_epsilon": made.weight_epsilon, "clip_norm": recipe.clip_norm}
        total, logits, found = gradients.computed(share, variables, **ways)
        # Keras sums the gradients of all replicas.
        model.optimizer.apply(found[: len(variables)], variables)
        tf.distribute.get_replica_context().merge_call(lambda _: average.update())
        slopes = found[len(variables) :]
        after = made._replace(images=made.moved(made.images, *slopes)) if slopes else made
        return (total / recipe.replays, made.labels, activate(logits)), after

    def replica_step(images, labels, indices, count, seed):
        images, labels, indices, positions = devices.deal(count, images, labels, indices)
        images, labels = tf.cast(images, tf.float32) / white, tf.cast(labels, tf.float32)
        images = augment.augmented(images, recipe.augmentation, seed=seed, indices=indices)
        made, seen = examples(images, labels, seed, indices, positions, count), []
        for _ in range(recipe.replays):
            of_step, made = descend(made, count)
            seen.append(of_step)
        totals, labels, answers = zip(*seen, strict=True)
        return tf.add_n(totals), tf.concat(labels, 0), tf.concat(answers, 0)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *splits.image_shape), splits.train.images.dtype),
            tf.TensorSpec((None, len(splits.label_names)), tf.uint8),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((2,), tf.int64),
        ],
        autograph=not twin.known(model),
    )
    def step(images, labels, indices, count, seed):
        total, labels, answers = strategy.run(replica_step, args=(images, labels, indices, count, seed))
        labels, answers = (strategy.gather(values, axis=0) for values in (labels, answers))
        once = slice(tf.shape(labels)[0] // devices.copies(count))
        mean.update_state(strategy.reduce(tf.distribute.ReduceOp.SUM, total, axis=None))
        accuracy.update_state(labels[once], answers[once])
        auc.update_state(labels[once], answers[once])

    return step


def _smoothed(loss, share, exclusive):
    """A loss whose labels are moved by a share of the way towards a half, or of classes towards all of them alike.

    As a mean of the loss at whole labels, because losses take no others.
    """
    if not share:
        return loss
    if exclusive:
        return lambda labels, logits: (
            (1 - share) * loss(labels, logits)
            + share
            * tf.reduce_mean([loss(tf.roll(labels, shift, -1), logits) for shift in range(labels.shape[-1])], axis=0)
        )
    return lambda labels, logits: (1 - share / 2) * loss(labels, logits) + share / 2 * loss(1 - labels, logits)


def _synchronize(model):
    """Let BatchNorm take its statistics from the whole batch, not from each replica's share."""
    for layer in graph.layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = devices.replicas() > 1


def _validate(model, splits, selection, state, checkpoint):
    """Scores on the validation split: clean, and under the attack that selects the checkpoint."""
    logs, known = {}, {}
    for attack in dict.fromkeys((named.CLEAN, selection)):
        if isinstance(attack, Certified):
            outcome = attack.outcome(model, splits.task, splits.val)
        else:
            outcome = known[attack] = outcomes.run(model, splits.task, splits.val, attack, known=known)
        logits = outcome.logits
        if not np.isfinite(logits).all():
            raise checkpoint.diverged(f"logits on validation images ({attack.title})", "NaN or infinity", state)
        task, labels = splits.task, splits.val.labels
        image_losses = task.training_loss("bce")(labels.astype(np.float32), logits)
        logs[titles.validation_score("loss", attack.attack)] = float(np.mean(image_losses))
        logs[titles.validation_score("auc", attack.attack)] = metrics.macro(metrics.auc(labels, task.ranks(logits)))
    return logs
