"""Attacks by name, each with its parameters, and the suites made of them."""

import functools
from dataclasses import asdict, dataclass, replace

import numpy as np

from chestrobust import losses, titles
from chestrobust.attacks import blackbox, gradient
from chestrobust.models import twin

WITHOUT_GRADIENT = ("clean", "noise", "square", "square-margin", "one-pixel")


@dataclass(frozen=True)
class Attack:
    """An attack with its parameters, as results record it; None where a parameter doesn't apply.

    Attributes:
        attack: clean, noise, fgsm, pgd, apgd-bce or apgd-ce, apgd-margin, label-margin, square, square-margin, hide,
            invent, one-pixel, or transfer (PGD on another model).
        epsilon, step_size: In pixel units of [0, 1].
        steps: Gradient steps, or queries of a gradient-free attack.
        label: Index of the label that label-margin and invent are after.
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

    @property
    def title(self):
        """Name for tables and figures, e.g. `PGD-10, epsilon 0.05`."""
        return titles.title(self.record())

    def record(self):
        """The parameters as results hold them."""
        record = asdict(self)
        record["precision"] = None if self.attack in WITHOUT_GRADIENT else twin.dtype(self.precision)
        return record if self.label is not None else {key: record[key] for key in record if key != "label"}

    def __call__(self, model, images, labels, *, task, indices):
        """Adversarial images, by the contract of `attacks.py`."""
        subject = (model, images, labels)
        settings = {"epsilon": self.epsilon, "seed": self.seed, "indices": indices}
        by_gradient = {**settings, "precision": self.precision}
        apgd = functools.partial(gradient.apgd, **by_gradient, steps=self.steps, restarts=self.restarts)
        linear = losses.linear_log_probability if task == "multi-class" else losses.linear
        match self.attack:
            case "clean":
                return images
            case "noise":
                return blackbox.noise(*subject, **settings)
            case "fgsm":
                return gradient.fgsm(
                    *subject, epsilon=self.epsilon, loss=losses.for_task(task), precision=self.precision
                )
            case "pgd" | "transfer":
                return gradient.pgd(
                    *subject,
                    **by_gradient,
                    step_size=self.step_size,
                    steps=self.steps,
                    restarts=self.restarts,
                    random_start=self.random_start,
                    loss=losses.for_task(task),
                )
            case "apgd-bce" | "apgd-ce":
                return apgd(*subject, loss=losses.for_task(task))
            case "apgd-margin":
                return apgd(*subject, loss=losses.margin_for_task(task))
            case "label-margin":
                return apgd(model, images, losses.direction(labels, self.label), loss=linear)
            case "hide":
                # The one class of a multi-class image is hidden by any other.
                return apgd(*subject, loss=losses.cross_entropy if task == "multi-class" else losses.hide)
            case "invent":
                return apgd(model, images, np.maximum(losses.direction(labels, self.label), 0), loss=linear)
            case "square":
                return blackbox.square(*subject, **settings, queries=self.steps, loss=losses.for_task(task))
            case "square-margin":
                return blackbox.square(*subject, **settings, queries=self.steps, loss=losses.margin_for_task(task))
            case "one-pixel":
                return blackbox.one_pixel(*subject, seed=self.seed, indices=indices, loss=losses.margin_for_task(task))
        raise ValueError(f"Unknown attack. Received: attack={self.attack!r}")


CLEAN = Attack("clean")


def quick_suite(config):
    """Clean, FGSM and PGD with the evaluation options of a training script's `config`."""
    pgd = Attack("pgd", config.epsilon, config.step_size, config.steps, config.restarts, True, config.seed)
    return tuple(replace(attack, precision=config.precision) for attack in (CLEAN, Attack("fgsm", config.epsilon), pgd))


def pgd_of(epsilon, steps, restarts=0, seed=0, precision="auto"):
    """PGD whose steps together are 2.5 times as long as the radius, so that it can reach any point (Madry et al.).

    Without restarts it starts at the image, which undefended models resist less than a random start.
    """
    step_size = min(1.0, 2.5 * epsilon / steps)
    return Attack("pgd", epsilon, step_size, steps, max(1, restarts), restarts > 0, seed, precision=precision)


def standard_suite(task, num_labels, *, epsilon, steps, restarts, queries, seed, precision="auto"):
    """AutoAttack's idea for multi-label models: groups of attacks that fail for different reasons.

    Returns:
        A dictionary from a group's name to its `Attack`s: APGD on the cross-entropy and on the margin, APGD on each
        label's margin alone, and the gradient-free Square attack on both losses.
    """
    name = f"apgd-{'ce' if task == 'multi-class' else 'bce'}"
    auto = Attack(name, epsilon, None, steps, restarts, restarts > 1, seed, precision=precision)
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
