"""Attacks that look at a model's losses alone, never at its gradient.

    adversarial = square(models.logits(classifier), images, labels, epsilon=4 / 255, queries=500)

A gradient attack that these beat was misled: by a saturated loss or a masked gradient. `noise` is the control that
every attack must beat. Everything follows the contract of `attacks.py`; what is random is drawn for each image from
`seed` and its index, so that results depend neither on its batch nor, up to the model's rounding, on the batch size.
"""

import numpy as np
import tensorflow as tf
from scipy.optimize import differential_evolution

from chestrobust import interruption
from chestrobust.attacks.checks import check, stored
from chestrobust.attacks.gradient import compiled
from chestrobust.losses import margin

# Windows shrink to half their area after these queries out of 10,000; other budgets scale them, as the paper does.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square(
    model, images, labels, *, epsilon, queries=500, p_init=0.8, seed=0, loss=margin, indices=None, batch_size=256
):
    """Square attack in the L-infinity ball: random square windows, kept when they raise the loss.

    Every pixel ends on the boundary of the ball or of [0, 1], except in images whose loss never rose: those stay clean.

    Args:
        model: Callable `model(images, training=False)` returning logits, e.g. from `models.logits`.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`.
        epsilon: Radius of the ball, in pixel units of [0, 1], e.g. 4 / 255.
        queries: Changed images shown to the model per image; the clean image is one more.
        p_init: Area of the first windows, as a fraction of the image in (0, 1].
        seed: Seed of the windows, >= 0.
        loss: Function `loss(labels, logits)` returning a value per image; for multi-class, `class_margin`.
        indices: Number of each image, which fixes its windows together with `seed`; default: 0 to `count - 1`.
        batch_size: Images attacked at once.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.

    Raises:
        ValueError: If an option, the images or the labels are out of range or shape.

    Reference: Andriushchenko et al., 2020, https://arxiv.org/abs/1912.00049
    """
    _check_epsilon(epsilon)
    if queries < 1 or not 0 < p_init <= 1:
        raise ValueError(f"`queries` must be >= 1 and `p_init` in (0, 1]. Received: queries={queries}, p_init={p_init}")

    def search(clean, truth, generators):
        count, height, width, channels = clean.shape
        lower, upper = np.clip(clean - epsilon, 0, 1), np.clip(clean + epsilon, 0, 1)
        stripes = np.stack([generator.random((1, width, channels)) < 0.5 for generator in generators])
        corners = np.stack([generator.random((queries, 2)) for generator in generators])
        signs = np.stack([generator.random((queries, 1, 1, channels)) < 0.5 for generator in generators])
        worst = np.where(stripes, upper, lower)
        worst_loss = _image_losses(model, loss, worst, truth)
        for query in range(queries - 1):
            side = _window_side(query, queries, p_init, height, width)
            # Up to the last row and column, which the authors' code never reaches.
            begin = (corners[:, query] * (height - side + 1, width - side + 1)).astype(int)
            rows = begin[:, :1, None] + np.arange(side)[:, None]
            columns = begin[:, 1:, None] + np.arange(side)
            window = np.arange(count)[:, None, None], rows, columns
            old, up = worst[window], signs[:, query]
            # A window that changes nothing would waste its query, so that it takes the opposite signs.
            up = up ^ (np.where(up, upper[window], lower[window]) == old).all((1, 2, 3), keepdims=True)
            worst[window] = new = np.where(up, upper[window], lower[window])
            new_loss = _image_losses(model, loss, worst, truth)
            better = new_loss > worst_loss
            worst[window] = np.where(better[:, None, None, None], new, old)
            worst_loss = np.where(better, new_loss, worst_loss)
        harmless = worst_loss <= _image_losses(model, loss, clean, truth)
        worst[harmless] = clean[harmless]
        return worst

    return _in_batches(search, images, labels, seed, indices, batch_size, loss)


def noise(model, images, labels, *, epsilon, draws=1, seed=0, loss=margin, indices=None, batch_size=256):
    """Uniform noise in the L-infinity ball, the worst of several draws; other arguments and result as in `square`.

    Args:
        model: As in `square`; not called for a single draw.
        draws: Number of noisy images tried per image; the one with the highest loss is kept.
    """
    _check_epsilon(epsilon)
    if draws < 1:
        raise ValueError(f"`draws` must be >= 1. Received: draws={draws}")

    def search(clean, truth, generators):
        worst, worst_loss = clean.copy(), np.full(len(clean), -np.inf)
        for _ in range(draws):
            changes = np.stack([generator.uniform(-epsilon, epsilon, clean.shape[1:]) for generator in generators])
            noisy = np.clip(clean + changes, 0, 1)
            noisy_loss = _image_losses(model, loss, noisy, truth) if draws > 1 else np.zeros(len(clean))
            better = noisy_loss > worst_loss
            worst[better], worst_loss[better] = noisy[better], noisy_loss[better]
        return worst

    return _in_batches(search, images, labels, seed, indices, batch_size, loss)


