"""PGD without a step size to choose, by the contract of `gradient.py`: steps that shrink from twice the radius.

    adversarial = apgd(models.logits(classifier), images, labels, epsilon=4 / 255, steps=50)

Those of Auto-PGD halve themselves, image by image; those of `falling_pgd` fall by a fixed schedule.
"""

import functools
import itertools

import numpy as np
import tensorflow as tf

from chestrobust.attacks.checks import check_options
from chestrobust.attacks.gradient import Starts, chosen, worst_of_restarts
from chestrobust.attacks.norms import LINF
from chestrobust.losses import binary_cross_entropy

LAST = 0.03  # of the first step: the last one of `falling_pgd`


def apgd(
    model,
    images,
    labels,
    *,
    epsilon,
    steps=100,
    restarts=1,
    norm=LINF,
    seed=0,
    loss=binary_cross_entropy,
    indices=None,
    batch_size=256,
    precision="auto",
):
    """Auto-PGD: PGD with momentum that halves its step size by itself, per image, and returns the best point it saw.

    It starts with steps of twice `epsilon`. At checkpoints, an image whose loss rose in fewer than 3 of 4 steps, or not
    at all since the last checkpoint, goes back to its best point and continues with half the step size.

    The first restart starts at the image, which undefended models resist least, the others at random points. Arguments
    and result are those of `gradient.pgd`.

    Reference: Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
    """
    climb = functools.partial(_climbed, epsilon=epsilon, steps=steps, norm=norm)
    starts = _starts(epsilon, steps, restarts, norm, seed)
    return worst_of_restarts(
        climb, model, images, labels, starts, loss=loss, indices=indices, batch_size=batch_size, precision=precision
    )


def falling_pgd(
    model,
    images,
    labels,
    *,
    epsilon,
    steps=25,
    restarts=1,
    norm=LINF,
    seed=0,
    loss=binary_cross_entropy,
    indices=None,
    batch_size=256,
    precision="auto",
):
    """PGD whose steps fall by the same factor each, from twice `epsilon` to `LAST` of that; the best point of these.

    For a loss that is linear in the logits: with a third of the gradients it finds nearly what Auto-PGD does, whose
    steps are too long for too long (benchmarks/README.md). Starts, arguments and result are those of `apgd`.
    """
    climb = functools.partial(_fallen, epsilon=epsilon, steps=steps, norm=norm)
    starts = _starts(epsilon, steps, restarts, norm, seed)
    return worst_of_restarts(
        climb, model, images, labels, starts, loss=loss, indices=indices, batch_size=batch_size, precision=precision
    )


def _starts(epsilon, steps, restarts, norm, seed):
    """The image, which undefended models resist least, then random points."""
    check_options(epsilon, norm, steps=steps, restarts=restarts)
    return Starts(epsilon, norm, restarts, first_random=1, seed=seed)


def _fallen(loss_gradient, start, clean, *, epsilon, steps, norm):
    """A batch of adversarial images, each the best point of its climb.

    The last point is judged by what the gradient before it promises: to ask for its loss would cost another one.
    """
    ahead = best = start
    best_value = promised = tf.fill([len(start)], -np.inf)
    for length in 2 * epsilon * np.geomspace(1, LAST, steps):
        current = ahead
        value, gradient = loss_gradient(current)
        better = value > best_value
        best, best_value = chosen(better, current, best), tf.where(better, value, best_value)
        ahead = norm.project(current + length * norm.direction(gradient), clean, epsilon)
        promised = value + tf.reduce_sum(gradient * (ahead - current), axis=(1, 2, 3))
    return chosen(promised > best_value, ahead, best)


def _climbed(loss_gradient, start, clean, *, epsilon, steps, norm):
    """A batch of adversarial images, each the best point that its climb saw."""
    checkpoints = _checkpoints(steps)
    previous = current = best = start
    value, gradient = loss_gradient(current)
    best_value, best_gradient = value, gradient
    step_size = tf.fill([len(start), 1, 1, 1], 2.0 * epsilon)
    rises, last_best, halved = tf.zeros_like(value), value, tf.zeros_like(value, bool)
    for step in range(1, steps + 1):
        ahead = norm.project(current + step_size * norm.direction(gradient), clean, epsilon)
        if step > 1:
            moved = current + 0.75 * (ahead - current) + 0.25 * (current - previous)
            ahead = norm.project(moved, clean, epsilon)
        previous, current, before = current, ahead, value
        value, gradient = loss_gradient(current)
        rises += tf.cast(value > before, tf.float32)
        better = value > best_value
        best_value = tf.where(better, value, best_value)
        best, best_gradient = chosen(better, current, best), chosen(better, gradient, best_gradient)
        if step in checkpoints:
            halved = (rises < 0.75 * checkpoints[step]) | (~halved & (best_value <= last_best))
            step_size = chosen(halved, step_size / 2, step_size)
            value = tf.where(halved, best_value, value)
            current, gradient = chosen(halved, best, current), chosen(halved, best_gradient, gradient)
            rises, last_best = tf.zeros_like(rises), best_value
    return best


def _checkpoints(steps):
    """Steps at which Auto-PGD may halve its step size, each with its distance from the one before."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    marks = [int(np.ceil(round(share * steps, 9))) for share in shares]  # rounded: 0.57 * 100 is above 57
    return {mark: mark - before for before, mark in itertools.pairwise(marks) if mark > before}
