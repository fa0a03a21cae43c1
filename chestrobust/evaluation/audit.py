"""Reasons to doubt a robust score: checks that fail when an attack was weak or a defence only hides its gradient.

    lines = audit.audit(model, images, labels, epsilon=4 / 255)
    print(*lines, sep="\\n")

`docs/audit.md` explains each line. Follows Carlini et al., 2019 (https://arxiv.org/abs/1902.06705), the warnings of
AutoAttack (Croce and Hein, 2020, https://arxiv.org/abs/2003.01690) and Pintor et al., 2022
(https://arxiv.org/abs/2106.09947), for multi-label models.
"""

import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
from tqdm import tqdm

from chestrobust import devices
from chestrobust.attacks import named
from chestrobust.attacks.checks import check
from chestrobust.data import copies, ranges
from chestrobust.data.splits import Split
from chestrobust.errors import setting
from chestrobust.evaluation import forms, published
from chestrobust.evaluation.checks import Study, chosen, run_on_sample
from chestrobust.evaluation.lines import FAILED, INVALID, NOT_RUN, NOTE, PASSED, WEAK_MODEL, Line, judged, not_run
from chestrobust.tasks import Task

__all__ = [
    "FAILED",
    "INVALID",
    "NOTE",
    "NOT_RUN",
    "PASSED",
    "UNKNOWN",
    "WEAK_MODEL",
    "Line",
    "audit",
    "chosen",
    "facts",
    "in_question",
    "of_split",
    "run_on_sample",
]

UNKNOWN = "no undefended model of this run is known"
FACTS = ("input range", "logits give the answers")  # that whoever loads a model finds out


