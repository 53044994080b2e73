"""Converters by operator type, and what a converter is given: a node with its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
from xdsl.ir import Attribute, Operation, SSAValue

from convc.ir.attributes import ReduceKind, element_type, shape_of
from convc.ir.data import CastOp, ReshapeOp, TransposeOp
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp

if TYPE_CHECKING:
    from convc.frontends.onnx.importer import Importer

Value: TypeAlias = SSAValue | np.ndarray
"""A tensor of the model: known now (an array), or computed at run time (an SSA value of static shape)."""
Converter: TypeAlias = Callable[["Node"], Value | Sequence[Value]]

_CONVERTERS: dict[tuple[str, str], Converter] = {}

MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operators, which its graph optimiser writes into models."""


def converter(*op_types: str, domain: str = "") -> Callable[[Converter], Converter]:
    """Register a function that turns nodes of these types into operations. `node.opset` tells versions apart."""

    def register(function: Converter) -> Converter:
        for op_type in op_types:
            assert (domain, op_type) not in _CONVERTERS, f"two converters for {op_type}"
            _CONVERTERS[domain, op_type] = function
        return function

    return register


def find_converter(domain: str, op_type: str) -> Converter | None:
    """The converter of an operator, if there is one."""
    return _CONVERTERS.get(("" if domain == "ai.onnx" else domain, op_type))


def supported_operators() -> list[str]:
    """The operators that can be imported, sorted: ONNX's by their type, others as `domain.type`."""
    return sorted(f"{domain}.{op_type}" if domain else op_type for domain, op_type in _CONVERTERS)


class MustBeKnown(ValueError):
    """A node needs the elements of `values` at import, which are computed at run time."""

    def __init__(self, message: str, *values: Value) -> None:
        super().__init__(message)
        self.values = [value for value in values if isinstance(value, SSAValue)]


class Node:
    """An ONNX node being converted. Methods raise ValueError; the importer adds the node's name."""

    def __init__(
        self,
        proto: onnx.NodeProto,
        inputs: Sequence[Value | None],
        opset: int,
        wanted: Sequence[bool],
        importer: Importer,
    ) -> None:
        self.op_type = proto.op_type
        self.opset = opset
        self.wanted = wanted
        """For each output, whether anything reads it."""
        self._hint = next(filter(None, proto.output), proto.op_type)
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}
        self._inputs = inputs
        self._importer = importer

    # Operands

    def __len__(self) -> int:
        return len(self._inputs)

    def has(self, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(self._inputs) and self._inputs[position] is not None

    def given(self, position: int) -> Value:
        """An input as it is. Raises ValueError where it is absent."""
        value = self._inputs[position] if position < len(self._inputs) else None
        if value is None:
            raise ValueError(f"expected an input {position}, the node has {len(self._inputs)}")
        return value

    def value(self, position: int) -> SSAValue:
        """An input as an SSA value; a known array becomes a weight or a splat constant."""
        return self._importer.materialise(self.given(position), f"{self._hint}.{position}")

    def values(self) -> list[SSAValue]:
        """All inputs as SSA values."""
        return [self.value(position) for position in range(len(self._inputs))]

    def constant(self, position: int, what: str) -> np.ndarray:
        """An input that must be known now, as shapes and axes must."""
        value = self.given(position)
        if not isinstance(value, np.ndarray):
            message = f"expected its {what} (input {position}) to be constant, it is computed at run time"
            raise MustBeKnown(message, value)
        return value

    def known(self, position: int) -> np.ndarray | None:
        """An input's array if it is given and known now."""
        value = self._inputs[position] if self.has(position) else None
        return value if isinstance(value, np.ndarray) else None

    def ints(self, position: int, what: str) -> list[int]:
        """A constant input as a list of ints."""
        return [int(i) for i in self.constant(position, what).reshape(-1)]

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """The shape of an input, known or computed."""
        return static_shape(self.given(position))

    def dtype(self, position: int = 0) -> np.dtype:
        """The element type of an input, as numpy's."""
        return static_dtype(self.given(position))

    def element(self, position: int = 0) -> Attribute:
        """The element type of an input, as the IR's."""
        return from_numpy(self.dtype(position))

    # Attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, str, a list of these, or a TensorProto."""
        proto = self._attributes.get(name)
        if proto is None:
            return default
        value = onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if proto.type == onnx.AttributeProto.STRINGS:
            return [text.decode("utf-8", "replace") for text in value]
        return list(value) if proto.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, counted from the front."""
        return normalise_axis(self.attribute("axis", default), rank)

    # Results

    def emit(self, op: Operation) -> SSAValue:
        """Append an operation; its first result."""
        return self._importer.append(op)

    def apply(self, fn: Fn, *operands: SSAValue, **params: float) -> SSAValue:
        """`fn(operands)`, element by element."""
        return self.emit(ElementwiseOp(fn, *operands, result=None, **params))

    def reduce(self, kind: ReduceKind, x: SSAValue, axes: Sequence[int]) -> SSAValue:
        """x reduced over some axes, which stay as 1: the one form that converters emit.

        Over no axes, what a kind does to single elements remains, such as the square.
        """
        if axes:
            return self.emit(ReduceOp(kind, x, axes))
        if kind not in (ReduceKind.L1, ReduceKind.L2, ReduceKind.SUM_SQUARE, ReduceKind.LOG_SUM):
            return x
        shape = shape_of(x)
        return self.reshape(self.emit(ReduceOp(kind, self.reshape(x, [*shape, 1]), [len(shape)])), shape)

    def reshape(self, x: SSAValue, shape: Sequence[int]) -> SSAValue:
        """x under another shape, with no operation where it has that shape already."""
        return x if shape_of(x) == tuple(shape) else self.emit(ReshapeOp(x, shape))

    def transpose(self, x: SSAValue, perm: Sequence[int]) -> SSAValue:
        """x with its axes in another order, with no operation where that is the present one."""
        return x if list(perm) == list(range(len(perm))) else self.emit(TransposeOp(x, perm))

    def cast(self, x: SSAValue, element: Attribute) -> SSAValue:
        """x in another element type, with no operation where it has that type already."""
        return x if element_type(x) == element else self.emit(CastOp(x, element))

    def weight(self, array: np.ndarray, hint: str) -> SSAValue:
        """A value for an array that the converter computed."""
        return self._importer.materialise(array, f"{self._hint}.{hint}")

    def scalar(self, value: float, like: SSAValue) -> SSAValue:
        """A number in the element type of another value."""
        return self.weight(np.array(value, to_numpy(element_type(like))), "scalar")

    def fill(self, macs: int) -> None:
        """Note multiply-accumulates that are emitted only to fill blocks."""
        self._importer.filling += macs


def static_shape(value: Value) -> tuple[int, ...]:
    """The shape of a value, known or computed."""
    return value.shape if isinstance(value, np.ndarray) else shape_of(value)


def static_dtype(value: Value) -> np.dtype:
    """The element type of a value, known or computed."""
    return value.dtype if isinstance(value, np.ndarray) else to_numpy(element_type(value))


def normalise_axis(axis: int, rank: int) -> int:
    """A negative axis counts from the end."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside [-{rank}, {rank})")
    return int(axis) + rank if axis < 0 else int(axis)


def normalise_axes(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front. Raises ValueError where one is named twice."""
    result = [normalise_axis(axis, rank) for axis in axes]
    if len(set(result)) != len(result):
        raise ValueError(f"expected distinct axes, got {list(axes)}")
    return result