def one_pixel(
    model, images, labels, *, pixels=1, popsize=100, maxiter=20, seed=0, loss=margin, indices=None, batch_size=256
):
    """Few-pixel attack by differential evolution; other arguments and result as in `square`, but without a radius.

    An image takes `popsize * (maxiter + 1)` forward passes: 2,100 by default, 40,400 with the paper's 400 and 100.

    Args:
        pixels: Number of pixels that may change, to any value in [0, 1].
        popsize: Candidates per generation, >= 5.
        maxiter: Number of generations after the first, random one.
        batch_size: Candidates shown to the model at once; images are attacked one by one.

    Reference: Su et al., 2019, https://arxiv.org/abs/1710.08864
    """
    if pixels < 1 or popsize < 5 or maxiter < 1:
        raise ValueError(
            "`pixels` and `maxiter` must be >= 1, `popsize` >= 5. "
            f"Received: pixels={pixels}, maxiter={maxiter}, popsize={popsize}"
        )

    def search(clean, truth, generators):
        _, height, width, channels = clean.shape
        sizes = np.tile([height, width, *[1] * channels], pixels)

        def changed(candidates):
            count = len(candidates)
            row, column, *value = np.moveaxis(candidates.reshape(count, pixels, 2 + channels), 2, 0)
            copies = clean.repeat(count, axis=0)
            # Bounds are closed: a row of exactly `height` is the last one.
            rows, columns = np.minimum(row.astype(int), height - 1), np.minimum(column.astype(int), width - 1)
            copies[np.arange(count)[:, None], rows, columns] = np.stack(value, axis=-1)
            return copies

        def negative_loss(candidates):
            pieces = np.split(changed(candidates.T), range(batch_size, candidates.shape[1], batch_size))
            return -np.concatenate([_image_losses(model, loss, x, truth.repeat(len(x), axis=0)) for x in pieces])

        best = differential_evolution(
            negative_loss,
            [(0, size) for size in sizes],
            mutation=0.5,
            strategy="rand1bin",
            recombination=1,  # The paper has no crossover.
            init=generators[0].random((popsize, len(sizes))) * sizes,
            maxiter=maxiter,
            atol=-1,  # Never stop early: a population without effect so far looks as if it had converged.
            polish=False,
            seed=generators[0],
            vectorized=True,
            updating="deferred",
        )
        return changed(best.x[None]) if -best.fun > _image_losses(model, loss, clean, truth)[0] else clean

    return _in_batches(search, images, labels, seed, indices, 1, loss)


def _in_batches(search, images, labels, seed, indices, batch_size, loss):
    """`search(images, labels, generators)` for batches of one size, as the kind of array that `images` is."""
    clean, labels = np.asarray(images), np.asarray(labels)
    check(clean, labels, loss)
    indices = np.arange(len(clean)) if indices is None else np.asarray(indices)
    adversarial = np.empty_like(clean)
    size = min(batch_size, len(clean))
    for begin in range(0, len(clean), size):
        # The last image fills up the last batch.
        rows = np.minimum(np.arange(begin, begin + size), len(clean) - 1)
        generators = [np.random.default_rng((seed, index)) for index in indices[rows]]
        # Arithmetic in float16 would leave the ball.
        images_here = clean[rows].astype(np.promote_types(clean.dtype, np.float32))
        adversarial[rows] = stored(search(images_here, labels[rows], generators), clean[rows])
    return tf.convert_to_tensor(adversarial) if tf.is_tensor(images) else adversarial


def _image_losses(model, loss, images, labels):
    interruption.check()
    _, image_loss = compiled(model, loss, images.shape[1:], labels.shape[1:], "float32")
    return image_loss(images.astype(np.float32), labels.astype(np.float32)).numpy()


def _window_side(query, queries, p_init, height, width):
    fraction = p_init / 2 ** np.searchsorted(HALVINGS, query * 10_000 // queries)
    return int(np.clip(round(np.sqrt(fraction * height * width)), 1, min(height, width)))


def _check_epsilon(epsilon):
    if not 0 <= epsilon <= 1:
        raise ValueError(f"`epsilon` is in pixel units of [0, 1], as in 8 / 255. Received: epsilon={epsilon}")
