"""Adversarial training by the name of its `--method`: what each step trains on, and what chooses the weights."""

from chestrobust import losses, models
from chestrobust.attacks import named
from chestrobust.errors import TrainingError, setting
from chestrobust.evaluation.certification import Certified
from chestrobust.models import bounds, twin
from chestrobust.training import divergences, examples, schedules

# How far the attacked validation AUC may fall below the best before that is catastrophic overfitting, not noise.
COLLAPSE = {"fast": 0.2, "free": 0.2}
# Share of the steps in which the radius grows. Bounds of a whole ball are too wide to learn from at first.
WARMUP = {"certified": 0.5}


def check(options, task, classifier):
    """Refuse a classifier that the method can't train.

    Raises:
        ModelError: If the bounds of a layer aren't known.
        TrainingError: If the task is another.
    """
    if options.method == "certified":
        if task.exclusive:
            raise TrainingError(
                f"{setting('method', 'certified')}: expected multi-label or binary data. Received {task}. "
                "Take another method."
            )
        bounds.of(models.logits(classifier))


def examples_of(options, splits, classifier):
    """The function like `examples.clean_examples` that an `AdversarialConfig` asks for, made on a classifier."""
    logits, task = models.logits(classifier), splits.task
    attacked = twin.of(logits, twin.dtype(options.precision))
    warmup = WARMUP.get(options.method, 0.0) if options.radius_warmup is None else options.radius_warmup
    steps = options.epochs * -(-len(splits.train) // options.batch_size) * replays(options)
    ways = {
        "epsilon": options.train_epsilon,
        "strength": schedules.ramp(logits, int(warmup * steps)),
    }
    climbing = {"step_size": options.train_step_size, "steps": options.train_steps}
    if options.method == "trades":
        divergence = divergences.categorical if task.exclusive else divergences.bernoulli
        return examples.consistent(attacked, divergence, beta=options.beta, **climbing, **ways)
    if options.method == "free":
        return examples.replayed(**ways)
    ways |= {"adv_weight": options.adv_weight}
    if options.method == "certified":
        return examples.bounded(bounds.of(logits, rounded=False), **ways)
    if options.method == "fast":
        return examples.noisy(attacked, attack_loss(options, splits), **ways)
    make = examples.half_and_half if options.method == "online" else examples.projected
    made = make(attacked, attack_loss(options, splits), **climbing, **ways)
    return examples.at_worst_weights(made, options.weight_epsilon) if options.method == "awp" else made


def attack_loss(options, splits):
    """What the training's attacks climb: the task's loss, not that of a remedy for rare labels, unless asked."""
    if options.attack_loss == "task":
        return splits.task.loss
    return losses.for_training(options.loss, splits.task, splits.train.labels)


def selection(options, pgd, task):
    """What is computed of validation images to choose a checkpoint: what the method is to be good at.

    Args:
        options: An `AdversarialConfig`.
        pgd: The PGD that its reports are of; see `named.choosing_pgd`.
        task: The `Splits.task`.
    """
    if options.method == "certified":
        return Certified(pgd.epsilon if options.select_epsilon is None else options.select_epsilon)
    return named.choosing_pgd(pgd, task.several, options.select_epsilon)


def replays(options):
    """Steps of the optimizer on each batch, of the options of any training."""
    return options.train_steps if getattr(options, "method", None) == "free" else 1


def passes(options):
    """Forward and backward passes of an `AdversarialConfig` per image of a batch; training on clean ones takes one."""
    if options.method == "free":
        return replays(options)
    if options.method in ("static", "certified"):
        return 1 if options.method == "static" else 3  # the image, the middle and the spread
    attack = {"online": (1 + options.train_steps) / 2, "fast": 1}.get(options.method, options.train_steps)
    alone = options.method in ("pgd", "fast", "awp") and options.adv_weight == 1  # without clean images beside them
    return attack + (1 if alone else 2) * (2 if options.method == "awp" else 1)
