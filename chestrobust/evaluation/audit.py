"""Reasons to doubt a robust score: checks that fail when an attack was weak or a defence only hides its gradient.

Follows Carlini et al., 2019 (https://arxiv.org/abs/1902.06705) and the warnings of AutoAttack (Croce and Hein, 2020,
https://arxiv.org/abs/2003.01690), for multi-label models.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from chestrobust.attacks import gradient
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats, selection
from chestrobust.evaluation import metrics, outcomes

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
IMAGES = 256  # that the audit attacks: enough to see a broken defence, few enough to be cheap
HUGE, HUGE_STEPS = 0.5, 20  # a radius at which any gray image can be turned into any other
UNKNOWN = "no undefended model of this run is known"
FALLEN = 0.2  # macro AUC that nothing withstands at that radius
SLACK = 0.03  # of macro AUC: what chance and rounding may explain on some hundred images


@dataclass(frozen=True)
class Line:
    """One check of an audit.

    Attributes:
        name: What was checked.
        status: `PASSED`, `FAILED` or `NOT_RUN`.
        value: The number that decided, or None.
        text: What the number is, what was expected, and what a failure means.
    """

    name: str
    status: str
    value: float | None
    text: str


def chosen(split):
    """Indices of the images that the audit attacks: a fixed random choice, as files may be sorted by their labels."""
    return selection(len(split), IMAGES)


def run_on_sample(model, task, split, attack, *, known=None, source=None):
    """The `outcomes.Outcome` of an attack on the `chosen` images, from that on the whole split if it is known."""
    indices = chosen(split)
    if known and attack in known:
        return replace(known[attack], logits=known[attack].logits[indices])
    return outcomes.run(model, task, split[indices], attack, source=source)


def audit(model, task, split, attack, *, variables=(), thorough=False, source=None, undefended=UNKNOWN, known=None):
    """Check a model and the attack on it; the attack is a suspect as much as the model.

    Args:
        model: Callable returning logits.
        task: The `Splits.task`.
        split: The `Split` that the scores are of; the `chosen` images of it are used.
        attack: The iterative gradient `Attack` whose scores are in question, a PGD.
        variables: Variables of the model, which no attack may change.
        thorough: Whether to run the expensive check by the gradient-free Square attack too.
        source: Another model to craft transferred images on, or None.
        undefended: Another model, undefended, which the same attack must break, or a text that says why there is none.
        known: Dictionary from `Attack`s to their `outcomes.Outcome`s on the whole split, which needn't be run again.

    Returns:
        A list of `Line`s, always the same checks in the same order.
    """
    before = _fingerprint(variables)
    study = _Study(model, task, split, attack, known)
    lines = [
        study.pixels(),
        study.deterministic(),
        study.alone(),
        study.logits(),
        study.gradients(),
        study.above_chance(),
        study.beaten("single-step is weaker", replace(attack, attack="fgsm"), "too few or too long steps"),
        study.beaten("noise is weaker", replace(attack, attack="noise"), "the gradient is useless"),
        study.converged("steps doubled", replace(attack, steps=2 * attack.steps)),
        study.converged("restarts doubled", replace(attack, restarts=2 * attack.restarts, random_start=True)),
        study.converged("float32 gradients", replace(attack, precision="float32"), "rounding blinds the attack"),
        study.falls(),
    ]
    square = replace(attack, attack="square", steps=500) if thorough else None
    lines.append(study.beaten("Square is weaker", square, "gradients are masked", needs="--suite standard"))
    transfer = replace(attack, attack="transfer") if source else None
    lines.append(
        study.beaten("transfer is weaker", transfer, "gradients are masked", source=source, needs="--transfer-from")
    )
    lines.append(study.collapse(undefended))
    lines.append(
        _line("weights untouched", _fingerprint(variables) == before, None, "variables before and after are equal")
    )
    return lines


class _Study:
    """A model, some images and an attack, with what several checks need computed once."""

    def __init__(self, model, task, split, attack, known):
        self.model, self.task, self.whole, self.attack, self.known = model, task, split, attack, known
        self.split = split[chosen(split)]
        self.loss = task.loss
        self.images = as_floats(self.split.images)
        self.labels = self.split.labels.astype(np.float32)
        self.clean = outcomes.answers(model, self.images)
        self.outcome = self.run(attack)

    def run(self, attack, source=None):
        return run_on_sample(self.model, self.task, self.whole, attack, known=self.known, source=source)

    def auc(self, logits):
        finite = np.nan_to_num(logits, nan=0.0, posinf=np.finfo(np.float32).max, neginf=np.finfo(np.float32).min)
        return metrics.macro(metrics.auc(self.split.labels, self.task.ranks(finite)))

    def pixels(self):
        outcome, epsilon = self.outcome, self.attack.epsilon
        inside = outcome.low >= 0 and outcome.high <= 1 and outcome.largest <= epsilon + 1e-6
        # An attack in other units, such as normalized ones, stays inside but uses little of what it is allowed.
        used = outcome.largest >= 0.9 * epsilon
        return _line(
            "perturbation",
            inside and used,
            outcome.largest,
            f"largest change of a pixel; expected {epsilon:.4g} at most and nearly so, "
            f"pixels in [0, 1] without NaN (they are in [{outcome.low:.3g}, {outcome.high:.3g}])",
        )

    def deterministic(self):
        gap = _gap(self.clean, *(outcomes.answers(self.model, self.images) for _ in range(3)))
        return _line("deterministic", gap <= 1e-4, gap, "relative change of logits when asked again; expected none")

    def alone(self):
        count = min(8, len(self.images))
        single = np.concatenate([outcomes.answers(self.model, self.images[i : i + 1]) for i in range(count)])
        gap = _gap(self.clean[:count], single)
        return _line(
            "alone as in a batch",
            gap <= 1e-2,
            gap,
            "relative change of logits when an image is alone; expected none, else BatchNorm runs in training mode",
        )

    def logits(self):
        inside = float(np.mean((self.clean >= 0) & (self.clean <= 1)))
        return _line(
            "logits are logits",
            inside < 0.99 and bool(np.isfinite(self.clean).all()),
            inside,
            "share of outputs in [0, 1]; expected well below 1, else they are probabilities",
        )

    def gradients(self):
        shapes = self.images.shape[1:], self.labels.shape[1:]
        value_and_gradient, _ = gradient.compiled(self.model, self.loss, *shapes, "float32")
        vanished = []
        size = 64
        for begin in range(0, len(self.images), size):
            piece = slice(begin, begin + size)
            images, labels = tf.constant(self.images[piece]), tf.constant(self.labels[piece])
            _, slope = value_and_gradient(images, labels)
            slope = slope.numpy().reshape(len(images), -1)
            vanished.append((np.abs(slope).max(axis=1) == 0) | ~np.isfinite(slope).all(axis=1))
        share = float(np.concatenate(vanished).mean())
        return _line(
            "gradients",
            share <= 0.02,
            share,
            "share of images whose gradient is exactly zero or not finite; expected 0",
        )

    def above_chance(self):
        auc = self.auc(self.clean)
        return _line(
            "clean above chance",
            auc > 0.5 + SLACK,
            auc,
            f"clean macro AUC; expected above {0.5 + SLACK}, else labels or inputs don't belong to this model",
        )

    def converged(self, name, better, otherwise="the attack was too short"):
        drop = self.auc(self.outcome.logits) - self.auc(self.run(better).logits)
        return _line(
            name,
            drop <= 0.05,
            drop,
            f"further drop of the macro AUC; expected under 0.05, else {otherwise}",
        )

    def falls(self):
        radii = [self.attack.epsilon / 2, self.attack.epsilon, 2 * self.attack.epsilon]
        pgd = [replace(self.attack, **_lengths(self.attack, radius)) for radius in radii if radius < HUGE]
        huge = replace(self.attack, epsilon=HUGE, step_size=2.5 * HUGE / HUGE_STEPS, steps=HUGE_STEPS)
        aucs = [self.auc(self.run(attack).logits) for attack in (*pgd, huge)]
        falls = all(
            later <= earlier + SLACK for earlier, later in zip([self.auc(self.clean), *aucs], aucs, strict=False)
        )
        # What metadata tell can't be taken away in pixels.
        shape = self.images.shape
        limit = FALLEN if metadata.pixel_channels(shape) == shape[-1] else self.auc(self.clean)
        return _line(
            "falls with epsilon",
            falls and aucs[-1] <= limit,
            aucs[-1],
            f"macro AUC at epsilon {HUGE}; expected below {limit:.3g} after a steady fall "
            f"({', '.join(f'{auc:.3f}' for auc in aucs)})",
        )

    def beaten(self, name, weaker, reason, *, source=None, needs=""):
        """Compares per image, by the loss: an average could hide that an easier attack found what this one missed."""
        if weaker is None:
            return Line(name, NOT_RUN, None, f"needs {needs}")
        ours, theirs = (
            self.loss(self.labels, logits).numpy() for logits in (self.outcome.logits, self.run(weaker, source).logits)
        )
        share = float(np.mean(~(theirs <= ours + 0.05 * np.abs(ours) + 1e-3)))  # so that NaN counts as harmed
        return _line(
            name, share <= 0.1, share, f"share of images it harms more than the attack; expected few, else {reason}"
        )

    def collapse(self, undefended):
        name = "undefended model collapses"
        if isinstance(undefended, str):
            return Line(name, NOT_RUN, None, undefended)
        logits = outcomes.run(undefended, self.task, self.split, self.attack).logits
        before, after = self.auc(outcomes.answers(undefended, self.images)), self.auc(logits)
        return _line(
            name,
            after <= before / 2,
            after,
            f"its macro AUC, {before:.3f} clean, under the same attack; expected below half of it",
        )


def _lengths(attack, epsilon):
    return {"epsilon": epsilon, "step_size": min(1.0, attack.step_size * epsilon / attack.epsilon)}


def _line(name, passed, value, text):
    if value is not None and not np.isfinite(value):
        # An AUC that is undefined on these images proves nothing; any other number that isn't one is a failure.
        return Line(name, NOT_RUN if "AUC" in text else FAILED, None, text)
    return Line(name, PASSED if passed else FAILED, None if value is None else float(value), text)


def _gap(first, *others):
    """Largest difference, in units of the spread of `first`."""
    return float(max(np.abs(other - first).max() for other in others) / (np.std(first) + 1e-12))


def _fingerprint(variables):
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
