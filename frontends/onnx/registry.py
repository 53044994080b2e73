"""Converters by operator type, and what a converter is given: a node with its operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
from xdsl.ir import Attribute, Operation, SSAValue

from convc.frontends.onnx.problem import ImportProblem
from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import from_numpy, to_numpy

if TYPE_CHECKING:
    from convc.frontends.onnx.importer import Importer

Value: TypeAlias = SSAValue | np.ndarray
"""A tensor of the model: known now (an array), or computed at run time (an SSA value of static shape)."""
Converter: TypeAlias = Callable[["Node"], Value | Sequence[Value]]

_CONVERTERS: dict[str, Converter] = {}


def converter(*op_types: str) -> Callable[[Converter], Converter]:
    """Register a function that turns nodes of these ONNX types into operations. `node.opset` tells versions apart."""

    def register(function: Converter) -> Converter:
        for op_type in op_types:
            assert op_type not in _CONVERTERS, f"two converters for {op_type}"
            _CONVERTERS[op_type] = function
        return function

    return register


def find_converter(domain: str, op_type: str) -> Converter | None:
    """The converter of an operator of the default domain, if there is one."""
    return _CONVERTERS.get(op_type) if domain in ("", "ai.onnx") else None


def supported_operators() -> list[str]:
    """The ONNX operator types that can be imported, sorted."""
    return sorted(_CONVERTERS)


class Node:
    """An ONNX node being converted. Methods raise ValueError; the importer adds the node's name."""

    def __init__(self, proto: onnx.NodeProto, inputs: Sequence[Value | None], importer: Importer) -> None:
        self.op_type = proto.op_type
        self.opset = importer.opset
        self.outputs = [name for name in proto.output]
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}
        self._inputs = inputs
        self._importer = importer

    # Operands

    def __len__(self) -> int:
        return len(self._inputs)

    def has(self, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(self._inputs) and self._inputs[position] is not None

    def value(self, position: int) -> SSAValue:
        """An input as an SSA value; a known array becomes a weight or a splat constant."""
        return self._importer.materialise(self._input(position), f"{self.outputs[0]}.{position}")

    def values(self) -> list[SSAValue]:
        return [self.value(position) for position in range(len(self._inputs))]

    def constant(self, position: int, what: str) -> np.ndarray:
        """An input that must be known now, as shapes and axes must."""
        value = self._input(position)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"expected its {what} (input {position}) to be constant, it is computed at run time")
        return value

    def known(self, position: int) -> np.ndarray | None:
        """An input's array if it is given and known now."""
        value = self._inputs[position] if self.has(position) else None
        return value if isinstance(value, np.ndarray) else None

    def ints(self, position: int, what: str) -> list[int]:
        """A constant input as a list of ints."""
        return [int(i) for i in self.constant(position, what).reshape(-1)]

    def shape(self, position: int = 0) -> tuple[int, ...]:
        value = self._input(position)
        return tuple(value.shape) if isinstance(value, np.ndarray) else shape_of(value)

    def dtype(self, position: int = 0) -> np.dtype:
        value = self._input(position)
        return value.dtype if isinstance(value, np.ndarray) else to_numpy(element_type(value))

    def element(self, position: int = 0) -> Attribute:
        return from_numpy(self.dtype(position))

    def _input(self, position: int) -> Value:
        if not self.has(position):
            raise ValueError(f"expected an input {position}, the node has {len(self._inputs)}")
        value = self._inputs[position]
        assert value is not None
        return value

    # Attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value: int, float, str, list, or a TensorProto."""
        proto = self._attributes.get(name)
        if proto is None:
            return default
        value = onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return list(value) if proto.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value

    def attribute_names(self) -> set[str]:
        return set(self._attributes)

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """An axis attribute, counted from the front."""
        return normalise_axis(self.attribute(name, default), rank)

    # Results

    def emit(self, op: Operation) -> SSAValue:
        """Append an operation; its first result."""
        return self._importer.append(op)

    def weight(self, array: np.ndarray, hint: str) -> SSAValue:
        """A value for an array that the converter computed."""
        return self._importer.materialise(array, f"{self.outputs[0]}.{hint}")


def normalise_axis(axis: int, rank: int) -> int:
    """A negative axis counts from the end."""
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} is outside [-{rank}, {rank})")
    return int(axis) + rank if axis < 0 else int(axis)


def problem(node: onnx.NodeProto, reason: object) -> ImportProblem:
    """The error for a node: its name (or first output) and type, then the reason."""
    name = node.name or (node.output[0] if node.output else "?")
    return ImportProblem(f"node '{name}' ({node.op_type}): {reason}")


def attributes_of(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are not None: operations take absent keyword arguments for their defaults."""
    return {key: value for key, value in mapping.items() if value is not None}
