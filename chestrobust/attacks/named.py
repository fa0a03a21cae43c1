"""Attacks by name, each with its parameters, and the suites made of them."""

from dataclasses import asdict, dataclass, replace

from chestrobust import catalogue, titles
from chestrobust.catalogue import resolve
from chestrobust.models import twin
from chestrobust.tasks import Task


@dataclass(frozen=True)
class Attack:
    """An attack with its parameters, as results record it; None where a parameter doesn't apply.

    Attributes:
        attack: A key of `catalogue.ATTACKS`.
        epsilon, step_size: In pixel units of [0, 1].
        steps: Gradient steps, or queries of a gradient-free attack.
        label: Index of the label that it is after, if it is after one.
        precision: Arithmetic of its gradients, as in `attacks.fgsm`; recorded as the data type that it means here.
    """

    attack: str
    epsilon: float = 0.0
    step_size: float | None = None
    steps: int | None = None
    restarts: int | None = None
    random_start: bool | None = None
    seed: int | None = None
    label: int | None = None
    precision: str = "auto"

    def __post_init__(self):
        if self.attack not in catalogue.ATTACKS:
            raise ValueError(f"Expected one of {', '.join(catalogue.ATTACKS)}. Received: attack={self.attack!r}")

    @property
    def row(self):
        """The `catalogue.AttackRow`."""
        return catalogue.ATTACKS[self.attack]

    @property
    def title(self):
        """Name for tables and figures, e.g. `PGD-10, epsilon 0.05`."""
        return titles.title(self.record())

    def record(self):
        """The parameters as results hold them."""
        record = asdict(self)
        record["precision"] = twin.dtype(self.precision) if self.row.gradient else None
        return record if self.label is not None else {key: record[key] for key in record if key != "label"}

    def __call__(self, model, images, labels, *, task, indices):
        """Adversarial images, by the contract of `attacks.py`."""
        row = self.row
        if row.function is None:
            return images
        settings = {its: getattr(self, ours) for ours, its in row.parameters.items() if its}
        if row.loss:
            settings["loss"] = getattr(Task(task), row.loss)
        if "seed" in settings:
            settings["indices"] = indices
        if row.weights:
            labels = resolve(row.weights)(labels, self.label)
        return resolve(row.function)(model, images, labels, **settings)


def of(name, *, label=None, **settings):
    """The `Attack` of a name, with those of the settings that it has, and its own defaults for others."""
    row = catalogue.ATTACKS[name]
    settings = {field: value for field, value in settings.items() if field in row.parameters}
    return Attack(name, label=label, **{**settings, **row.defaults})


CLEAN = Attack("clean")


def quick_suite(options):
    """Clean, FGSM and PGD with the evaluation options of a training script."""
    fgsm = Attack("fgsm", options.epsilon, precision=options.precision)
    return replace(CLEAN, precision=options.precision), fgsm, reported_pgd(options)


def reported_pgd(options, **changed):
    """PGD with the evaluation options of a training script, but for the parameters that are `changed`."""
    settings = {name: getattr(options, name) for name in ("epsilon", "step_size", "steps", "restarts", "seed")}
    return Attack("pgd", **{**settings, "random_start": True, "precision": options.precision, **changed})


def choosing_pgd(options):
    """The PGD whose validation score chooses a checkpoint: the evaluation's from one start, maybe of another radius."""
    epsilon = options.select_epsilon
    if epsilon is None:
        return reported_pgd(options, restarts=1)
    return reported_pgd(options, restarts=1, epsilon=epsilon, step_size=titles.usual_step(epsilon, options.steps))


def pgd_of(epsilon, steps, restarts=0, seed=0, precision="auto"):
    """PGD whose steps together are 2.5 times as long as the radius, so that it can reach any point (Madry et al.).

    Without restarts it starts at the image, which undefended models resist less than a random start.
    """
    step_size = titles.usual_step(epsilon, steps)
    return Attack("pgd", epsilon, step_size, steps, max(1, restarts), restarts > 0, seed, precision=precision)


def standard_suite(task, num_labels, *, epsilon, steps, restarts, queries, seed, precision="auto"):
    """AutoAttack's idea for multi-label models: groups of attacks that fail for different reasons.

    Returns:
        A dictionary from a group's name to its `Attack`s: APGD on the cross-entropy and on the margin, APGD on each
        label's margin alone, and the gradient-free Square attack on both losses.
    """
    auto = Attack(
        f"apgd-{Task(task).loss_name}", epsilon, None, steps, restarts, restarts > 1, seed, precision=precision
    )
    each = [replace(auto, attack="label-margin", label=label) for label in range(num_labels)]
    square = Attack("square", epsilon, None, queries, 1, True, seed)
    return {
        auto.attack: [auto],
        "apgd-margin": [replace(auto, attack="apgd-margin")],
        **({"label-margin": each} if num_labels > 1 else {}),  # For a single label it would be the same again.
        "square": [
            replace(square, attack=name, seed=seed + restart)
            for name in ("square", "square-margin")
            for restart in range(restarts)
        ],
    }
