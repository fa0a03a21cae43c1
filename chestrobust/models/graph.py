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
