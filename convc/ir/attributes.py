"""Attributes of the dialect (layouts; the kinds of pools, reductions and pads), and what a tensor's type says."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import NoneAttr, StringAttr, TensorType
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, ParametrizedAttribute, SpacedOpaqueSyntaxAttribute, SSAValue
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from convc.ir.layout import Layout


@irdl_attr_definition
class LayoutAttr(ParametrizedAttribute):
    """A memory layout, as a tensor's encoding: `tensor<1x64x56x56xf32, #convc.layout<"NCHW8c">>`."""

    name = "convc.layout"
    text: StringAttr

    @staticmethod
    def of(layout: Layout | str) -> LayoutAttr:
        """The attribute of a layout, or of its text."""
        return LayoutAttr(StringAttr(str(layout)))

    @property
    def layout(self) -> Layout:
        """The layout, parsed."""
        return Layout.parse(self.text.data)

    def verify(self) -> None:
        try:
            Layout.parse(self.text.data)
        except ValueError as error:
            raise VerifyException(str(error)) from None


class PoolKind(StrEnum):
    """What a pool makes of a window."""

    MAX = "max"
    AVERAGE = "average"


@irdl_attr_definition
class PoolKindAttr(EnumAttribute[PoolKind], SpacedOpaqueSyntaxAttribute):
    name = "convc.pool_kind"


class ReduceKind(StrEnum):
    """What a reduction makes of its elements: ONNX's operators Reduce..."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    PROD = "prod"
    SUM_SQUARE = "sum_square"
    L1 = "l1"
    L2 = "l2"
    LOG_SUM = "log_sum"
    LOG_SUM_EXP = "log_sum_exp"


@irdl_attr_definition
class ReduceKindAttr(EnumAttribute[ReduceKind], SpacedOpaqueSyntaxAttribute):
    name = "convc.reduce_kind"


class PadMode(StrEnum):
    """What a pad puts around a tensor: ONNX's modes of Pad."""

    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"
    WRAP = "wrap"


@irdl_attr_definition
class PadModeAttr(EnumAttribute[PadMode], SpacedOpaqueSyntaxAttribute):
    name = "convc.pad_mode"


def layout_of(value: SSAValue | Attribute) -> Layout | None:
    """The layout in a tensor's type, or None for plain row-major order."""
    tensor = value.type if isinstance(value, SSAValue) else value
    assert isinstance(tensor, TensorType)
    return tensor.encoding.layout if isinstance(tensor.encoding, LayoutAttr) else None


def shape_of(value: SSAValue | Attribute) -> tuple[int, ...]:
    """The logical shape of a tensor or of a tensor type."""
    tensor = value.type if isinstance(value, SSAValue) else value
    assert isinstance(tensor, TensorType)
    return tensor.get_shape()


def element_type(value: SSAValue | Attribute) -> Attribute:
    """The element type of a tensor or of a tensor type."""
    tensor = value.type if isinstance(value, SSAValue) else value
    assert isinstance(tensor, TensorType)
    return tensor.element_type


def physical_shape(value: SSAValue | Attribute) -> tuple[int, ...]:
    """The shape in memory: that of the layout, or the logical shape where there is none."""
    layout = layout_of(value)
    return layout.physical_shape(shape_of(value)) if layout else shape_of(value)


def tensor(element: Attribute, shape: Sequence[int], layout: Layout | str | None = None) -> TensorType:
    """`tensor<shape x element>`, with the layout as its encoding if one is given."""
    return TensorType(element, shape, LayoutAttr.of(layout) if layout else NoneAttr())


def with_layout(type_: Attribute, layout: Layout | str | None) -> TensorType:
    """The same tensor type in another layout (None: plain row-major)."""
    return tensor(element_type(type_), shape_of(type_), layout)
