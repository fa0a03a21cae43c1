"""What the audit tries on a model, some images and an attack: each check is a method that returns its `Line`."""

import functools
from dataclasses import replace

import numpy as np

from chestrobust import losses
from chestrobust.attacks import aim, autopgd, blackbox
from chestrobust.attacks.named import CLEAN, Attack
from chestrobust.data import metadata
from chestrobust.data.splits import as_floats, selection
from chestrobust.errors import setting
from chestrobust.evaluation import metrics, ordering, outcomes, slopes
from chestrobust.evaluation.lines import INVALID, NOTE, WEAK_MODEL, judged, not_run
from chestrobust.evaluation.published import LEAST as LEAST_FOR_SHARES
from chestrobust.evaluation.published import SLACK
from chestrobust.models import twin
from chestrobust.tasks import Task

IMAGES = 256  # that the audit attacks: enough to see a broken defence, few enough to be cheap
LEAST = 8  # images for what a single one could show; shares and AUCs need more
PAIRS, QUERIES_OF_FLOOR = 256, 100  # of images and labels that Square attacks for the floor: all would take hours
HUGE, HUGE_STEPS = 0.5, 50  # a radius at which any gray image can be turned into any other
FALLEN = 0.2  # macro AUC that nothing withstands at that radius
TELLING = 8 / 255  # the radius at which an undefended model has lost half of its score
QUERIES = 200  # of Square
FEW, MANY = 0.1, 0.3  # share of images that may be exceptions, and of those of one label, of which there are fewer
LEAST_FOR_ORDER = 64  # images; with fewer, the columns of an honest model fit better in another order by chance


def chosen(split):
    """Indices of the images that the audit attacks: a fixed random choice, as files may be sorted by their labels."""
    return selection(len(split), IMAGES)


def run_on_sample(model, task, split, attack, *, known=None, source=None):
    """The `outcomes.Outcome` of an attack on the `chosen` images, from that on the whole split if it is known."""
    indices = chosen(split)
    if known and attack in known:
        return replace(known[attack], logits=known[attack].logits[indices])
    return outcomes.run(model, task, split[indices], attack, source=source, progress=True)


