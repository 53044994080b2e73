"""Recurrent layers, unrolled: a step is a few kernels, and all steps share them.

    A_t = X_t W^T + H_(t-1) R^T + b

The products with X are made for all steps at once. What belongs to a step is a range of their memory, as H_t is of Y:
so that these ranges are aligned, a layer is computed with its neurons in whole blocks. Those added have weights of 0,
and nothing reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from convc.frontends.onnx.gates import LENGTHS, B, C, H, Layer, P, R, W, X, activations
from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.slicing import taken
from convc.ir.attributes import shape_of
from convc.ir.data import ConcatOp
from convc.ir.functions import Fn

_MAX_STEPS = 4096
"""Each takes some 50 ms of a build."""
_DIRECTIONS = {"forward": (1,), "reverse": (-1,), "bidirectional": (1, -1)}

States = tuple[SSAValue, ...]
"""H, and of an LSTM C: each `[N, width]`."""
Step = Callable[[int, States], States]
"""The states after a step, by those before it."""


@dataclass(frozen=True)
class _Cell:
    gates: int
    activations: Sequence[str]
    states: Sequence[int]
    make: Callable[[Layer], Step]


def _rnn(layer: Layer) -> Step:
    """H = f(A)"""
    node, from_x, from_h = layer.node, layer.inputs(0, 1), layer.recurrent(0, 1)

    def step(t: int, states: States) -> States:
        return (layer.gate(0, node.apply(Fn.ADD, from_h(states[0]), layer.step(from_x, t))),)

    return step


def _gru(layer: Layer) -> Step:
    """Z, R = f(A);  H' = g(X W^T + (R H) R^T + b), or g(X W^T + b + R (H R^T + b')) with `linear_before_reset`;
    (1 - Z) H' + Z H. A gate is a product of its own, so that what follows it is in registers."""
    node, late = layer.node, layer.node.attribute("linear_before_reset", 0)
    from_x = [layer.inputs(0, 1), layer.inputs(1, 1), layer.inputs(2, 1, whole_bias=not late)]
    from_h = [layer.recurrent(i, 1) for i in range(3)]
    bias = layer.vectors(B, 5, 1) if late and node.has(B) else None

    def step(t: int, states: States) -> States:
        (h,) = states
        x = [layer.step(rows, t) for rows in from_x]
        z, r = (layer.gate(0, node.apply(Fn.ADD, from_h[i](h), x[i])) for i in range(2))
        if late:
            product = from_h[2](h)
            product = node.apply(Fn.ADD, product, bias) if bias is not None else product
            product = node.apply(Fn.MUL, r, product)
        else:
            product = from_h[2](node.apply(Fn.MUL, r, h))
        new = layer.gate(1, node.apply(Fn.ADD, product, x[2]))
        rest = node.apply(Fn.SUB, node.scalar(1, z), z)
        return (node.apply(Fn.ADD, node.apply(Fn.MUL, rest, new), node.apply(Fn.MUL, z, h)),)

    return step


def _lstm(layer: Layer) -> Step:
    """I, F = f(A + P C);  C' = F C + I g(A);  O = f(A + P C');  O h(C'). With `input_forget` F is 1 - I."""
    node, from_x, from_h = layer.node, layer.inputs(0, 4), layer.recurrent(0, 4)
    peepholes = [layer.vectors(P, i, 1) for i in range(3)] if node.has(P) else []

    def peeped(gate: SSAValue, number: int, c: SSAValue) -> SSAValue:
        gate = node.apply(Fn.ADD, gate, node.apply(Fn.MUL, peepholes[number], c)) if peepholes else gate
        return layer.gate(0, gate)

    def step(t: int, states: States) -> States:
        h, c = states
        gates = node.apply(Fn.ADD, from_h(h), layer.step(from_x, t))
        i, o, f, new = (layer.column(gates, number) for number in range(4))
        i = peeped(i, 0, c)
        f = node.apply(Fn.SUB, node.scalar(1, i), i) if node.attribute("input_forget", 0) else peeped(f, 2, c)
        c = node.apply(Fn.ADD, node.apply(Fn.MUL, f, c), node.apply(Fn.MUL, i, layer.gate(1, new)))
        return node.apply(Fn.MUL, peeped(o, 1, c), layer.functions[2](c)), c

    return step


