"""Activation functions, by Keras's names and definitions, as ONNX operators.

Each is a value that `activation=` takes, as it takes its name; called with a symbolic tensor it adds an `Activation`
layer. Those of Keras that are missing are sparsemax, which sorts, and glu and threshold, which need an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.graph import Graph
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.naming import own_names
from convc.frontends.dsl.problem import ModelError
from convc.frontends.dsl.tensor import SymbolicTensor, connect

Identifier: TypeAlias = str | Callable[[Any], Any] | None
"""What `activation=` takes: a name; a function of this module, a layer without weights or any other function of a
symbolic tensor; None for none."""


@dataclass(frozen=True)
class Activation:
    """A function of each element, or of each place's channels."""

    name: str
    emit: Callable[[Emitter, Value], Value]
    elementwise: bool = False
    """Whether it is known to be the same wherever the channels are."""

    def __call__(self, x: SymbolicTensor) -> SymbolicTensor:
        from convc.frontends.dsl.activation_layers import Activation as ActivationLayer

        result: SymbolicTensor = ActivationLayer(self)(x)
        return result


_KNOWN: dict[str, Activation] = {}


def _activation(emit: Callable[[Emitter, Value], Value]) -> Activation:
    """Make an activation of a function that emits it, under the function's name."""
    _KNOWN[emit.__name__] = Activation(emit.__name__, emit, "softmax" not in emit.__name__)
    return _KNOWN[emit.__name__]


def known(name: str) -> Activation | None:
    """The activation of a name, if it is one."""
    return _KNOWN.get({"swish": "silu", "hard_swish": "hard_silu"}.get(name, name))


def get(identifier: Identifier, layer: Layer) -> Activation:
    """The activation that a layer's argument means. Raises ModelError."""
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, str):
        found = known(identifier)
        if found is None:
            raise layer.problem(f"activation: expected one of {', '.join(_KNOWN)}, got {identifier!r}")
        return found
    if not callable(identifier):
        raise layer.problem(f"activation: expected a name or a function, got {identifier!r}")
    return _traced(identifier, layer)


def _traced(function: Callable[[Any], Any], layer: Layer) -> Activation:
    """A function of symbolic tensors as an activation: the layers that it calls are written out where it is used."""
    name = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)

    def emit(e: Emitter, x: Value) -> Value:
        source = connect(layer, [], [x.shape], 0).outputs[0]
        try:
            with own_names():
                graph = Graph([source], [function(source)])
        except ModelError:
            raise
        except Exception as error:  # whatever a user's function does with a tensor that has no elements
            raise layer.problem(f"activation: expected a function of symbolic tensors, {name} fails: {error}") from None
        if weighted := [inner.name for inner in graph.layers if inner is not layer and inner.weights]:
            raise layer.problem(
                f"activation: expected a function without weights, {weighted[0]} has some: add the layer"
            )
        return e.run(graph, [x])[0]

    return Activation(str(name), emit)


@_activation
def linear(e: Emitter, x: Value) -> Value:
    return x


@_activation
def relu(e: Emitter, x: Value) -> Value:
    return e.apply("Relu", x)


@_activation
def relu6(e: Emitter, x: Value) -> Value:
    return e.apply("Clip", x, 0, 6)


@_activation
def leaky_relu(e: Emitter, x: Value) -> Value:
    return e.apply("LeakyRelu", x, alpha=0.2)


@_activation
def elu(e: Emitter, x: Value) -> Value:
    return e.apply("Elu", x)


@_activation
def selu(e: Emitter, x: Value) -> Value:
    return e.apply("Selu", x)


@_activation
def celu(e: Emitter, x: Value) -> Value:
    return e.apply("Celu", x)


@_activation
def sigmoid(e: Emitter, x: Value) -> Value:
    return e.apply("Sigmoid", x)


@_activation
def hard_sigmoid(e: Emitter, x: Value) -> Value:
    return e.apply("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@_activation
def silu(e: Emitter, x: Value) -> Value:
    return e.apply("Mul", x, e.apply("Sigmoid", x))


@_activation
def hard_silu(e: Emitter, x: Value) -> Value:
    return e.apply("HardSwish", x)


@_activation
def gelu(e: Emitter, x: Value) -> Value:
    """x * (1 + erf(x / sqrt 2)) / 2, the form that exporters write before opset 20 has the operator."""
    erf = e.apply("Erf", e.apply("Div", x, math.sqrt(2)))
    return e.apply("Mul", e.apply("Mul", x, e.apply("Add", erf, 1)), 0.5)


@_activation
def mish(e: Emitter, x: Value) -> Value:
    return e.apply("Mul", x, e.apply("Tanh", e.apply("Softplus", x)))


@_activation
def tanh(e: Emitter, x: Value) -> Value:
    return e.apply("Tanh", x)


@_activation
def hard_tanh(e: Emitter, x: Value) -> Value:
    return e.apply("Clip", x, -1, 1)


@_activation
def tanh_shrink(e: Emitter, x: Value) -> Value:
    return e.apply("Sub", x, e.apply("Tanh", x))


@_activation
def hard_shrink(e: Emitter, x: Value) -> Value:
    return e.apply("Shrink", x, lambd=0.5, bias=0.0)


@_activation
def soft_shrink(e: Emitter, x: Value) -> Value:
    return e.apply("Shrink", x, lambd=0.5, bias=0.5)


@_activation
def exponential(e: Emitter, x: Value) -> Value:
    return e.apply("Exp", x)


@_activation
def softplus(e: Emitter, x: Value) -> Value:
    return e.apply("Softplus", x)


@_activation
def softsign(e: Emitter, x: Value) -> Value:
    return e.apply("Softsign", x)


@_activation
def log_sigmoid(e: Emitter, x: Value) -> Value:
    return e.apply("Neg", e.apply("Softplus", e.apply("Neg", x)))


@_activation
def squareplus(e: Emitter, x: Value) -> Value:
    """(x + sqrt(x^2 + 4)) / 2"""
    root = e.apply("Sqrt", e.apply("Add", e.apply("Mul", x, x), 4))
    return e.apply("Mul", e.apply("Add", x, root), 0.5)


@_activation
def sparse_plus(e: Emitter, x: Value) -> Value:
    """0 up to -1, (x + 1)^2 / 4 up to 1, x beyond: the square of the clipped part, and the rest."""
    bent = e.apply("Add", e.apply("Clip", x, -1, 1), 1)
    return e.apply("Add", e.apply("Mul", e.apply("Mul", bent, bent), 0.25), e.apply("Relu", e.apply("Sub", x, 1)))


@_activation
def sparse_sigmoid(e: Emitter, x: Value) -> Value:
    return e.apply("HardSigmoid", x, alpha=0.5, beta=0.5)


@_activation
def softmax(e: Emitter, x: Value) -> Value:
    return e.apply("Softmax", x, axis=x.axis(-1))


@_activation
def log_softmax(e: Emitter, x: Value) -> Value:
    return e.apply("LogSoftmax", x, axis=x.axis(-1))
