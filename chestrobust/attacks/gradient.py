"""White-box attacks on any model that returns logits, by `tf.GradientTape`.

    adversarial = pgd(models.logits(classifier), images, labels, epsilon=4 / 255, step_size=1 / 255, steps=10)

Images are floats in [0, 1] and every length is in these pixel units. The model is called with `training=False` and
isn't changed. It is traced once: what it reads besides variables stays as it was then, so that a model whose layers
or arrays were changed must come as another callable. Results depend on the arguments and `seed` alone; on the batch
size only as far as the model's own rounding does, which steps amplify.
"""

import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from chestrobust import interruption
from chestrobust.attacks import storage
from chestrobust.attacks.checks import check, check_options, check_outputs, stored
from chestrobust.attacks.norms import LEVELS, LINF, Norm
from chestrobust.data.splits import as_floats
from chestrobust.losses import binary_cross_entropy
from chestrobust.models import twin


def fgsm(model, images, labels, *, epsilon, loss=binary_cross_entropy, batch_size=256, precision="auto"):
    """Fast gradient sign method: one step of length `epsilon` up the loss.

    Args:
        model: Callable `model(images, training=False)` returning logits, e.g. from `models.logits`.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`; of a loss in `losses.WEIGHTED`, weights.
        epsilon: Radius of the L-infinity ball, in pixel units of [0, 1], e.g. 4 / 255.
        loss: Function `loss(labels, logits)` returning a value per image, from `losses`.
        batch_size: Images attacked at once.
        precision: How gradients are computed: `"float32"` on the model as it is; `"auto"`, `"bfloat16"` or
            `"float16"` on its faster `twin`, if it has one. What is returned is float32 whatever this is.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.

    Raises:
        ValueError: If a length, the images or the labels are out of range or shape, NaN among them.

    Reference: Goodfellow et al., 2015, https://arxiv.org/abs/1412.6572
    """
    return pgd(
        model,
        images,
        labels,
        epsilon=epsilon,
        step_size=epsilon,
        steps=1,
        random_start=False,
        loss=loss,
        batch_size=batch_size,
        precision=precision,
    )


def pgd(
    model,
    images,
    labels,
    *,
    epsilon,
    step_size,
    steps,
    random_start=True,
    restarts=1,
    momentum=0.0,
    nesterov=False,
    norm=LINF,
    seed=0,
    loss=binary_cross_entropy,
    indices=None,
    batch_size=256,
    precision="auto",
):
    """Projected gradient descent (PGD-k), with `momentum` the momentum iterative method (MI-FGSM).

    Args:
        model: Callable `model(images, training=False)` returning logits, e.g. from `models.logits`.
        images: Clean images in [0, 1], float, `(count, height, width, channels)`.
        labels: 0 or 1, `(count, num_labels)`; of a loss in `losses.WEIGHTED`, weights.
        epsilon: Radius of the ball, in pixel units of [0, 1], e.g. 4 / 255.
        step_size: Length of one step, same units (alpha in the paper).
        steps: Number of steps, the k of PGD-k.
        random_start: Whether to start uniformly in the ball instead of at `images`.
        restarts: Number of random starts; the one with the highest final loss is kept for each image.
        momentum: Share of the last step's (normalized) gradient that is kept; 1 in the MI-FGSM paper.
        nesterov: Whether the gradient is that of the point to which the momentum alone would lead.
        norm: `norms.LINF`; `norms.LEVELS`, of whole grey levels, for images of 8 bits; or `norms.L2`, where `epsilon`
            may exceed 1.
        seed: Seed of the random starts.
        loss: Function `loss(labels, logits)` returning a value per image, from `losses`.
        indices: Number of each image, which fixes its random start together with `seed`;
            default: 0 to `count - 1`. Lets a split be attacked piece by piece with the same outcome.
        batch_size: Images attacked at once.
        precision: As in `fgsm`.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.

    Raises:
        ValueError: If a length, the images or the labels are out of range or shape, NaN among them.

    References: Madry et al., 2018, https://arxiv.org/abs/1706.06083;
        momentum: Dong et al., 2018, https://arxiv.org/abs/1710.06081
    """
    check_options(epsilon, norm, steps=steps, restarts=restarts, random_start=random_start, step_size=step_size)
    lengths = {"epsilon": tf.constant(epsilon, tf.float32), "step_size": tf.constant(step_size, tf.float32)}
    move = functools.partial(_compiled_with(norm, moved), **lengths)
    climb = functools.partial(
        _climbed, move=move, step_size=step_size, steps=steps, momentum=momentum, nesterov=nesterov
    )
    starts = Starts(epsilon, norm, restarts, first_random=0 if random_start else restarts, seed=seed)
    return worst_of_restarts(
        climb, model, images, labels, starts, loss=loss, indices=indices, batch_size=batch_size, precision=precision
    )


