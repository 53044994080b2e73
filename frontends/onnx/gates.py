"""What the gates of recurrent layers are made of: their operands in whole blocks of neurons, products, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.activation import activation
from convc.frontends.onnx.registry import Node
from convc.frontends.onnx.slicing import taken
from convc.ir.attributes import shape_of
from convc.ir.data import PadOp
from convc.ir.functions import Fn
from convc.ir.layout import filled
from convc.ir.neural import MatMulOp

X, W, R, B, LENGTHS, H, C, P = range(8)
"""The inputs of a recurrent node."""
BLOCK = 16
"""Neurons of a block: float32 numbers of a cache line."""

Function = Callable[[SSAValue], SSAValue]

_PARAMETERS: Mapping[str, Mapping[str, float | None]] = {
    "Affine": {"alpha": None, "beta": 0.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "Relu": {},
    "ScaledTanh": {"alpha": None, "beta": None},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": None},
}
"""The activations with their parameters, and those defaults that the standard and onnxruntime agree on."""


def activations(node: Node, defaults: Sequence[str], directions: int) -> list[list[Function]]:
    """The activations of each direction. Lists of parameters hold one for each that takes it, in order."""
    names = node.attribute("activations", [*defaults] * directions)
    if len(names) != len(defaults) * directions:
        raise ValueError(f"expected {len(defaults) * directions} activations, got {', '.join(names)}")
    given = {name: iter(node.attribute(f"activation_{name}", [])) for name in ("alpha", "beta")}
    found = [_activation(node, name, given) for name in names]
    return [found[i : i + len(defaults)] for i in range(0, len(found), len(defaults))]


def _activation(node: Node, name: str, given: Mapping[str, Iterator[float]]) -> Function:
    if name not in _PARAMETERS:
        raise ValueError(f"expected activations of {', '.join(_PARAMETERS)}, got {name}")
    params = []
    for parameter, default in _PARAMETERS[name].items():
        value = next(given[parameter], default)
        if value is None:
            raise ValueError(f"expected an activation_{parameter} for {name}, got none")
        params.append(value)
    if name == "Affine":
        return lambda x: _affine(node, x, *params)
    if name == "ScaledTanh":
        return lambda x: _affine(node, node.apply(Fn.TANH, _affine(node, x, params[1])), params[0])
    return lambda x: activation(node, name, x, params)


def _affine(node: Node, x: SSAValue, alpha: float, beta: float = 0.0) -> SSAValue:
    """alpha * x + beta"""
    x = node.apply(Fn.MUL, x, node.scalar(alpha, x))
    return node.apply(Fn.ADD, x, node.scalar(beta, x)) if beta else x


@dataclass
class Layer:
    """One direction of a recurrent node: `x` is `[T * N, inputs]`, `order` the steps as they are taken."""

    node: Node
    number: int
    order: Sequence[int]
    x: SSAValue
    functions: Sequence[Function]

    def __post_init__(self) -> None:
        self.batch = shape_of(self.x)[0] // len(self.order)
        self.hidden = self.node.shape(R)[2]
        self.width = filled(self.hidden, BLOCK)  # the neurons that are computed

    @property
    def filling(self) -> int:
        """Multiply-accumulates of one gate in all steps that are those of neurons added to fill the last block."""
        inputs = shape_of(self.x)[1]
        padded, own = (neurons * (inputs + neurons) for neurons in (self.width, self.hidden))
        return shape_of(self.x)[0] * (padded - own)

    def gate(self, function: int, x: SSAValue) -> SSAValue:
        """The activation of a gate, whose argument is clipped if the node says so."""
        clip = self.node.attribute("clip", 0.0)
        return self.functions[function](self.node.apply(Fn.CLIP, x, min=-clip, max=clip) if clip else x)

    def state(self, position: int) -> SSAValue:
        """An initial state `[N, width]`: zeros unless it is given, as `[D, N, H]` or, by `layout`, `[N, D, H]`."""
        if not self.node.has(position):
            return self.node.weight(np.zeros([self.batch, self.width], self.node.dtype(X)), f"{position}.zeros")
        axis = 1 if self.node.attribute("layout", 0) else 0
        mine = taken(self.node, self.node.value(position), axis, self.number, 1)
        return self._padded(self.node.reshape(mine, [self.batch, self.hidden]), 1)

    def vectors(self, position: int, first: int, count: int) -> SSAValue:
        """Some vectors over the neurons, one after another: `[1, count * width]`."""
        rows = self.node.reshape(self._mine(position), [self.node.shape(position)[1] // self.hidden, self.hidden])
        rows = self._padded(taken(self.node, rows, 0, first, count), 1)
        return self.node.reshape(rows, [1, count * self.width])

    def inputs(self, first: int, gates: int, *, whole_bias: bool = True) -> SSAValue:
        """X W^T of some gates and their bias, with that of H R^T if it is the whole: `[T * N, gates * width]`."""
        y = self.node.emit(MatMulOp(self.x, self._weight(W, first, gates), transpose_b=True))
        if not self.node.has(B):
            return y
        bias, half = self.vectors(B, first, gates), self.node.shape(B)[1] // self.hidden // 2
        if whole_bias:
            bias = self.node.apply(Fn.ADD, bias, self.vectors(B, half + first, gates))
        return self.node.apply(Fn.ADD, y, bias)

    def recurrent(self, first: int, gates: int) -> Function:
        """H -> H R^T of some gates: `[N, gates * width]`."""
        r = self._padded(self._weight(R, first, gates), 1)
        return lambda h: self.node.emit(MatMulOp(h, r, transpose_b=True))

    def step(self, rows: SSAValue, t: int) -> SSAValue:
        """What belongs to a step of values of all steps: `[N, columns]`."""
        return taken(self.node, rows, 0, t * self.batch, self.batch)

    def column(self, gates: SSAValue, number: int) -> SSAValue:
        """One of several gates: `[N, width]`."""
        return taken(self.node, gates, 1, number * self.width, self.width)

    def _weight(self, position: int, first: int, gates: int) -> SSAValue:
        """`[gates * width, columns]`"""
        _, rows, columns = self.node.shape(position)
        w = self.node.reshape(self._mine(position), [rows // self.hidden, self.hidden, columns])
        w = self._padded(taken(self.node, w, 0, first, gates), 1)
        return self.node.reshape(w, [gates * self.width, columns])

    def _mine(self, position: int) -> SSAValue:
        return taken(self.node, self.node.value(position), 0, self.number, 1)

    def _padded(self, x: SSAValue, axis: int) -> SSAValue:
        """An axis of neurons with zeros to the width."""
        rank, more = len(shape_of(x)), self.width - self.hidden
        pads = [0] * rank + [more if i == axis else 0 for i in range(rank)]
        return self.node.emit(PadOp(x, pads)) if more else x