def audit(model, images, labels, *, epsilon, task=Task.MULTI_LABEL, steps=20, thorough=True, attack=None, **settings):
    """Check any model and the attack on it, from Python.

    Args:
        model: Callable `model(images, training=False)` returning logits, `(batch, num_labels)`. What is random in it
            wants `attacks.expectation`, what has no useful gradient `attacks.straight_through`.
        images: Floats in [0, 1], `(count, height, width, channels)`; some hundred tell most, 32 are the least.
        labels: 0 or 1, `(count, num_labels)`.
        epsilon: Radius of the ball, in pixel units of [0, 1], e.g. 4 / 255.
        task: A `Task` or its name: `"multi-label"`, `"binary"` or `"multi-class"` (one-hot labels).
        steps: Steps of the PGD that is in question, unless `attack` is given.
        thorough: Whether to run the expensive checks without gradients too.
        attack: The iterative gradient attack in question, a `named.Attack`; default: as `in_question` makes it.
        **settings: `variables`, `source`, `undefended` and `facts`, as in `of_split`.

    Returns:
        A list of `Line`s, always the same checks in the same order. `print(line)` says how each came out.

    Raises:
        ValueError: If the images or the labels are out of range or shape.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    task = Task(task)
    check(images, labels, task.loss)
    # Splits hold 0 to 255. As floats nothing is rounded to whole numbers, and 255 / 255 is 1 exactly.
    split = Split(images.astype(np.float32) * 255, labels.astype(np.uint8))
    return of_split(model, task, split, attack or in_question(task, epsilon, steps), thorough=thorough, **settings)


def in_question(task, epsilon, steps, **settings):
    """The PGD that an audit asks about, as `named.pgd_of` makes it: of several labels the one on their AUC."""
    return named.at_auc(named.pgd_of(epsilon, steps, **settings), task.several)


def of_split(
    model,
    task,
    split,
    attack,
    *,
    variables=(),
    thorough=False,
    source=None,
    undefended=UNKNOWN,
    known=None,
    rows=None,
    train=None,
    facts=None,
):
    """Check a model and the attack on it; the attack is a suspect as much as the model.

    Args:
        model: Callable returning logits.
        task: The `Splits.task`.
        split: The `Split` that the scores are of; the `chosen` images of it are used.
        attack: The iterative gradient `Attack` whose scores are in question, a PGD.
        variables: Variables of the model, which no attack may change.
        thorough: Whether to run the expensive checks by the gradient-free Square attack too.
        source: Another model to craft transferred images on, or None.
        undefended: Another model, undefended, which the same attack must break, or a text that says why there is none.
        known: Dictionary from `Attack`s to their `outcomes.Outcome`s on the whole split, which needn't be run again.
        rows: The rows that are published, as `published.CHECKS` take them, or None.
        train: The training `Split`, whose copies are looked for in `split`, or None.
        facts: Dictionary from the names in `FACTS` to what whoever loaded the model found, each a dictionary of
            `passed`, `value` and `text` as in `lines.judged`.

    Returns:
        A list of `Line`s, always the same checks in the same order.
    """
    before = _fingerprint(variables)
    study = Study(model, task, split, attack, known)
    checks = [
        *(study.pixels, study.deterministic, study.alone, study.logits),
        *(partial(_fact, name, (facts or {}).get(name)) for name in FACTS),
        *(study.gradients, study.follows, study.rounding, study.above_chance, study.order),
        partial(forms.line, model, study.task, study.images, study.labels),
        *_other_attacks(study, attack, thorough, source),
        *(study.invariance, partial(study.collapse, undefended)),
        *(partial(check, rows) for check in published.CHECKS),
        *(partial(_copies, split, train), study.corners, partial(_untouched, variables, before)),
    ]
    return [check() for check in tqdm(checks, "Audit", unit=" checks", leave=False, **devices.bars())]


def _other_attacks(study, attack, thorough, source):
    """The checks of other attacks, cheaper and costlier: none may find more than the one in question."""
    restarts = replace(attack, restarts=2 * attack.restarts, random_start=True)
    transfer = replace(attack, attack="transfer") if source else None
    square = study.square() if thorough else None
    masked = "gradients are masked"
    return [
        partial(study.beaten, "single-step is weaker", study.single_step(), "too few or too long steps"),
        partial(study.beaten, "noise is weaker", study.noise(), "the gradient is useless"),
        partial(study.converged, "steps doubled", replace(attack, steps=2 * attack.steps)),
        partial(study.converged, "restarts doubled", restarts),
        partial(study.converged, "float32 gradients", study.in_float32(), "rounding blinds the attack"),
        study.falls,
        partial(study.beaten, "Square is weaker", square, masked, needs=setting("suite", "standard")),
        partial(study.beaten, "transfer is weaker", transfer, masked, source=source, needs=setting("transfer_from")),
        partial(study.floor, thorough),
    ]


def facts(found):
    """What the audit is told of how a model was understood, by `FACTS`; what wasn't understood is refused before.

    Args:
        found: A `models.Opened`.
    """
    others = {name: loss for name, loss in found.fits.items() if name != found.pixel_range}
    known = {
        "logits give the answers": {
            "passed": found.agreement <= found.tolerance,
            "value": found.agreement,
            "text": "largest difference of the model's answers and those of its logits; expected "
            f"{found.tolerance:g} at most, else logits were taken from the wrong place",
        }
    }
    if others:
        own, best = found.fits[found.pixel_range], min(others, key=others.get)
        known["input range"] = {
            "passed": own <= others[best],
            "severity": NOTE,
            "value": own,
            "text": f"validation loss with pixels in {ranges.shown(found.pixel_range)}; "
            f"the best of other ranges, {ranges.shown(best)} ({setting('input_range', best)}), has {others[best]:.3f}",
        }
    return known


def _fact(name, fact):
    return judged(name, **fact) if fact else not_run(name, "needs a model from a file, whose loader finds it out")


def _copies(split, train):
    name = "copies of training images"
    if train is None:
        return not_run(name, "needs the training images")
    count = copies.count(split.images, train.images)
    if count is None:
        return not_run(name, "needs images that are held in an array")
    text = "test images that equal a training image in every pixel; expected 0, else scores flatter the model"
    return judged(name, count == 0, count, text, severity=NOTE)


def _untouched(variables, before):
    return judged("weights untouched", _fingerprint(variables) == before, None, "variables before and after are equal")


def _fingerprint(variables):
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
