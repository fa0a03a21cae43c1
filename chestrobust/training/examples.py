"""What a step of training trains on: clean images, or adversarial ones beside them."""

import tensorflow as tf

from chestrobust.attacks import gradient
from chestrobust.models import twin


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
        Images, labels and weights of the examples; the weights of all replicas sum to 1.
    """
    del seed, indices, positions
    return images, labels, _equal_weights(images, count)


def adversarial_examples(model, loss, *, epsilon, step_size, steps, adv_weight, precision):
    """A function like `clean_examples` that adds adversarial images of the current weights to the clean ones.

    The first half of the batch is attacked by FGSM, the second by PGD with a random start; clean and adversarial
    images share the step, with `1 - adv_weight` and `adv_weight` of the loss.

    Args:
        model: Callable returning logits.
        loss: Function from `losses`.
        epsilon, step_size: Of the attacks, in pixel units of [0, 1].
        steps: Of PGD.
        adv_weight: Share of the loss that comes from adversarial images.
        precision: Arithmetic of the attacks, as in `attacks.fgsm`.
    """
    model = twin.of(model, twin.dtype(precision))

    def examples(images, labels, seed, indices, positions, count):
        half = (count + 1) // 2  # The middle image of an odd batch gets both, so that no half is ever empty.
        early = slice(tf.math.count_nonzero(positions < half))
        late = slice(tf.math.count_nonzero(positions < count - half), None)
        fast = gradient.ascend(
            model, loss, images[early], labels[early], images[early], epsilon=epsilon, step_size=epsilon
        )
        slow = gradient.random_images(images[late], epsilon, seed, indices[late])
        for _ in range(steps):
            slow = gradient.ascend(model, loss, slow, labels[late], images[late], epsilon=epsilon, step_size=step_size)
        attacked = tf.concat([fast, slow], 0)
        weights = [
            (1 - adv_weight) * _equal_weights(images, count),
            adv_weight * _equal_weights(attacked, 2 * half),
        ]
        labels = tf.concat([labels, labels[early], labels[late]], 0)
        return tf.concat([images, attacked], 0), labels, tf.concat(weights, 0)

    return examples


def _equal_weights(images, count):
    return tf.fill([tf.shape(images)[0]], 1 / tf.cast(count, tf.float32))
