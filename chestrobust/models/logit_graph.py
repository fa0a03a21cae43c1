"""Where in a classifier's graph its logits are: what its sigmoid or softmax is given, whatever stands behind that.

    tail = logit_graph.of(classifier)            # tail.activation(tail.model(images)) is what the classifier answers

The walk starts at the tensor that the classifier returns, not at its last layer. Layers are neither changed nor moved:
a dense layer with an activation gets a copy without one, of the same weights.
"""

import math
from typing import NamedTuple

import keras
from keras import layers, ops

from chestrobust.errors import ModelError
from chestrobust.models import graph

UNTOLD = "untold"  # the graph doesn't say whether these are logits or probabilities
# By the names of classes, as Keras exports no classes of its operations. What lets values through as they are, in
# inference; a clip keeps probabilities away from 0 and 1, where it changes more `check` will see it.
PASSING = ("Identity", "Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Cast")
SHAPING = ("Reshape", "Flatten", "Squeeze", "ExpandDims")
WITH_ACTIVATION = (layers.Dense, layers.EinsumDense, layers.Conv2D, layers.Conv1D)
TINY = 1e-37  # the smallest probability that has a logit in float32
LARGEST = 1 - 2**-24


class Tail(NamedTuple):
    """Logits and what turns them into the classifier's answers.

    Attributes:
        logits: A symbolic tensor, or the model of it.
        activation: `"sigmoid"`, `"softmax"`, `"linear"` if the classifier itself returns logits, or `UNTOLD`.
    """

    logits: object
    activation: str


def of(classifier):
    """The `Tail` of a functional classifier, with a model that returns its logits in float32.

    Args:
        classifier: A functional `keras.Model`. Several heads are put side by side, in their order.

    Raises:
        ModelError: If its answers come from no sigmoid, softmax or logits, or its heads from different ones.
    """
    tails = [_before(tensor) for tensor in classifier.outputs]
    logits, activation = _joined(tails) if len(tails) > 1 else tails[0]
    if logits.dtype != "float32":
        logits = layers.Activation("linear", dtype="float32", name="float32_logits")(logits)
    return Tail(keras.Model(graph.inputs(classifier), logits, name=f"{classifier.name}_logits"), activation)


def _before(tensor):
    """The `Tail` of a symbolic tensor."""
    call = graph.maker(tensor)
    if call is None:
        return Tail(tensor, UNTOLD)
    operation, kind = call.operation, type(call.operation).__name__
    argument = call.arguments[0] if call.arguments else next(iter(call.options.values()), None)
    if isinstance(operation, keras.Model):
        return _before_nested(call, tensor)
    if kind in PASSING:
        return _if_told(_before(argument), tensor)
    if kind in SHAPING:
        return _reshaped(_before(argument), tensor)
    if kind == "Clip":
        inner = _before(argument)
        return inner if inner.activation in ("sigmoid", "softmax") else Tail(tensor, inner.activation)
    if kind == "Concatenate":
        return _joined([_before(part) for part in argument], tensor)
    if kind in ("Sigmoid", "Softmax"):
        return Tail(argument, kind.lower())
    if hasattr(operation, "activation"):
        return _before_activation(operation, argument, tensor)
    return _mixture(tensor) or Tail(tensor, UNTOLD)


def _before_nested(call, tensor):
    """The tail of a nested model, which is called as the model itself was."""
    nested = call.operation
    if not graph.is_graph(nested):
        return Tail(tensor, UNTOLD)
    place = graph.output_number(tensor)
    inner = _before(nested.outputs[place])
    if inner.logits is nested.outputs[place]:
        return Tail(tensor, inner.activation)
    model = keras.Model(graph.inputs(nested), inner.logits, name=nested.name)
    options = {**call.options, "training": False} if "training" in call.options else call.options
    return Tail(model(*call.arguments, **options), inner.activation)


def _before_activation(operation, argument, tensor):
    """The tail of a layer with an activation, or of a layer that is one."""
    name = activation_name(operation.activation)
    only = isinstance(operation, layers.Activation)
    if name == "linear":
        return _if_told(_before(argument), tensor) if only else Tail(tensor, "linear")
    if name not in ("sigmoid", "softmax"):
        raise ModelError(f"expected sigmoid, softmax or logits at the end. Received: {name}.")
    if only:
        return Tail(argument, name)
    if not isinstance(operation, WITH_ACTIVATION):
        return Tail(tensor, UNTOLD)
    return Tail(_without_activation(operation)(argument), name)


