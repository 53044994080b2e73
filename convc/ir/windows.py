"""The operations over windows: convolutions and pools."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, TensorType, UnitAttr, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_operand_def, opt_prop_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from convc.ir import shapes
from convc.ir.attributes import PoolKind, PoolKindAttr, shape_of
from convc.ir.op import TensorOp, ints, result_type
from convc.ir.winograd import can_stride, window_before


class ConvolutionOp(TensorOp):
    """What convolutions share, transposed ones too: x `[N, C, *S]`, bias `[O]`; pads are all begins, then all ends."""

    x = operand_def(TensorType)
    w = operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    strides = prop_def(DenseArrayBase.constr(i64))
    pads = prop_def(DenseArrayBase.constr(i64))
    dilations = prop_def(DenseArrayBase.constr(i64))
    group = prop_def(IntegerAttr.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        bias: SSAValue | None,
        strides: Sequence[int] | None,
        pads: Sequence[int] | None,
        dilations: Sequence[int] | None,
        group: int,
        result: TensorType | None = None,
        **own: Sequence[int],
    ) -> None:
        spatial = len(shape_of(x)) - 2
        steps = {
            "strides": strides or [1] * spatial,
            "pads": pads or [0] * (2 * spatial),
            "dilations": dilations or [1] * spatial,
            **own,
        }
        if result is None:
            result = result_type(x, self._shape(shape_of(x), shape_of(w), **steps, group=group))
        super().__init__(
            operands=[x, w, bias],
            properties={**{name: ints(values) for name, values in steps.items()}, "group": IntegerAttr(group, 64)},
            result_types=[result],
        )

    @property
    def steps(self) -> dict[str, tuple[int, ...]]:
        """Strides, pads and whatever else has a number for each spatial axis, by name: what the constructor takes."""
        each = {name: value for name, value in self.properties.items() if isinstance(value, DenseArrayBase)}
        return {name: tuple(value.get_values()) for name, value in each.items()}

    def inferred_shape(self) -> tuple[int, ...]:
        shape = self._shape(shape_of(self.x), shape_of(self.w), **self.steps, group=self.group.value.data)
        _check_bias(self.bias, shape[1])
        return shape

    @staticmethod
    @abstractmethod
    def _shape(x: Sequence[int], w: Sequence[int], **steps: Any) -> tuple[int, ...]:
        """The result's shape, from those of x and w, and the properties by name."""


@irdl_op_definition
class ConvOp(ConvolutionOp):
    """n-D convolution: w `[O, C/group, *K]`."""

    name = "convc.conv"
    assembly_format = (
        "$x `,` $w (`bias` $bias^)? `strides` $strides `pads` $pads `dilations` $dilations `group` $group attr-dict "
        "`:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        bias: SSAValue | None = None,
        *,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        group: int = 1,
        result: TensorType | None = None,
    ) -> None:
        super().__init__(x, w, bias, strides, pads, dilations, group, result)

    @staticmethod
    def _shape(x: Sequence[int], w: Sequence[int], **steps: Any) -> tuple[int, ...]:
        return shapes.convolution(x, w, **steps)