def ni_fgsm(
    model,
    images,
    labels,
    *,
    epsilon,
    steps=10,
    momentum=1.0,
    loss=binary_cross_entropy,
    batch_size=256,
    precision="auto",
):
    """Nesterov iterative method: momentum whose gradient is taken where the momentum leads; made to be transferred.

    Starts at the image, with steps of `epsilon / steps`. Arguments and result are those of `pgd`.

    Reference: Lin et al., 2020, https://arxiv.org/abs/1908.06281
    """
    return pgd(
        model,
        images,
        labels,
        epsilon=epsilon,
        step_size=epsilon / max(1, steps),
        steps=steps,
        random_start=False,
        momentum=momentum,
        nesterov=True,
        loss=loss,
        batch_size=batch_size,
        precision=precision,
    )


def _climbed(loss_gradient, start, clean, *, move, step_size, steps, momentum, nesterov):
    """A batch of adversarial images after the steps of `pgd`."""
    candidate, velocity = start, 0.0
    for _ in range(steps):
        ahead = candidate + step_size * momentum * velocity if nesterov else candidate
        _, gradient = loss_gradient(ahead)
        if momentum:
            # By the L1 norm of a pixel, as in the code of NI-FGSM's authors: by that of an image, as in their
            # formula, the look-ahead would be one over the number of pixels.
            size = tf.reduce_mean(tf.abs(gradient), axis=(1, 2, 3), keepdims=True)
            gradient = velocity = momentum * velocity + tf.math.divide_no_nan(gradient, size)
        candidate = move(candidate, gradient, clean)
    return candidate


@dataclass(frozen=True)
class Starts:
    """Where the restarts of an attack begin.

    Attributes:
        epsilon, norm: The ball, as in `pgd`.
        restarts: How many there are.
        first_random: Number of the first restart that begins at a random point; those before begin at the image.
        seed: Seed of the random points.
    """

    epsilon: float
    norm: Norm
    restarts: int
    first_random: int
    seed: int

    def __call__(self, restart, images, indices):
        """The images from which a restart climbs; `indices` are their numbers."""
        if restart < self.first_random:
            return images
        key = tf.constant((self.seed, restart))
        return _compiled_with(self.norm, random_images)(images, tf.constant(self.epsilon, tf.float32), key, indices)


def worst_of_restarts(climb, model, images, labels, starts, *, loss, indices=None, batch_size, precision):
    """Attack images batch by batch, and keep for each image the restart with the highest loss.

    Args:
        climb: Function `climb(loss_gradient, start, clean)` returning a batch of adversarial images, where
            `loss_gradient(images)` gives a loss `(batch,)` and its gradient. The other arguments are those of `pgd`.
        starts: The `Starts`.

    Returns:
        Adversarial images in [0, 1], of the kind, shape and dtype of `images`.
    """
    clean, labels = np.asarray(images), np.asarray(labels)
    check(clean, labels, loss)
    if starts.norm is LEVELS:
        storage.levels(clean)  # Refuses those that lie between.
    check_outputs(model, clean)
    indices = np.arange(len(clean)) if indices is None else np.asarray(indices)
    loss_gradient, image_loss = compiled(model, loss, clean.shape[1:], labels.shape[1:], precision)
    adversarial = np.empty_like(clean)
    size = min(batch_size, len(clean))
    for begin in range(0, len(clean), size):
        interruption.check()
        piece = slice(begin, begin + size)
        batch, truth, numbers = (_padded(array[piece], size) for array in (clean, labels, indices))
        gradient_here = functools.partial(loss_gradient, labels=truth)
        worst, worst_loss = batch, tf.fill([size], -np.inf)
        for restart in range(starts.restarts):
            candidate = climb(gradient_here, starts(restart, batch, numbers), batch)
            if starts.restarts == 1:
                worst = candidate
                break
            candidate_loss = image_loss(candidate, truth)
            better = candidate_loss > worst_loss
            worst, worst_loss = chosen(better, candidate, worst), tf.where(better, candidate_loss, worst_loss)
        found = np.asarray(worst)[: len(clean) - begin]
        if starts.norm is LEVELS:
            found = as_floats(storage.levels(found))  # A graph multiplies by 1 / 255, which isn't quite the same.
        adversarial[piece] = stored(found, clean[piece])
    return tf.convert_to_tensor(adversarial) if tf.is_tensor(images) else adversarial