def activation_name(activation):
    """What an activation is called, a function's or a layer's."""
    if isinstance(activation, layers.Activation):
        return activation_name(activation.activation)
    name = getattr(activation, "__name__", None) or type(activation).__name__
    return {"Sigmoid": "sigmoid", "Softmax": "softmax"}.get(name, name)


def _without_activation(layer):
    """A second layer of the same weights; the first keeps its activation, as it may be used elsewhere."""
    return graph.twice(layer, activation=keras.activations.linear, name=f"{layer.name}_logits")


def _if_told(inner, tensor):
    """The tail before something that changes no value; what is behind logits, or untold, stays as it is."""
    return inner if inner.activation in ("sigmoid", "softmax") else Tail(tensor, inner.activation)


def _reshaped(inner, tensor):
    if inner.activation not in ("sigmoid", "softmax") or inner.logits.shape == tensor.shape:
        return _if_told(inner, tensor)
    return Tail(layers.Reshape(tensor.shape[1:])(inner.logits), inner.activation)


def _joined(tails, tensor=None):
    """The tail of several heads side by side; `tensor` is what they are together, if it is in the graph."""
    activations = {tail.activation for tail in tails}
    if len(activations) == 1 and activations <= {"sigmoid", "linear"} | ({UNTOLD} if tensor is None else set()):
        flat = [tail.logits if len(tail.logits.shape) == 2 else layers.Flatten()(tail.logits) for tail in tails]
        return Tail(layers.Concatenate()(flat), activations.pop())
    if tensor is None:
        raise ModelError(
            f"expected one row of answers, or heads of sigmoids. Received heads of: {', '.join(sorted(activations))}."
        )
    return Tail(tensor, UNTOLD)


def _mixture(tensor):
    """The tail of a weighted mean of sigmoids, or of softmaxes: its exact logits; None if it is no such mean."""
    parts = _parts(tensor, 1.0)
    if len(parts) < 2 or not math.isclose(sum(weight for weight, _ in parts), 1, abs_tol=1e-6):
        return None
    tails = [_before(part) for _, part in parts]
    activations = {tail.activation for tail in tails}
    if activations not in ({"sigmoid"}, {"softmax"}):
        return None
    weights = [math.log(weight) for weight, _ in parts]

    def log_mean(of_one):
        logs = [of_one(tail.logits) + weight for tail, weight in zip(tails, weights, strict=True)]
        return ops.logsumexp(ops.stack(logs), axis=0)

    if activations == {"softmax"}:
        return Tail(log_mean(lambda z: z - ops.logsumexp(z, axis=-1, keepdims=True)), "softmax")
    # The logarithms of the mean probability of yes and of no.
    return Tail(log_mean(lambda z: -ops.softplus(-z)) - log_mean(lambda z: -ops.softplus(z)), "sigmoid")


def _parts(tensor, weight):
    """The tensors that a weighted sum is of, each with its weight."""
    call = graph.maker(tensor)
    kind = type(call.operation).__name__ if call else None
    if kind == "Average":
        return [part for one in call.arguments[0] for part in _parts(one, weight / len(call.arguments[0]))]
    if kind == "Add":
        both = call.arguments[0] if isinstance(call.arguments[0], list | tuple) else call.arguments
        if all(isinstance(one, keras.KerasTensor) for one in both):
            return [part for one in both for part in _parts(one, weight)]
    if kind in ("TrueDivide", "Divide", "Multiply") and len(call.arguments) == 2:
        first, second = call.arguments
        if kind == "Multiply" and not isinstance(first, keras.KerasTensor):
            first, second = second, first
        if isinstance(second, int | float) and second > 0:
            return _parts(first, weight * second if kind == "Multiply" else weight / second)
    return [(weight, tensor)]


def of_probabilities(model, activation):
    """A model of probabilities as one of their logits, `log(p) - log(1 - p)`, or `log(p)` of a softmax.

    Exact where float32 can tell the probability from 0 and 1; what is beyond has no gradient.
    """
    probabilities = ops.clip(model.output, TINY, LARGEST)
    logits = ops.log(probabilities)
    if activation == "sigmoid":
        logits -= ops.log1p(-probabilities)
    return keras.Model(graph.inputs(model), logits, name=model.name)