_CELLS = {
    "RNN": _Cell(1, ["Tanh"], [H], _rnn),
    "GRU": _Cell(3, ["Sigmoid", "Tanh"], [H], _gru),
    "LSTM": _Cell(4, ["Sigmoid", "Tanh", "Tanh"], [H, C], _lstm),
}


@converter(*_CELLS)
def convert_recurrent(node: Node) -> list[SSAValue]:
    """(H of all steps `[T, D, N, H]`, of the last `[D, N, H]`, C of the last) of X `[T, N, I]`; with `layout` 1
    `[N, T, D, H]`, `[N, D, H]` and `[N, T, I]`."""
    cell, batch_first = _CELLS[node.op_type], node.attribute("layout", 0)
    layers = _layers(node, cell)
    node.fill(sum(layer.filling for layer in layers) * cell.gates)
    every: dict[tuple[int, int], SSAValue] = {}  # H by step and direction
    last: list[States] = []
    for layer in layers:
        step, states = cell.make(layer), tuple(layer.state(position) for position in cell.states)
        for t in layer.order:
            states = step(t, states)
            every[t, layer.number] = states[0]
        last.append(states)

    def joined(parts: Sequence[SSAValue], *axes: int) -> SSAValue:
        """States `[N, width]` of some steps, those of all directions beside each other, as `[*axes, D, N, H]`."""
        y = node.emit(ConcatOp(parts, 0)) if len(parts) > 1 else parts[0]
        y = node.reshape(y, [*axes, len(layers), layers[0].batch, layers[0].width])
        y = taken(node, y, len(axes) + 2, 0, layers[0].hidden)
        return node.transpose(y, [2, 0, 1, 3] if axes else [1, 0, 2]) if batch_first else y

    y = [every[key] for key in sorted(every)]
    return [
        joined(y, len(y) // len(layers)),
        *(joined([states[i] for states in last]) for i in range(len(cell.states))),
    ]


def _layers(node: Node, cell: _Cell) -> list[Layer]:
    """A layer a direction, after checks of what the node is given."""
    directions = _DIRECTIONS.get(node.attribute("direction", "forward"))
    if directions is None:
        raise ValueError(f"expected a direction of {', '.join(_DIRECTIONS)}, got {node.attribute('direction')}")
    if len(node.shape(X)) != 3 or len(node.shape(R)) != 3:
        raise ValueError(f"expected X and R of three axes, got {node.shape(X)} and {node.shape(R)}")
    batch_first, count = node.attribute("layout", 0), len(directions)
    x = node.transpose(node.value(X), [1, 0, 2]) if batch_first else node.value(X)
    steps, batch, inputs = shape_of(x)
    if not 1 <= steps <= _MAX_STEPS:
        raise ValueError(f"expected 1 to {_MAX_STEPS} steps, got {steps}")
    hidden = node.attribute("hidden_size", node.shape(R)[2])
    rows, states = cell.gates * hidden, (batch, count, hidden) if batch_first else (count, batch, hidden)
    expected = {
        "W": (W, (count, rows, inputs)),
        "R": (R, (count, rows, hidden)),
        "B": (B, (count, 2 * rows)),
        "sequence_lens": (LENGTHS, (batch,)),
        "initial_h": (H, states),
        "initial_c": (C, states),
        "P": (P, (count, 3 * hidden)),
    }
    for name, (position, shape) in expected.items():
        if node.has(position) and node.shape(position) != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {node.shape(position)}")
    if node.has(LENGTHS) and (lengths := node.constant(LENGTHS, "sequence_lens")).tolist() != [steps] * batch:
        raise ValueError(f"expected sequences of all {steps} steps of X, got sequence_lens {lengths.tolist()}")
    flat = node.reshape(x, [steps * batch, inputs])
    functions = activations(node, cell.activations, count)
    return [
        Layer(node, number, range(steps)[::direction], flat, functions[number])
        for number, direction in enumerate(directions)
    ]
