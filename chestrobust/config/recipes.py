"""Named sets of options for training: points on the curve of what robustness costs and yields.

An option on the command line wins over its recipe. `docs/recipe.md` has the numbers behind them.
"""

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """A row of `RECIPES`.

    Attributes:
        help: What it costs and yields, for the help.
        options: Values by option, for the scripts that have them; all others keep their defaults.
    """

    help: str
    options: dict[str, Any]


# As the weights are averaged and the rate falls to 0, the last epochs are best: nothing is gained by stopping early.
_LONG = {
    "epochs": 22,
    "patience": 22,
    "learning_rate": 4e-3,
    "warmup": 0.2,
    "schedule": "cosine",
    "ema": 0.995,
    "dropout": 0.0,
    "augment": "light",
    "adv_weight": 1.0,
    # At the radius of the report, validation prefers too small a radius of training.
    "select_epsilon": 0.05,
}

_PGD = {
    **_LONG,
    "method": "pgd",
    "train_steps": 3,
    # A radius that grows lets a larger one be learned, for which it takes longer.
    "train_epsilon": 0.07,
    "train_step_size": 0.035,
    "radius_warmup": 0.3,
    "epochs": 30,
    "patience": 30,
}

RECIPES = {
    "default": Recipe("the defaults below", {}),
    "cnn": Recipe("the cnn by PGD-3, four passes per step", {"model": "cnn", **_PGD}),
    "fast": Recipe(
        "robust_cnn by N-FGSM, two passes per step",
        {"model": "robust_cnn", "method": "fast", "train_epsilon": 0.07, **_LONG},
    ),
    "best": Recipe("robust_cnn by PGD-3, four passes per step, the hardest to fool", {"model": "robust_cnn", **_PGD}),
}


def described():
    """The recipes as the help lists them."""
    return "; ".join(f"{name}: {recipe.help}" for name, recipe in RECIPES.items())


def better(name):
    """A line that names the recipe that would do better, or None of the best."""
    if name == "best":
        return None
    return f"Harder to fool: --recipe best in another --run ({RECIPES['best'].help})."