class Study:
    """A model, some images and an attack, with what several checks need computed once.

    Args:
        model: Callable returning logits.
        task: The `Task`.
        split: The `Split` that the scores are of.
        attack: The iterative gradient `Attack` in question.
        known: Outcomes of `Attack`s on the whole split.
    """

    def __init__(self, model, task, split, attack, known):
        self.model, self.task, self.whole, self.attack, self.known = model, Task(task), split, attack, known
        self.split = split[chosen(split)]
        self.images = as_floats(self.split.images)
        self.labels = self.split.labels.astype(np.float32)
        self.clean = outcomes.answers(model, self.images)
        self.clean_auc = self.auc(self.clean)
        self.run = functools.cache(self._run)
        self.outcome = self.run(attack)

    def _run(self, attack, source=None):
        return run_on_sample(self.model, self.task, self.whole, attack, known=self.known, source=source)

    def aimed(self, epsilon, steps, precision=None):
        """An attack on the score itself, which finds its own step size: the strongest there is for its cost."""
        name = "apgd-auc" if self.task.several else f"apgd-{self.task.loss_name}"
        precision = precision or self.attack.precision
        return Attack(name, epsilon, None, steps, 1, False, self.attack.seed or 0, precision=precision)

    def auc(self, logits):
        finite = np.nan_to_num(logits, nan=0.0, posinf=np.finfo(np.float32).max, neginf=np.finfo(np.float32).min)
        return metrics.macro(metrics.auc(self.split.labels, self.task.ranks(finite)))

    def missing(self, least):
        """Why there are too few images for a check, or None."""
        return None if len(self.images) >= least else f"needs {least} images; received {len(self.images)}"

    @property
    def nothing_to_lose(self):
        """Why the score can't fall, or None."""
        return None if self.clean_auc > 0.5 + SLACK else f"needs a clean macro AUC above {0.5 + SLACK}"

    def pixels(self):
        outcome, epsilon = self.outcome, self.attack.epsilon
        inside = outcome.low >= 0 and outcome.high <= 1 and outcome.largest <= epsilon + 1e-6
        # An attack in other units, such as normalized ones, stays inside but uses little of what it is allowed.
        used = outcome.largest >= 0.9 * epsilon
        text = (
            f"largest change of a pixel; expected {epsilon:.4g} at most and nearly so, "
            f"pixels in [0, 1] without NaN (they are in [{outcome.low:.3g}, {outcome.high:.3g}])"
        )
        return self._line("perturbation", inside and used, outcome.largest, text)

    def deterministic(self):
        again = [outcomes.answers(self.model, self.images) for _ in range(3)]
        # What is drawn in Python is drawn once per graph, so that a graph repeats it and another one draws anew.
        gap = _gap(self.clean, *again, outcomes.retraced(self.model, self.images))
        return self._line("deterministic", gap <= 1e-4, gap, "relative change of logits when asked again; expected 0")

    def alone(self):
        some = np.unique(np.linspace(0, len(self.images) - 1, 8).astype(int))  # from all over the batch
        single = np.concatenate([outcomes.answers(self.model, self.images[i : i + 1]) for i in some])
        gap = _gap(self.clean[some], single)
        text = "relative change of logits when an image is alone; expected none, else BatchNorm runs in training mode"
        return self._line("alone as in a batch", gap <= 1e-2, gap, text)

    def logits(self):
        inside = float(np.mean((self.clean >= 0) & (self.clean <= 1)))
        text = "share of outputs in [0, 1]; expected well below 1, else they are probabilities"
        passed = inside < 0.99 and bool(np.isfinite(self.clean).all())
        return self._line("logits are logits", passed, inside, text, least=LEAST_FOR_SHARES)

    @functools.cached_property
    def of_labels(self):
        """What `slopes.of_labels` says of the labels whose logits differ at all."""
        found = slopes.of_labels(self.model, self.task, self.images, self.attack.epsilon)
        return np.stack(found)[:, np.std(self.clean, axis=0) > 0]

    def gradients(self):
        gone, _ = slopes.along(self.model, self.task.loss, self.images, self.labels, np.zeros_like(self.images))
        # In the gradient of all labels together, one that has none wouldn't be missed.
        share, most = float(gone.mean()), self.of_labels[0].max(initial=0)
        text = (
            "share of images whose gradient is exactly zero or not finite; expected 0, and of no label's own logit "
            f"more than {FEW} (the most are {most:.3f})"
        )
        return self._line("gradients", share <= 0.02 and most <= FEW, share, text, least=LEAST_FOR_SHARES)

    def follows(self):
        least, jump = self.of_labels[1].min(initial=1), self.of_labels[2].max(initial=0)
        text = (
            "rank correlation of how a label's answers change under small random steps and how its gradient says, of "
            f"the label with the lowest; expected above {slopes.FOLLOWS}, and between grey levels no jump (of "
            f"{slopes.JUMPS} of a level's change at most; {jump:.3f}), else the gradient is another function's"
        )
        passed = least > slopes.FOLLOWS and jump <= slopes.JUMPS
        return self._line("answers follow gradients", passed, least, text, least=LEAST_FOR_SHARES)

    def rounding(self):
        gap = slopes.gradient_gap(self.task.loss, self.labels, np.nan_to_num(self.clean))
        text = "relative error of the loss's gradient in float32, of an image; expected under 1e-3, else it cancels"
        return self._line("loss in float32", gap <= 1e-3, gap, text)

    def above_chance(self):
        text = (
            f"clean macro AUC; expected above {0.5 + SLACK}, else there is nothing to attack, "
            "or labels or inputs don't belong to this model"
        )
        name, passed = "clean above chance", self.clean_auc > 0.5 + SLACK
        return self._auc_line(name, passed, self.clean_auc, text, severity=WEAK_MODEL)

    def order(self):
        name = "labels in order"
        if self.labels.shape[1] == 1:
            return not_run(name, "one label")
        if reason := self.missing(LEAST_FOR_ORDER):
            return not_run(name, reason)
        whole = (self.known or {}).get(CLEAN)
        logits, labels = (self.clean, self.labels) if whole is None else (whole.logits, self.whole.labels)
        gains = ordering.gain(labels, self.task.ranks(np.nan_to_num(logits)))
        text = (
            f"gain of the macro AUC if the model's columns change places; expected under {SLACK} or by chance "
            f"(on either half of the images {gains[0]:.3f}, {gains[1]:.3f}), else labels are in another order"
        )
        return self._auc_line(name, gains.mean() <= SLACK or gains.min() <= 0, gains.mean(), text)

    def converged(self, name, better, otherwise="the attack was too short"):
        if reason := self.missing(LEAST_FOR_SHARES):
            return not_run(name, reason)
        drop = self.auc(self.outcome.logits) - self.auc(self.run(better).logits)
        text = f"further drop of the macro AUC; expected under 0.05, else {otherwise}"
        return self._auc_line(name, drop <= 0.05, drop, text)

    def falls(self):
        name = "falls with epsilon"
        if reason := self.missing(LEAST_FOR_SHARES) or self.nothing_to_lose:
            return not_run(name, reason)
        radii = [self.attack.epsilon / 2, self.attack.epsilon, 2 * self.attack.epsilon]
        aucs = [
            self.auc(self.run(replace(self.attack, **_lengths(self.attack, radius))).logits)
            for radius in radii
            if radius < HUGE
        ]
        falls = all(later <= earlier + SLACK for earlier, later in zip([self.clean_auc, *aucs], aucs, strict=False))
        # There, the attack in question may lose its way: few steps are long ones, and some losses don't aim at AUC.
        huge = self.auc(self.run(self.aimed(HUGE, HUGE_STEPS)).logits)
        # What metadata tell can't be taken away in pixels.
        shape = self.images.shape
        limit = FALLEN if metadata.pixel_channels(shape) == shape[-1] else self.clean_auc
        text = (
            f"macro AUC at epsilon {HUGE} under an attack aimed at it; expected below {limit:.3g}, "
            f"and a steady fall before ({', '.join(f'{auc:.3f}' for auc in aucs)})"
        )
        return self._auc_line(name, falls and huge <= limit, huge, text)

    def beaten(self, name, weaker, reason, *, source=None, needs=""):
        """Compares image by image, in units of each label's clean spread: the size of logits and losses hides nothing.

        An average could hide that an easier attack found what this one missed, so that both are compared.
        """
        if weaker is None:
            return not_run(name, f"needs {needs}")
        if missing := self.missing(LEAST_FOR_SHARES):
            return not_run(name, missing)
        theirs = self.run(weaker, source).logits
        (ours, our_auc), (harm, auc) = ((self.harm(z), self.auc(z)) for z in (self.outcome.logits, theirs))
        # So that NaN counts as harmed.
        share = float(np.mean(~(harm <= ours + 0.05 * np.abs(ours - self.harm(self.clean)) + 0.05)))
        text = (
            f"share of images it harms more than the attack; expected few, and a macro AUC, {auc:.3f}, "
            f"not below the attack's, {our_auc:.3f}; else {reason}"
        )
        return self._line(name, share <= FEW and not auc < our_auc - SLACK, share, text)

    def harm(self, logits):
        """How far each image's logits are on the wrong side, in units of the labels' clean spread, `(count,)`."""
        weights = aim.weights(self.labels, self.task.ranks(np.nan_to_num(self.clean))) / (2 * self.labels.shape[1])
        return np.where(weights, weights * self.task.ranks(logits), 0).sum(axis=-1)

    def square(self):
        """The gradient-free attack on what an AUC sees, the logits without saturation."""
        name = "square-auc" if self.task.several else "square-margin"
        return Attack(name, self.attack.epsilon, None, QUERIES, 1, True, self.attack.seed or 0)

    def noise(self):
        return Attack("noise", self.attack.epsilon, seed=self.attack.seed or 0)

    def in_float32(self):
        """The attack with exact gradients: itself where nothing rounds them."""
        exact = twin.dtype(self.attack.precision) == "float32" or not twin.known(self.model)
        return self.attack if exact else replace(self.attack, precision="float32")

    def single_step(self):
        """The attack's own first step, as long as the radius."""
        settings = {"step_size": self.attack.epsilon, "steps": 1, "restarts": 1, "random_start": False}
        return replace(self.attack, **settings)

    def floor(self, thorough):
        """Square on each label alone against APGD on each label alone: is the floor of gradient attacks a floor?"""
        name, count = "floor without gradients", self.labels.shape[1]
        if not thorough:
            return not_run(name, f"needs {setting('suite', 'standard')}")
        if count == 1:
            return not_run(name, "one label: see Square is weaker")
        if reason := self.missing(LEAST_FOR_SHARES):
            return not_run(name, reason)
        some = slice(min(len(self.images), -(-PAIRS // count)))
        images = np.repeat(self.images[some], count, axis=0)
        alone = np.tile(np.eye(count, dtype=np.float32), (some.stop, 1))
        away = alone * losses.direction(np.repeat(self.labels[some], count, axis=0))
        common = {"epsilon": self.attack.epsilon, "loss": self.task.linear}
        climbed = autopgd.apgd(self.model, images, away, steps=50, precision=self.attack.precision, **common)
        searched = blackbox.square(self.model, images, away, queries=QUERIES_OF_FLOOR, **common)
        spread = np.std(self.task.ranks(self.clean), axis=0)
        ours, theirs = (
            (away * self.task.ranks(outcomes.answers(self.model, found)) / np.maximum(spread, 1e-30)).sum(1)
            for found in (climbed, searched)
        )
        harmed = ~(theirs <= ours + 0.05).reshape(-1, count)
        share, most = float(harmed.mean()), float(harmed.mean(axis=0).max())
        text = (
            "share of images and labels that Square harms more than APGD on that label; expected few, and of no label "
            f"more than {MANY} (the most are {most:.3f}), else the floor of the table lies too high"
        )
        return self._line(name, share <= FEW and most <= MANY, share, text)

    def invariance(self):
        """An AUC doesn't change with a factor and an offset of each label's logits, so no score under attack may."""
        name = "invariant to calibration"
        if self.task.exclusive:
            return not_run(name, "needs labels apart: of classes, all logits together rank images")
        if reason := self.missing(LEAST_FOR_SHARES):
            return not_run(name, reason)
        label = np.arange(self.labels.shape[1])
        factors = np.array([0.1, 10, 1])[label % 3].astype(np.float32)
        offsets = (3 * factors * np.std(self.clean, axis=0) * np.where(label % 2, -1, 1)).astype(np.float32)

        def calibrated(images, training=False):
            return self.model(images, training=training) * factors + offsets

        calibrated.name = "calibrated_logits"  # as such they may lie in [0, 1]
        attack = self.aimed(self.attack.epsilon, self.attack.steps, "float32")
        aucs = [
            self.auc(outcomes.run(model, self.task, self.split, attack, progress=True).logits)
            for model in (self.model, calibrated)
        ]
        gap = abs(aucs[0] - aucs[1])
        text = (
            "change of the macro AUC under an attack aimed at it when labels' logits are multiplied by 0.1 or 10 "
            "and moved by 3 spreads; expected 0.01 at most"
        )
        return self._auc_line(name, gap <= 0.01, gap, text)

    def corners(self):
        """Whether answers come from where no lung is: a letter, a stamp or a label burnt into the image."""
        name = "corners"
        if reason := self.missing(LEAST_FOR_SHARES) or self.nothing_to_lose:
            return not_run(name, reason)
        swapped, others = self.images.copy(), np.roll(self.images, len(self.images) // 2, axis=0)
        height, width = (max(1, side // 5) for side in self.images.shape[1:3])
        for rows in (slice(height), slice(-height, None)):
            for columns in (slice(width), slice(-width, None)):
                swapped[:, rows, columns] = others[:, rows, columns]
        auc = self.auc(outcomes.answers(self.model, swapped))
        text = (
            f"clean macro AUC, {self.clean_auc:.3f}, when images swap their corners; expected to keep half of what is "
            "above chance, else what the model reads may be a mark burnt into the image"
        )
        return self._auc_line(name, auc - 0.5 >= (self.clean_auc - 0.5) / 2, auc, text, severity=NOTE)

    def collapse(self, undefended):
        name = "undefended model collapses"
        if isinstance(undefended, str):
            return not_run(name, undefended)
        if reason := self.missing(LEAST_FOR_SHARES):
            return not_run(name, reason)
        before = self.auc(outcomes.answers(undefended, self.images))
        if not before > 0.5 + SLACK:
            return not_run(name, f"needs an undefended model above chance; its clean macro AUC is {before:.3f}")
        # The attack in question, and one that aims at the AUC: what either breaks is broken.
        radius = max(self.attack.epsilon, TELLING)
        attacks = replace(self.attack, **_lengths(self.attack, radius)), self.aimed(radius, max(20, self.attack.steps))
        after = min(self.auc(outcomes.run(undefended, self.task, self.split, attack).logits) for attack in attacks)
        text = (
            f"its macro AUC, {before:.3f} clean, at epsilon {radius:.3g} under the same attack or one aimed at it; "
            "expected below half of it"
        )
        return self._auc_line(name, after <= before / 2, after, text)

    def _line(self, name, passed, value, text, least=LEAST, **settings):
        reason = self.missing(least)
        return not_run(name, reason) if reason else judged(name, passed, value, text, **settings)

    def _auc_line(self, name, passed, value, text, severity=INVALID):
        return self._line(name, passed, value, text, least=LEAST_FOR_SHARES, severity=severity, may_be_undefined=True)


def _lengths(attack, epsilon):
    return {"epsilon": epsilon, "step_size": min(1.0, attack.step_size * epsilon / attack.epsilon)}


def _gap(first, *others):
    """Largest difference, in units of a label's spread in `first`; beside a large offset, of what rounding leaves."""
    unit = np.std(first, axis=0) + 1e-4 * np.abs(first).max(axis=0) + 1e-12
    return float(max((np.abs(other - first) / unit).max() for other in others))
