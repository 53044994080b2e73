"""What all operations of the dialect share: attribute helpers and shape verification."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, FloatAttr, TensorType, f64, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import IRDLOperation
from xdsl.utils.exceptions import VerifyException

from convc.ir.attributes import element_type, layout_of, shape_of, tensor


def ints(values: Iterable[int]) -> DenseArrayBase:
    """`array<i64: ...>`."""
    return DenseArrayBase.from_list(i64, [int(value) for value in values])


def floats(values: Iterable[float]) -> ArrayAttr[FloatAttr]:
    """`[... : f64]`: unlike a dense array's, its text form holds infinities."""
    return ArrayAttr([FloatAttr(float(value), f64) for value in values])


def float_values(array: ArrayAttr[FloatAttr] | None) -> tuple[float, ...]:
    """The inverse of `floats`; no attribute means no values."""
    return tuple(attribute.value.data for attribute in array.data) if array else ()


def float_attr(value: float) -> FloatAttr:
    """`... : f64`."""
    return FloatAttr(float(value), f64)


class TensorOp(IRDLOperation):
    """An operation with one tensor result whose logical shape follows from its operands and properties."""

    @abstractmethod
    def inferred_shape(self) -> tuple[int, ...]:
        """The result's logical shape. Raises ValueError when the operands do not fit together."""

    def inferred_element(self) -> Attribute:
        """The result's element type: that of the first operand unless an operation says otherwise."""
        return element_type(self.operands[0])

    def verify_(self) -> None:
        try:
            shape, element = self.inferred_shape(), self.inferred_element()
        except ValueError as error:
            raise VerifyException(f"{self.name}: {error}") from None
        result = self.results[0]
        if shape_of(result) != shape or element_type(result) != element:
            expected = tensor(element, shape, layout_of(result))
            raise VerifyException(f"{self.name}: result should be {expected}, got {result.type}")


def result_type(x: SSAValue, shape: Iterable[int], element: Attribute | None = None) -> TensorType:
    """A plain tensor type with the element type of x (or the one given)."""
    return tensor(element or element_type(x), tuple(shape))
