"""Named sets of options for training: points on the curve of what robustness costs and yields.

An option on the command line wins over its recipe. `docs/recipe.md` has the numbers behind them.
"""

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """A row of `RECIPES`.

    Attributes:
        help: What it costs and yields, for the help.
        options: Values by option, for the scripts that have them; all others keep their defaults.
        clean: Values that take their place where nothing is attacked, in `diagnosis.py`.
    """

    help: str
    options: dict[str, Any]
    clean: dict[str, Any] = {}  # noqa: RUF012


# As the weights are averaged and the rate falls to 0, the last epochs are best: nothing is gained by stopping early.
_LONG = {
    "epochs": 60,
    "patience": 60,
    "learning_rate": 4e-3,
    "warmup": 0.2,
    "schedule": "cosine",
    "ema": 0.995,
    "dropout": 0.0,
    "augment": "light",
    "adv_weight": 1.0,
}
_PGD = {"method": "pgd", "train_steps": 3}
# At the radius of the report, validation prefers too small a radius of training.
_ROBUST_CNN = {"model": "robust_cnn", "select_epsilon": 0.05}

RECIPES = {
    "default": Recipe(
        "the model that is named, the cnn if none is, by PGD-3, four passes per step",
        {**_LONG, **_PGD, "train_epsilon": 0.06, "train_step_size": 0.03},
    ),
    "fast": Recipe(
        "robust_cnn by free training, a fifth of the passes of the others",
        # An epoch has four steps on each batch.
        {
            **_LONG,
            **_ROBUST_CNN,
            "method": "free",
            "train_steps": 4,
            "train_epsilon": 0.07,
            "epochs": 11,
            "patience": 11,
        },
    ),
    "best": Recipe(
        "robust_cnn by PGD-3, four passes per step, the hardest to fool",
        {
            **_LONG,
            **_ROBUST_CNN,
            **_PGD,
            "batch_size": 32,
            # A radius that grows lets a larger one be learned, for which it takes longer.
            "train_epsilon": 0.08,
            "train_step_size": 0.04,
            "radius_warmup": 0.4,
        },
        # Clean images are soon learned by heart; attacked ones are not, and lose by more augmentation.
        clean={"epochs": 22, "patience": 22, "batch_size": 64, "rotation": 10, "translation": 0.08, "scale": 0.1},
    ),
    "certified": Recipe(
        "certified_cnn by bounds, three passes per step, for scores that evaluate.py --certify proves",
        {
            "model": "certified_cnn",
            "method": "certified",
            "train_epsilon": 8 / 255,
            "select_epsilon": 4 / 255,
            "learning_rate": 8e-3,
            "schedule": "cosine",
            "epochs": 24,
            "patience": 24,
        },
    ),
}
# Options with which a training is another than that from scratch which the default recipe is for.
OTHERWISE = ("method", "init_from", "params")


def described():
    """The recipes as the help lists them."""
    return "; ".join(f"{name}: {recipe.help}" for name, recipe in RECIPES.items())


def taken(read, default):
    """The name of the recipe that options ask for, or None.

    Args:
        read: Options that are given, by name.
        default: The name of the recipe of a training from scratch for which none is given, or None.
    """
    return read.get("recipe", None if set(OTHERWISE) & set(read) else default)


def better(name):
    """A line that names the recipe that would do better, or None where there is none.

    Args:
        name: Of a recipe, or None for a training by none.
    """
    if name in ("best", "certified"):
        return None
    return f"Harder to fool: --recipe best in another --run ({RECIPES['best'].help})."