def value_and_gradient(model, loss, images, labels):
    """The loss of each image, `(batch,)`, and its gradient, shaped like `images`. Pure: runs inside any graph."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        losses = loss(labels, model(images, training=False))
    return losses, tape.gradient(losses, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def ascend(model, loss, images, labels, clean, *, epsilon, step_size, norm=LINF):
    """One step of PGD. Pure: training calls it inside its own graph."""
    _, gradient = value_and_gradient(model, loss, images, labels)
    return moved(images, gradient, clean, epsilon, step_size, norm)


def moved(images, gradient, clean, epsilon, step_size, norm=LINF):
    """Images moved by `step_size` along the gradient, and back into the ball around `clean`. Pure."""
    return norm.project(images + step_size * norm.direction(gradient), clean, epsilon)


def random_images(images, epsilon, seed, indices, norm=LINF):
    """Images moved to a random point of the ball: a function of `seed` (two integers) and each image's number."""

    def noise(index):
        return norm.noise(tf.shape(images)[1:], tf.random.experimental.stateless_fold_in(seed, index))

    changes = tf.map_fn(noise, indices, fn_output_signature=images.dtype)
    return norm.project(images + epsilon * changes, images, epsilon)


# A user's loop calls an attack many times with the same model: traced once per model, later calls start at once. The
# batch dimension is left open, so that no number of images traces again.
@functools.lru_cache(maxsize=32)
def compiled(model, loss, image_shape, label_shape, precision):
    """Two compiled functions of images and labels: `value_and_gradient` in a precision, and the model's own loss."""
    images, labels = (
        tf.TensorSpec((None, *image_shape), name="images"),
        tf.TensorSpec((None, *label_shape), name="labels"),
    )
    own = _of_labels(model, label_shape)
    climbed = own if precision == "float32" else _of_labels(twin.of(model, twin.dtype(precision)), label_shape)
    # Keras's own layers need no AutoGraph, which takes a second to read them; a user's code may.
    function = functools.partial(tf.function, input_signature=[images, labels], autograph=not twin.known(model))
    return (
        function(lambda images, labels: value_and_gradient(climbed, loss, images, labels)),
        function(lambda images, labels: loss(labels, own(images, training=False))),
    )


def _of_labels(model, label_shape):
    """The model, which refuses to answer with other columns than there are labels: a loss would broadcast them."""

    def checked(images, training=False):
        logits = model(images, training=training)
        if logits.shape.rank is not None and not logits.shape[1:].is_compatible_with(label_shape):
            raise ValueError(
                f"The model must return a logit for each label, (batch, {', '.join(map(str, label_shape))}). "
                f"Received: {tuple(logits.shape)}"
            )
        return logits

    return checked


@functools.cache
def _compiled_with(norm, function):
    return tf.function(functools.partial(function, norm=norm), reduce_retracing=True, autograph=False)


def chosen(mask, images, others):
    """The images where a mask `(batch,)` is true, else the others."""
    return tf.where(mask[:, None, None, None], images, others)


def _padded(array, size):
    """The array with its first row repeated up to `size` rows, so that every batch has the same shape."""
    kind = np.int64 if array.ndim == 1 else np.float32
    rows = np.concatenate([array, np.repeat(array[:1], size - len(array), axis=0)]) if len(array) < size else array
    return tf.convert_to_tensor(rows.astype(kind))
