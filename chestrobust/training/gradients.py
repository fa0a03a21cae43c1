"""A step's gradients by a model's weights, at the weights as they are or at the worst ones near them, and by images."""

import keras
import tensorflow as tf


def computed(loss, variables, *, images=(), weight_epsilon=0.0, clip_norm=0.0):
    """The gradients that a replica hands to the optimizer, which sums those of all replicas.

    With `weight_epsilon` they are taken where the weights are after a step up the loss, while the weights themselves,
    BatchNorm's statistics and seeds stay as the first pass left them: adversarial weight perturbation (AWP).

    Args:
        loss: Function without arguments that calls the model and returns this replica's share of the loss, a scalar,
            and anything else.
        variables: Keras variables to train.
        images: Tensors that `loss` uses, whose gradients at the weights as they are come from the same pass.
        weight_epsilon: Length of that step for each kernel, as a share of the kernel's own length.
        clip_norm: Largest length of the sum of all replicas' gradients by the variables; 0 for any.

    Returns:
        What `loss` returned at the weights as they are, and the gradients: by the variables, then by the images.

    Reference: Wu et al., 2020, https://arxiv.org/abs/2004.05884
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total, other = loss()
    gradients, slopes = tape.gradient(total, (variables, images))
    if weight_epsilon:
        worst = raised(variables, gradients, weight_epsilon)
        with tf.GradientTape() as tape, keras.StatelessScope(zip(variables, worst, strict=True)):
            tape.watch(worst)
            higher, _ = loss()
        gradients = tape.gradient(higher, worst)
    return total, other, [*_clipped(gradients, clip_norm), *slopes]


def raised(variables, gradients, epsilon):
    """Weights after a step up the loss; offsets, scales and what has no gradient stay.

    Args:
        variables: Keras variables.
        gradients: This replica's share of their gradients, tensors or None.
        epsilon: Length of the step for each kernel, as a share of the kernel's own length.

    Returns:
        Tensors.
    """
    moved = []
    for variable, gradient in zip(variables, gradients, strict=True):
        weights = tf.convert_to_tensor(variable)
        if gradient is not None and len(weights.shape) > 1:
            gradient = _summed(gradient)
            weights += epsilon * tf.norm(weights) * tf.math.divide_no_nan(gradient, tf.norm(gradient))
        moved.append(weights)
    return moved


def _summed(gradients):
    return tf.distribute.get_replica_context().all_reduce("SUM", gradients)


def _clipped(gradients, norm):
    if not norm:
        return gradients
    length = tf.linalg.global_norm(_summed(gradients))
    return [gradient * (norm / tf.maximum(length, norm)) for gradient in gradients]
