"""What is asked of how Keras keeps a model together: its layers, and its calls in the order in which it makes them.

Keras exports no such list, so `clone_model` walks the graph and what it would call is written down.
"""

from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """A call of an operation in a graph: `result = operation(*arguments, **options)`, where tensors are symbolic."""

    operation: keras.Operation
    arguments: tuple
    options: dict[str, Any]
    result: Any


class Graph(NamedTuple):
    """Symbolic inputs and outputs, and the calls that lead from the ones to the others."""

    inputs: list
    calls: list[Call]
    outputs: list


class _Noted(keras.Operation):
    """Stands for an operation in a copied graph, so that the operation itself isn't called and keeps no trace of it."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def compute_output_spec(self, *arguments, **options):
        return self.operation.compute_output_spec(*arguments, **options)


def of(model):
    """The `Graph` of a functional model, or None if there is none to be had.

    Only what `keras.Model(inputs, outputs)` itself returns is read, since a subclass may do anything when it is called.
    """
    calls = []

    def note(operation, *arguments, **options):
        result = _Noted(operation)(*arguments, **options)
        calls.append(Call(operation, arguments, options, result))
        return result

    try:
        plain = keras.Model(model.inputs, model.outputs, name=model.name)  # without an optimizer, which would be copied
        if type(model) is not type(plain):
            return None
        copy = keras.models.clone_model(plain, clone_function=lambda operation: operation, call_function=note)
    except (AttributeError, NotImplementedError, TypeError, ValueError):  # Not a model, or one that can't be walked.
        return None
    return Graph(copy.inputs, calls, copy.outputs)


def layers(model):
    """All layers of a model, those of nested models too."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers(layer)


def operations(model):
    """All operations of a model, layers too, and those of nested models."""
    models = [model, *(layer for layer in layers(model) if isinstance(layer, keras.Model))]
    return list({id(one): one for inner in models for one in getattr(inner, "operations", inner.layers)}.values())


def tensors(model):
    """What every operation of a model, and of those nested in it, returns at each of its calls, as symbolic tensors."""
    nodes = [node for operation in operations(model) for node in operation._inbound_nodes]
    return [tensor for node in nodes for tensor in node.output_tensors]


def shapes(model, size):
    """Shapes of what the operations of a model return for an image, its open sides of `size` pixels.

    The model isn't of use afterwards.
    """
    found = []

    def noting(compute):
        def noted(*arguments, **options):
            result = compute(*arguments, **options)
            found.extend(tensor.shape for tensor in keras.tree.flatten(result))
            return result

        return noted

    for operation in operations(model):
        operation.compute_output_spec = noting(operation.compute_output_spec)
    shape = [side or size for side in model.inputs[0].shape[1:]]
    model.compute_output_spec(keras.KerasTensor((1, *shape), model.inputs[0].dtype))
    return found


def maker(tensor):
    """The `Call` that a symbolic tensor of a model came from; None of an input or of what is no symbolic tensor."""
    operation, place, _ = getattr(tensor, "_keras_history", None) or (None, 0, 0)
    if operation is None or isinstance(operation, keras.layers.InputLayer):
        return None
    arguments = operation._inbound_nodes[place].arguments
    return Call(operation, tuple(arguments.args), dict(arguments.kwargs), tensor)


def output_number(tensor):
    """Which of the outputs of its operation a symbolic tensor is."""
    return tensor._keras_history.tensor_index


def twice(layer, **attributes):
    """A second layer of the same variables, without the first one's calls; `copy.copy` would make other variables."""
    second = object.__new__(type(layer))
    second.__dict__ |= layer.__dict__ | {"_inbound_nodes": [], "_outbound_nodes": []}
    for name, value in attributes.items():
        setattr(second, name, value)
    return second


def inputs(model):
    """The symbolic input of a model, or its inputs if it has several."""
    return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def is_graph(model):
    """Whether a model is calls alone, functional or a Sequential: a subclass may do anything when it is called."""
    try:
        plain = type(keras.Model(model.inputs, model.outputs))
    except (AttributeError, TypeError, ValueError):  # Not a model, or one that was never built.
        return False
    return type(model) in (plain, keras.Sequential)


def functional(model, image_shape):
    """A model as one with a graph: a subclass, or a Sequential that was never built, is a single call in it.

    Args:
        model: Any `keras.Model`, or a layer that takes images.
        image_shape: Shape of what it takes, without the batch, where it doesn't say so itself.
    """
    if is_graph(model):
        return keras.Model(inputs(model), model.outputs, name=model.name)
    images = keras.Input(image_shape, name="images")
    return keras.Model(images, model(images, training=False), name=model.name)


def ordinary(layer):
    """Whether a layer computes in float32 what its documentation says, channels last."""
    return (
        layer.compute_dtype == "float32"
        and layer.quantization_mode is None
        and getattr(layer, "data_format", "channels_last") in (None, "channels_last")
        and _of_the_last_axis(layer)
        and not getattr(layer, "renorm", False)
        and not getattr(layer, "lora_enabled", False)
    )


def _of_the_last_axis(layer):
    axis = getattr(layer, "axis", -1)
    axis = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
    return axis == -1 or axis == len(layer.output.shape) - 1
