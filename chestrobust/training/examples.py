"""What a step of training trains on: clean images, or adversarial ones in their place or beside them."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from chestrobust.attacks import gradient


class Examples(NamedTuple):
    """What a replica trains on in a step.

    Attributes:
        images: Float images in [0, 1], `(examples, height, width, channels)`.
        labels: Float labels, `(examples, num_labels)`.
        weights: Of each example in the loss; those of all replicas sum to 1 where all is a loss on labels.
        losses: Function `losses(loss, labels, logits)` returning a value per example, from the `loss` of the recipe and
            the model's answers to `images`, which it may compare with each other.
        weight_epsilon: How far the weights are moved up the loss before its gradients are taken; see `gradients`.
        moved: Function `moved(images, slopes)` returning the images of the next step on the same batch, from the loss's
            gradients by those of this one; None if they stay.
    """

    images: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor
    losses: Callable = lambda loss, labels, logits: loss(labels, logits)
    weight_epsilon: float = 0.0
    moved: Callable | None = None


def clean_examples(images, labels, seed, indices, positions, count):
    """Train on the images as they are.

    Args:
        images: Float images in [0, 1] that this replica has of the batch, `(share, height, width, channels)`.
        labels: Float labels, `(share, num_labels)`.
        seed: Two integers that change with seed and epoch.
        indices: Number of each image in the training split, `(share,)`.
        positions: Number of each image in the batch, ascending, `(share,)`.
        count: Number of images in the batch.

    Returns:
        The `Examples`.
    """
    del seed, indices, positions
    return Examples(images, labels, _equal_weights(images, count))


def half_and_half(model, loss, *, epsilon, step_size, steps, adv_weight, strength):
    """A function like `clean_examples` that adds adversarial images of the current weights to the clean ones.

    The first half of the batch is attacked by FGSM, the second by PGD with a random start; clean and adversarial
    images share the step, with `1 - adv_weight` and `adv_weight` of the loss.

    Args:
        model: Callable returning logits.
        loss: Function from `losses`.
        epsilon, step_size: Of the attacks, in pixel units of [0, 1].
        steps: Of PGD.
        adv_weight: Share of the loss that comes from adversarial images.
        strength: Function returning the share of both lengths that counts at this step; see `schedules.ramp`.
    """

    def examples(images, labels, seed, indices, positions, count):
        radius, length = epsilon * strength(), step_size * strength()
        half = (count + 1) // 2  # The middle image of an odd batch gets both, so that no half is ever empty.
        early = slice(tf.math.count_nonzero(positions < half))
        late = slice(tf.math.count_nonzero(positions < count - half), None)
        fast = gradient.ascend(
            model, loss, images[early], labels[early], images[early], epsilon=radius, step_size=radius
        )
        start = gradient.random_images(images[late], radius, seed, indices[late])
        slow = _climbed(model, loss, start, labels[late], images[late], radius, length, steps)
        attacked = tf.concat([fast, slow], 0)
        weights = [
            (1 - adv_weight) * _equal_weights(images, count),
            adv_weight * _equal_weights(attacked, 2 * half),
        ]
        labels = tf.concat([labels, labels[early], labels[late]], 0)
        return Examples(tf.concat([images, attacked], 0), labels, tf.concat(weights, 0))

    return examples


def projected(model, loss, *, epsilon, step_size, steps, adv_weight, strength):
    """A function like `clean_examples` with all images attacked by PGD from a random start.

    Clean images stand beside them unless `adv_weight` is 1. Arguments are those of `half_and_half`.

    Reference: Madry et al., 2018, https://arxiv.org/abs/1706.06083
    """

    def examples(images, labels, seed, indices, positions, count):
        radius, length = epsilon * strength(), step_size * strength()
        start = gradient.random_images(images, radius, seed, indices)
        attacked = _climbed(model, loss, start, labels, images, radius, length, steps)
        return _beside(images, attacked, labels, adv_weight, count)

    return examples


def at_worst_weights(examples, weight_epsilon):
    """A function like `clean_examples` whose examples are descended from at the worst weights near those of the model.

    Args:
        examples: Such a function.
        weight_epsilon: See `gradients.computed`.
    """
    return lambda *arguments: examples(*arguments)._replace(weight_epsilon=weight_epsilon)


def noisy(model, loss, *, epsilon, adv_weight, strength):
    """A function like `clean_examples` with all images attacked by N-FGSM, which costs a single pass.

    Its one step is as long as the radius, and starts at noise of twice the radius that no ball holds back: what is
    trained on lies up to three radii away, which keeps the model from learning to answer one-step attacks alone.

    Arguments are those of `half_and_half`.

    Reference: de Jorge et al., 2022, https://arxiv.org/abs/2202.01181
    """

    def examples(images, labels, seed, indices, positions, count):
        radius = epsilon * strength()
        noise = gradient.random_images(images, 2 * radius, seed, indices)
        attacked = gradient.ascend(model, loss, noise, labels, images, epsilon=3 * radius, step_size=radius)
        return _beside(images, attacked, labels, adv_weight, count)

    return examples


def replayed(*, epsilon, strength):
    """A function like `clean_examples` for free training, whose attack costs no pass of its own.

    The optimizer takes several steps on each batch (`loop.Recipe.replays`), and the pass of each also tells how the
    images move for the next: up the loss, by the radius. So the model answers in training mode, as it does for the
    step. The paper has each batch begin with the last one's perturbation, which belongs to other images; here it is
    random, a function of seed, epoch and image, so that there is nothing to save and nothing that devices share.

    Arguments are those of `half_and_half`.

    Reference: Shafahi et al., 2019, https://arxiv.org/abs/1904.12843
    """

    def examples(images, labels, seed, indices, positions, count):
        def moved(attacked, slopes):
            radius = epsilon * strength()
            return gradient.moved(attacked, slopes, images, radius, radius)

        start = gradient.random_images(images, epsilon * strength(), seed, indices)
        return Examples(start, labels, _equal_weights(images, count), moved=moved)

    return examples


def consistent(model, divergence, *, epsilon, step_size, steps, beta, strength):
    """A function like `clean_examples` for TRADES: clean images by their labels, attacked ones by the clean answers.

    Args:
        model, epsilon, step_size, steps, strength: As in `half_and_half`.
        divergence: Function `divergence(logits, others)` from `divergences`.
        beta: Weight of the divergence beside the loss.

    Reference: Zhang et al., 2019, https://arxiv.org/abs/1901.08573
    """

    def losses(loss, labels, logits):
        clean, attacked = tf.split(logits, 2)
        return tf.concat([loss(labels[: tf.shape(clean)[0]], clean), beta * divergence(clean, attacked)], 0)

    def examples(images, labels, seed, indices, positions, count):
        radius, length = epsilon * strength(), step_size * strength()
        answers = model(images, training=False)
        # From a random point: at the image itself, answers agree and their divergence has no slope.
        start = gradient.random_images(images, radius, seed, indices)
        attacked = _climbed(model, divergence, start, answers, images, radius, length, steps)
        pairs = _beside(images, attacked, labels, 0.5, count)
        return pairs._replace(weights=2 * pairs.weights, losses=losses)

    return examples


def bounded(bounds, *, epsilon, adv_weight, strength):
    """A function like `clean_examples` for certified training: beside the answers to clean images, the worst possible.

    The worst is bounded in the whole ball, each present label at its lowest logit and each absent one at its highest.
    The weight of its loss grows with the radius, as bounds are wide at first and would leave nothing to learn from.

    Args:
        bounds: Function `bounds(low, high)` from `models.bounds.of`.
        epsilon, strength: As in `half_and_half`.
        adv_weight: Share of the loss that comes from the bounds, at the full radius.

    Reference: Gowal et al., 2018, https://arxiv.org/abs/1810.12715
    """

    def examples(images, labels, seed, indices, positions, count):
        del seed, indices, positions
        radius, share = epsilon * strength(), adv_weight * strength()

        def losses(loss, labels, logits):
            low, high = bounds(tf.maximum(images - radius, 0.0), tf.minimum(images + radius, 1.0))
            return (1 - share) * loss(labels, logits) + share * loss(labels, tf.where(labels > 0, low, high))

        return Examples(images, labels, _equal_weights(images, count), losses)

    return examples


def _climbed(model, loss, attacked, labels, images, epsilon, step_size, steps):
    """Where PGD ends, in the ball around the images, when it starts at `attacked`."""
    for _ in range(steps):
        attacked = gradient.ascend(model, loss, attacked, labels, images, epsilon=epsilon, step_size=step_size)
    return attacked


def _beside(images, attacked, labels, adv_weight, count):
    """The `Examples` of images and what they become under attack; of the latter alone if only they count."""
    weights = _equal_weights(images, count)
    if adv_weight == 1:
        return Examples(attacked, labels, weights)
    return Examples(
        tf.concat([images, attacked], 0),
        tf.concat([labels, labels], 0),
        tf.concat([(1 - adv_weight) * weights, adv_weight * weights], 0),
    )


def _equal_weights(images, count):
    return tf.fill([tf.shape(images)[0]], 1 / tf.cast(count, tf.float32))