@irdl_op_definition
class WinogradConvOp(TensorOp):
    """n-D convolution by windows of 3, 5 or 7 taps along one axis or two and 1 along the others, whose weight is
    transformed already: w `[O, C/group, d, d]` holds G g G^T for tiles of m x m outputs, `[O, C/group, d, 1]` holds G g
    of 3 x 1 windows, and so on (`convc.ir.winograd`). An axis of several taps may be at a stride of 2 or dilated, not
    both."""

    name = "convc.winograd_conv"
    x = operand_def(TensorType)
    w = operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    pads = prop_def(DenseArrayBase.constr(i64))
    m = prop_def(IntegerAttr.constr(i64))
    strides = opt_prop_def(DenseArrayBase.constr(i64))
    dilations = opt_prop_def(DenseArrayBase.constr(i64))
    group = prop_def(IntegerAttr.constr(i64), default_value=IntegerAttr(1, 64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `,` $w (`bias` $bias^)? `pads` $pads `m` $m (`strides` $strides^)? (`dilations` $dilations^)? "
        "(`group` $group^)? attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        bias: SSAValue | None = None,
        *,
        m: int,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        group: int = 1,
        result: TensorType | None = None,
    ) -> None:
        ones = [1] * (len(shape_of(x)) - 2)
        pads, strides, dilations = pads or [0, 0] * len(ones), strides or ones, dilations or ones
        super().__init__(
            operands=[x, w, bias],
            properties={
                "pads": ints(pads),
                "m": IntegerAttr(m, 64),
                "strides": ints(strides) if max(strides) > 1 else None,
                "dilations": ints(dilations) if max(dilations) > 1 else None,
                "group": IntegerAttr(group, 64),
            },
            result_types=[result or result_type(x, self._shape(x, w, m, strides, pads, dilations, group))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        m, group, pads = self.m.value.data, self.group.value.data, self.pads.get_values()
        shape = self._shape(self.x, self.w, m, strides_of(self), pads, dilations_of(self), group)
        _check_bias(self.bias, shape[1])
        return shape

    @staticmethod
    def _shape(
        x: SSAValue,
        w: SSAValue,
        m: int,
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
        group: int,
    ) -> tuple[int, ...]:
        outputs, inputs, *sizes = shape_of(w)
        if not can_stride(sizes, strides, dilations):
            raise ValueError(f"expected strides of 1, or 2 along windows without dilation, got {[*strides]}")
        window = window_before(sizes, strides, m)
        return shapes.convolution(shape_of(x), (outputs, inputs, *window), strides, pads, dilations, group)


@irdl_op_definition
class ConvTransposeOp(ConvolutionOp):
    """n-D transposed convolution: w `[C, O/group, *K]`."""

    name = "convc.conv_transpose"
    output_padding = prop_def(DenseArrayBase.constr(i64))
    assembly_format = (
        "$x `,` $w (`bias` $bias^)? `strides` $strides `pads` $pads `dilations` $dilations "
        "`output_padding` $output_padding `group` $group attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        bias: SSAValue | None = None,
        *,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        group: int = 1,
    ) -> None:
        own = output_padding or [0] * (len(shape_of(x)) - 2)
        super().__init__(x, w, bias, strides, pads, dilations, group, output_padding=own)

    @staticmethod
    def _shape(x: Sequence[int], w: Sequence[int], **steps: Any) -> tuple[int, ...]:
        return shapes.transposed_convolution(x, w, **steps)


class WindowOp(TensorOp):
    """What pools share: a window over x `[N, C, *S]`."""

    x = operand_def(TensorType)
    kernel = prop_def(DenseArrayBase.constr(i64))
    strides = prop_def(DenseArrayBase.constr(i64))
    pads = prop_def(DenseArrayBase.constr(i64))
    dilations = prop_def(DenseArrayBase.constr(i64))
    ceil_mode = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())

    def __init__(
        self,
        x: SSAValue,
        kernel: Sequence[int],
        strides: Sequence[int] | None,
        pads: Sequence[int] | None,
        dilations: Sequence[int] | None,
        ceil_mode: bool,
        element: Attribute | None = None,
        properties: Mapping[str, Attribute | None] | None = None,
    ) -> None:
        spatial = len(shape_of(x)) - 2
        strides, dilations = strides or [1] * spatial, dilations or [1] * spatial
        pads = pads or [0] * (2 * spatial)
        result = result_type(x, shapes.pool(shape_of(x), kernel, strides, pads, dilations, ceil_mode), element)
        super().__init__(
            operands=[x],
            properties={
                "kernel": ints(kernel),
                "strides": ints(strides),
                "pads": ints(pads),
                "dilations": ints(dilations),
                "ceil_mode": UnitAttr() if ceil_mode else None,
                **(properties or {}),
            },
            result_types=[result],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        return shapes.pool(
            shape_of(self.x),
            self.kernel.get_values(),
            self.strides.get_values(),
            self.pads.get_values(),
            self.dilations.get_values(),
            self.ceil_mode is not None,
        )


@irdl_op_definition
class PoolOp(WindowOp):
    """Max or average pooling over windows of x `[N, C, *S]`. Max ignores padding; average counts the declared
    padding if `count_include_pad`, and never what `ceil_mode` adds at the end."""

    name = "convc.pool"
    kind = prop_def(PoolKindAttr)
    count_include_pad = opt_prop_def(UnitAttr)
    assembly_format = (
        "$kind $x `kernel` $kernel `strides` $strides `pads` $pads `dilations` $dilations "
        "(`ceil_mode` $ceil_mode^)? (`count_include_pad` $count_include_pad^)? attr-dict "
        "`:` functional-type(operands, results)"
    )

    def __init__(
        self,
        kind: PoolKind,
        x: SSAValue,
        kernel: Sequence[int],
        *,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        own = {"kind": PoolKindAttr(kind), "count_include_pad": UnitAttr() if count_include_pad else None}
        super().__init__(x, kernel, strides, pads, dilations, ceil_mode, properties=own)


@irdl_op_definition
class ArgPoolOp(WindowOp):
    """Where the largest element of each window of x `[N, C, *S]` lies, the first one of equals, as i64: its position in
    all of x, in row-major order (the Indices of ONNX MaxPool). Padding is never the largest."""

    name = "convc.arg_pool"
    assembly_format = (
        "$x `kernel` $kernel `strides` $strides `pads` $pads `dilations` $dilations (`ceil_mode` $ceil_mode^)? "
        "attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        kernel: Sequence[int],
        *,
        strides: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(x, kernel, strides, pads, dilations, ceil_mode, i64)

    def inferred_element(self) -> Attribute:
        return i64


def window_of(op: ConvOp | WinogradConvOp) -> tuple[int, ...]:
    """The taps of a convolution along each axis."""
    sizes = shape_of(op.w)[2:]
    return window_before(sizes, strides_of(op), op.m.value.data) if isinstance(op, WinogradConvOp) else sizes


def strides_of(op: ConvOp | WinogradConvOp) -> tuple[int, ...]:
    """How far apart the windows of a convolution are along each axis."""
    return tuple(op.strides.get_values()) if op.strides else (1,) * (len(shape_of(op.x)) - 2)


def dilations_of(op: ConvOp | WinogradConvOp) -> tuple[int, ...]:
    """How far apart the taps of a convolution are along each axis."""
    return tuple(op.dilations.get_values()) if op.dilations else (1,) * (len(shape_of(op.x)) - 2)


def _check_bias(bias: SSAValue | None, channels: int) -> None:
    if bias is not None and shape_of(bias) != (channels,):
        raise ValueError(f"expected a bias of {channels} channels, got shape {shape_of(bias)}")
