"""Adversarial training by the name of its `--method`: what each step trains on."""

from chestrobust import losses, models
from chestrobust.models import twin
from chestrobust.training import divergences, examples, schedules

# How far the attacked validation AUC may fall below the best before that is catastrophic overfitting, not noise.
COLLAPSE = {"fast": 0.2}


def examples_of(options, splits, classifier):
    """The function like `examples.clean_examples` that an `AdversarialConfig` asks for, made on a classifier."""
    logits, task = models.logits(classifier), splits.task
    attacked = twin.of(logits, twin.dtype(options.precision))
    steps = options.epochs * -(-len(splits.train) // options.batch_size)
    ways = {
        "epsilon": options.train_epsilon,
        "strength": schedules.ramp(logits, int(options.radius_warmup * steps)),
    }
    climbing = {"step_size": options.train_step_size, "steps": options.train_steps}
    if options.method == "trades":
        divergence = divergences.categorical if task.exclusive else divergences.bernoulli
        return examples.consistent(attacked, divergence, beta=options.beta, **climbing, **ways)
    ways |= {"adv_weight": options.adv_weight}
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


def passes(options):
    """Forward and backward passes of an `AdversarialConfig` per image of a step; training on clean images takes one."""
    if options.method == "static":
        return 1
    attack = {"online": (1 + options.train_steps) / 2, "fast": 1}.get(options.method, options.train_steps)
    alone = options.method in ("pgd", "fast", "awp") and options.adv_weight == 1  # without clean images beside them
    return attack + (1 if alone else 2) * (2 if options.method == "awp" else 1)
