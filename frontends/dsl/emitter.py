"""Writes ONNX nodes. Images are kept channels first between layers, and transposed where a layer needs it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from convc.frontends.dsl.graph import Graph
from convc.frontends.dsl.layer import Weight
from convc.frontends.dsl.tensor import Shape, SymbolicTensor

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # what onnx wrote for opset 17: older readers take it too


def to_first(rank: int) -> list[int]:
    """The permutation from channels last to channels first."""
    return [0, rank - 1, *range(1, rank - 1)]


def to_last(rank: int) -> list[int]:
    """The permutation from channels first to channels last."""
    return [0, *range(2, rank), 1]


class Value:
    """What a layer computed: its shape, channels last, and the name of the ONNX value that holds it in either order.

    Below rank 3 the two orders are one.
    """

    def __init__(self, shape: Shape, name: str, *, first: bool) -> None:
        self.shape = shape
        either = len(shape) < 3
        self._first = name if first or either else None
        self._last = name if not first or either else None
        self.is_first = first and not either
        """Whether it was computed channels first."""

    @property
    def rank(self) -> int:
        """The number of axes, the batch's among them."""
        return len(self.shape)

    @property
    def name(self) -> str:
        """The ONNX value as it was computed."""
        name = self._first if self.is_first else self._last
        assert name is not None
        return name

    @property
    def one_order(self) -> bool:
        """Whether the elements lie in one order in memory either way: one channel, or one place."""
        return self.rank < 3 or self.shape[-1] == 1 or all(size == 1 for size in self.shape[1:-1])

    def axis(self, axis: int) -> int:
        """Where an axis of the shape is in the ONNX value as it was computed."""
        return to_first(self.rank).index(axis % self.rank) if self.is_first else axis % self.rank

    def arranged(self, array: np.ndarray) -> np.ndarray:
        """An array that broadcasts against the shape, in the order of the ONNX value as it was computed."""
        array = array.reshape([1] * (self.rank - array.ndim) + list(array.shape))
        return array.transpose(to_first(self.rank)) if self.is_first else array


class Emitter:
    """One ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()
        self._scopes: list[str] = []
        self._weights: dict[tuple[int, str], str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    # Nodes

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node with one output, called by the layers it is in and its operator; the output's name."""
        return self.nodes_of(op, inputs, 1, **attributes)[0]

    def nodes_of(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Append a node with several outputs; their names."""
        names = [self.unique("/".join([*self._scopes, op])) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def apply(self, op: str, *operands: Value | float, **attributes: Any) -> Value:
        """An elementwise operator on values of one shape and on numbers."""
        values = [operand for operand in operands if isinstance(operand, Value)]
        first = any(value.is_first for value in values)
        names = [
            self.in_order(x, first) if isinstance(x, Value) else self.constant(np.float32(x), "scalar")
            for x in operands
        ]
        return Value(values[0].shape, self.node(op, names, **attributes), first=first)

    def affine(self, x: Value, scale: np.ndarray, shift: np.ndarray) -> Value:
        """x * scale + shift, with arrays that broadcast against x's shape."""
        for op, array, what in (("Mul", scale, "scale"), ("Add", shift, "shift")):
            if array.any() or op == "Mul":
                array = x.arranged(array) if array.size > 1 else array.reshape(())
                constant = self.constant(array.astype(np.float32), what)
                x = Value(x.shape, self.node(op, [x.name, constant]), first=x.is_first)
        return x

    # Values

    def first(self, value: Value) -> str:
        """A value channels first."""
        if value._first is None:
            value._first = self.node("Transpose", [value.name], perm=to_first(value.rank))
        return value._first

    def last(self, value: Value) -> str:
        """A value channels last."""
        if value._last is None:
            value._last = self.node("Transpose", [value.name], perm=to_last(value.rank))
        return value._last

    def in_order(self, value: Value, first: bool) -> str:
        """A value channels first, or last."""
        return self.first(value) if first else self.last(value)

    def flat(self, value: Value) -> str:
        """A value whose elements lie in memory as they do channels last."""
        return value.name if value.one_order else self.last(value)

    def moved_last(self, value: Value) -> Value:
        """A value whose axis 1 holds the channels, as one whose last axis does: they lie in memory as before."""
        if value.rank < 3:
            return value
        return Value((value.shape[0], *value.shape[2:], value.shape[1]), self.last(value), first=True)

    def moved_first(self, value: Value) -> Value:
        """The reverse."""
        if value.rank < 3:
            return value
        return Value((value.shape[0], value.shape[-1], *value.shape[1:-1]), self.first(value), first=False)

    # Constants

    def constant(self, array: np.ndarray | np.generic, what: str) -> str:
        """An initializer; equal ones are one."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._initializer(array, self.unique("/".join([*self._scopes, what])))
        return self._constants[key]

    def ints(self, values: Sequence[int], what: str) -> str:
        """An initializer of int64, as shapes and axes are."""
        return self.constant(np.array(values, np.int64), what)

    def weight(self, weight: Weight, order: str, arrange: Callable[[np.ndarray], np.ndarray]) -> str:
        """A layer's weight arranged for ONNX, once however often the layer is called; `order` names the arrangement."""
        key = (id(weight), order)
        if key not in self._weights:
            name = self.unique("/".join([*self._scopes, weight.name]))
            self._weights[key] = self._initializer(np.ascontiguousarray(arrange(weight.numpy())), name)
        return self._weights[key]

    def bias(self, weight: Weight | None) -> list[str]:
        """A layer's bias as the last inputs of a node: none if it has none."""
        return [self.weight(weight, "C", np.asarray)] if weight else []

    def _initializer(self, array: np.ndarray, name: str) -> str:
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    # Names

    def unique(self, name: str) -> str:
        """The name, with a number if it is taken."""
        found, count = name, 0
        while found in self._names:
            count += 1
            found = f"{name}_{count}"
        self._names.add(found)
        return found

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names inside begin with the layer's."""
        self._scopes.append(name)
        yield
        self._scopes.pop()

    # Graphs

    def run(self, graph: Graph, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a graph of layers, whose nodes are appended."""
        values: dict[SymbolicTensor, Value] = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            if node.inputs:
                with self.scope(node.layer.name):
                    results = node.layer.emit_all(self, [values[tensor] for tensor in node.inputs])
                values.update(zip(node.outputs, results, strict=True))
        return [values[tensor] for tensor in graph.outputs]
