"""The rows of `--method`: what adversarial training makes of a step's images, and which options that needs."""

from typing import NamedTuple

from chestrobust.errors import ExpectedError, setting


class Method(NamedTuple):
    """A row of `METHODS`.

    Attributes:
        help: How images are made, for the help; the one that makes them once has its own.
        unused: Options that it doesn't have.
        why: The reason.
    """

    help: str
    unused: tuple[str, ...]
    why: str


METHODS = {
    "online": Method(
        "half by FGSM and half by PGD",
        ("beta", "weight_epsilon"),
        "which has no divergence and leaves weights where they are",
    ),
    "pgd": Method(
        "all by PGD", ("beta", "weight_epsilon"), "which has no divergence and leaves weights where they are"
    ),
    "awp": Method("by PGD, and against the worst weights nearby too", ("beta",), "which has no divergence"),
    "fast": Method(
        "by the single step of N-FGSM, which takes the best weights back if it overfits to such steps",
        ("train_step_size", "train_steps", "beta", "weight_epsilon"),
        "which takes one step as long as the radius",
    ),
    "free": Method(
        "moved on by the passes of --train-steps optimizer steps on the same batch, at no cost of their own",
        ("train_step_size", "adv_weight", "beta", "weight_epsilon", "attack_loss"),
        "which trains on attacked images alone, and moves them by the radius up the loss of that training",
    ),
    "trades": Method(
        "held to the answers to clean images",
        ("adv_weight", "weight_epsilon", "attack_loss"),
        "whose attacks climb its own divergence, weighed by beta",
    ),
    "certified": Method(
        "none but bounds of the logits over each whole ball, for scores that evaluate.py --certify proves",
        ("train_step_size", "train_steps", "beta", "weight_epsilon", "attack_loss"),
        "which bounds the logits and attacks nothing",
    ),
    "static": Method(
        "",
        ("adv_weight", "train_step_size", "train_steps", "beta", "weight_epsilon", "radius_warmup"),
        "which takes one step of FGSM and lets all images count alike",
    ),
}


def described():
    """The methods that make images in every step, as the help lists them."""
    return "; ".join(f"{name}, {method.help}" for name, method in METHODS.items() if method.help)


def unused(name):
    """Options that the method of this name doesn't have; none of a name that is no method's."""
    return METHODS[name].unused if name in METHODS else ()


def check_used(options, defaults):
    """Refuse options that differ from `defaults` and that the options' method doesn't have, or can't use.

    Raises:
        ExpectedError: With the first of them.
    """
    for option in unused(options.method):
        if getattr(options, option) == getattr(defaults, option):
            continue
        having = ", ".join(name for name, method in METHODS.items() if option not in method.unused)
        raise ExpectedError(
            f"{setting(option)}: expected {setting('method')} {having}. Received {options.method}, "
            f"{METHODS[options.method].why}. Leave {setting(option)} out."
        )
    if options.method == "free" and options.train_steps < 2:
        raise ExpectedError(
            f"{setting('train_steps')}: expected at least 2 for {setting('method', 'free')}, which attacks from the "
            f"second step on a batch on. Received: {options.train_steps}. Take more."
        )
