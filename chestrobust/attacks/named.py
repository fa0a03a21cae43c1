"""Attacks by name, each with its parameters, and the suites made of them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

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
        kind, strength: Of what happens to images without an attacker, as in `attacks.corruptions`.
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
    kind: str | None = None
    strength: float | tuple[float, ...] | None = None

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
        few = ("label", "kind", "strength")  # Records of attacks without them lack the key.
        return {key: value for key, value in record.items() if key not in few or value is not None}

    @property
    def reference(self):
        """The attack whose scores of a whole split it must be `aimed` by; None if it sees each image for itself."""
        if self.row.against is None:
            return None
        return CLEAN if self.row.against == CLEAN.attack else replace(self, attack=self.row.against)

    def aimed(self, labels, scores):
        """This attack on a split as an `Aimed`.

        Args:
            labels: 0 or 1, `(count, num_labels)`, of the whole split.
            scores: The model's logits of the split under `reference`, as many.
        """
        return Aimed(self, *resolve(self.row.aim)(labels, scores))

    def fitted(self, model, images):
        """This attack as a `Fitted` one, its change made on images of training, as `universal.fit` takes them."""
        settings = {name: getattr(self, name) for name in ("epsilon", "steps", "seed", "precision", "label")}
        return Fitted(self, resolve(self.row.function)(model, images, wanted=self.row.wanted, **settings))

    def __call__(self, model, images, labels, *, task, indices):
        """Adversarial images, by the contract of `attacks.py`."""
        row = self.row
        if row.wanted is not None:
            raise ValueError(f"{self.title}: expected to be `fitted` on images of training. Received none.")
        if row.function is None:
            return images
        if row.aim:
            raise ValueError(f"{self.title}: expected to be `aimed` at a whole split. Received images alone.")
        if row.weights:
            labels = resolve(row.weights)(labels, self.label)
        return self.climb(model, images, labels, getattr(Task(task), row.loss) if row.loss else None, indices)

    def climb(self, model, images, labels, loss, indices):
        """Adversarial images, by the contract of `attacks.py`, up a loss of labels or of what it takes instead."""
        settings = {its: getattr(self, ours) for ours, its in self.row.parameters.items() if its}
        if loss:
            settings["loss"] = loss
        if "seed" in settings:
            settings["indices"] = indices
        return resolve(self.row.function)(model, images, labels, **settings)


@dataclass(frozen=True, eq=False)
class Aimed:
    """An attack on the macro AUC of one split.

    Attributes:
        attack: The `Attack`.
        targets: What its loss takes in the place of labels, a row for each image of the split.
        loss: Function `loss(targets, logits)` returning a value per image.
    """

    attack: Attack
    targets: np.ndarray
    loss: Callable

    @property
    def title(self):
        return self.attack.title

    def __call__(self, model, images, labels, *, task, indices):
        """As `Attack`; `indices` are the places of the images in the split."""
        targets = self.targets[indices].astype(np.float32)
        return self.attack.climb(model, images, targets, self.loss, indices)


@dataclass(frozen=True, eq=False)
class Fitted:
    """One change for all images.

    Attributes:
        attack: The `Attack`.
        change: `(height, width, channels)`, in pixel units of [0, 1].
    """

    attack: Attack
    change: np.ndarray

    @property
    def title(self):
        return self.attack.title

    @property
    def epsilon(self):
        return self.attack.epsilon

    def __call__(self, model, images, labels, *, task, indices):
        """As `Attack`."""
        return np.clip(images + self.change, 0, 1)


def of(name, *, label=None, **settings):
    """The `Attack` of a name, with those of the settings that it has, and its own defaults for others."""
    row = catalogue.ATTACKS[name]
    settings = {field: value for field, value in settings.items() if field in row.parameters}
    return Attack(name, label=label, **{**settings, **row.defaults})


CLEAN = Attack("clean")


def reported_pgd(*, epsilon, step_size, steps, restarts, seed, precision):
    """PGD as the training scripts report it, by their options of the evaluation: `config.ATTACK`."""
    return Attack("pgd", epsilon, step_size, steps, restarts, True, seed, precision=precision)


def quick_suite(pgd, several):
    """Clean, FGSM and PGD of the radius and precision of a reported PGD; PGD on the AUC of `several` labels too."""
    clean, fgsm = replace(CLEAN, precision=pgd.precision), Attack("fgsm", pgd.epsilon, precision=pgd.precision)
    return clean, fgsm, pgd, *([at_auc(pgd, several)] if several else [])


def at_auc(pgd, several):
    """A PGD by what is asked of it: of `several` labels that on their AUC.

    A cross-entropy is steep only where logits happen to be small, so that of several labels PGD on it is no measure.
    """
    return replace(pgd, attack="pgd-auc") if several else pgd


def choosing_pgd(pgd, several, epsilon=None):
    """The PGD whose validation score chooses a checkpoint: the reported one from one start, maybe of another radius.

    Of `several` labels the one on their AUC: the other's score can be raised by moving logits to where it is blind.
    """
    choosing = at_auc(replace(pgd, restarts=1), several)
    if epsilon is None:
        return choosing
    return replace(choosing, epsilon=epsilon, step_size=titles.usual_step(epsilon, pgd.steps))


def pgd_of(epsilon, steps, restarts=0, seed=0, precision="auto"):
    """PGD whose steps together are 2.5 times as long as the radius, so that it can reach any point (Madry et al.).

    Without restarts it starts at the image, which undefended models resist less than a random start.
    """
    step_size = titles.usual_step(epsilon, steps)
    return Attack("pgd", epsilon, step_size, steps, max(1, restarts), restarts > 0, seed, precision=precision)


def standard_suite(task, num_labels, *, epsilon, steps, restarts, queries, seed, precision="auto"):
    """AutoAttack's idea for multi-label models: groups of attacks that fail for different reasons.

    Returns:
        A dictionary from a group's name to its `Attack`s: APGD on the cross-entropy and on the margin, of several
        labels on their AUC too, PGD with falling steps on each label's margin alone, with a third as many, which find
        as much but for 0.002 (benchmarks/README.md), and the gradient-free Square attack on two losses.
        With a single label all of these losses rank images alike, so that one APGD and one Square are all there is.
    """
    task = Task(task)
    auto = Attack("apgd", epsilon, None, steps, restarts, restarts > 1, seed, precision=precision)
    joint, free = [auto.attack], ["square-margin"]
    if num_labels > 1:
        aimed = ["apgd-auc", "apgd-pairs"] if task.several else []
        joint = [f"apgd-{task.loss_name}", "apgd-margin", *aimed]
        free = ["square", "square-auc" if task.several else "square-margin"]
    each = [replace(auto, attack="label-margin", steps=-(-steps // 3), label=label) for label in range(num_labels)]
    square = Attack("square", epsilon, None, queries, 1, True, seed)
    return {
        **{name: [replace(auto, attack=name)] for name in joint},
        **({"label-margin": each} if num_labels > 1 else {}),
        "square": [replace(square, attack=name, seed=seed + restart) for name in free for restart in range(restarts)],
    }
