"""The operations that move data: weights, reshapes, slices, joins, pads, resizing, layout changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    TensorType,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import ConstantLike, Pure
from xdsl.utils.exceptions import VerifyException

from convc.ir import shapes
from convc.ir.attributes import PadMode, PadModeAttr, element_type, layout_of, shape_of, with_layout
from convc.ir.layout import Layout
from convc.ir.op import TensorOp, float_attr, floats, ints, result_type


@irdl_op_definition
class WeightOp(IRDLOperation):
    """A named array of the weight store. With a layout in its type, the store holds the packed array."""

    name = "convc.weight"
    ref = prop_def(SymbolRefAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure(), ConstantLike())
    assembly_format = "$ref attr-dict `:` type($result)"

    def __init__(self, name: str, result: TensorType) -> None:
        super().__init__(properties={"ref": SymbolRefAttr(name)}, result_types=[result])

    @property
    def key(self) -> str:
        """The name in the weight store."""
        return self.ref.root_reference.data


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """A tensor whose elements are all equal; kernels take it as an immediate. Integers are exact to 2**53."""

    name = "convc.constant"
    value = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure(), ConstantLike())
    assembly_format = "$value attr-dict `:` type($result)"

    def __init__(self, value: float, result: TensorType) -> None:
        super().__init__(properties={"value": float_attr(value)}, result_types=[result])


@irdl_op_definition
class ReshapeOp(TensorOp):
    """The same elements in row-major order under another shape (the result's)."""

    name = "convc.reshape"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, shape: Sequence[int]) -> None:
        super().__init__(operands=[x], result_types=[result_type(x, shape)])

    def inferred_shape(self) -> tuple[int, ...]:
        before, after = shape_of(self.x), shape_of(self.result)
        if prod(before) != prod(after):
            raise ValueError(f"{before} holds {prod(before)} elements, {after} holds {prod(after)}")
        return after


@irdl_op_definition
class TransposeOp(TensorOp):
    """Axis i of the result is axis perm[i] of x."""

    name = "convc.transpose"
    x = operand_def(TensorType)
    perm = prop_def(DenseArrayBase.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `perm` $perm attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, perm: Sequence[int]) -> None:
        shape = [shape_of(x)[axis] for axis in perm]
        super().__init__(operands=[x], properties={"perm": ints(perm)}, result_types=[result_type(x, shape)])

    def inferred_shape(self) -> tuple[int, ...]:
        shape, perm = shape_of(self.x), self.perm.get_values()
        if sorted(perm) != list(range(len(shape))):
            raise ValueError(f"expected a permutation of {len(shape)} axes, got {perm}")
        return tuple(shape[axis] for axis in perm)


@irdl_op_definition
class ShuffleOp(TensorOp):
    """The channels of x, which are so many groups one after another, taken from each group in turn: channel i of the
    result is channel i // groups of group i % groups (Zhang et al., "ShuffleNet", CVPR 2018)."""

    name = "convc.shuffle"
    x = operand_def(TensorType)
    groups = prop_def(IntegerAttr.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `groups` $groups attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, groups: int) -> None:
        properties = {"groups": IntegerAttr(groups, 64)}
        super().__init__(operands=[x], properties=properties, result_types=[result_type(x, shape_of(x))])

    def inferred_shape(self) -> tuple[int, ...]:
        shape, groups = shape_of(self.x), self.groups.value.data
        if len(shape) < 2 or groups < 1 or shape[1] % groups:
            raise ValueError(f"expected channels in {groups} groups of one size, got {shape}")
        return shape


@irdl_op_definition
class BroadcastOp(TensorOp):
    """x repeated to the result's shape by numpy's rules (ONNX Expand)."""

    name = "convc.broadcast"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, shape: Sequence[int]) -> None:
        super().__init__(operands=[x], result_types=[result_type(x, shape)])

    def inferred_shape(self) -> tuple[int, ...]:
        before, after = shape_of(self.x), shape_of(self.result)
        if shapes.broadcast(before, after) != after:
            raise ValueError(f"{before} does not broadcast to {after}")
        return after


@irdl_op_definition
class ConcatOp(TensorOp):
    """Operands joined along an axis."""

    name = "convc.concat"
    parts = var_operand_def(TensorType)
    axis = prop_def(IntegerAttr.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$parts `axis` $axis attr-dict `:` functional-type(operands, results)"

    def __init__(self, parts: Sequence[SSAValue], axis: int) -> None:
        shape = shapes.concat([shape_of(part) for part in parts], axis)
        super().__init__(
            operands=[parts],
            properties={"axis": IntegerAttr(axis, 64)},
            result_types=[result_type(parts[0], shape)],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        return shapes.concat([shape_of(part) for part in self.parts], self.axis.value.data)


@irdl_op_definition
class SliceOp(TensorOp):
    """Elements `starts + i * steps`, as many as the result's shape says. Steps may be negative."""

    name = "convc.slice"
    x = operand_def(TensorType)
    starts = prop_def(DenseArrayBase.constr(i64))
    steps = prop_def(DenseArrayBase.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `starts` $starts `steps` $steps attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, x: SSAValue, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] | None = None
    ) -> None:
        super().__init__(
            operands=[x],
            properties={"starts": ints(starts), "steps": ints(steps or [1] * len(starts))},
            result_types=[result_type(x, sizes)],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        shape, sizes = shape_of(self.x), shape_of(self.result)
        starts, steps = self.starts.get_values(), self.steps.get_values()
        if not len(shape) == len(sizes) == len(starts) == len(steps):
            raise ValueError(f"expected starts, steps and sizes for {len(shape)} axes")
        for axis, (size, start, step, count) in enumerate(zip(shape, starts, steps, sizes)):
            last = start + (count - 1) * step
            if step == 0 or (count and not (0 <= start < size and 0 <= last < size)):
                raise ValueError(f"elements {start} to {last} by {step} leave axis {axis} of {size}")
        return sizes


@irdl_op_definition
class PadOp(TensorOp):
    """x with elements added (or, where a pad is negative, taken off) around it; pads are begins, then ends."""

    name = "convc.pad"
    mode = prop_def(PadModeAttr)
    x = operand_def(TensorType)
    pads = prop_def(DenseArrayBase.constr(i64))
    value = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$mode $x `pads` $pads `value` $value attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, x: SSAValue, pads: Sequence[int], *, mode: PadMode = PadMode.CONSTANT, value: float = 0.0
    ) -> None:
        rank = len(shape_of(x))
        shape = [size + pads[i] + pads[rank + i] for i, size in enumerate(shape_of(x))]
        super().__init__(
            operands=[x],
            properties={"mode": PadModeAttr(mode), "pads": ints(pads), "value": float_attr(value)},
            result_types=[result_type(x, shape)],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        shape, pads = shape_of(self.x), self.pads.get_values()
        if len(pads) != 2 * len(shape):
            raise ValueError(f"expected {2 * len(shape)} pads, got {len(pads)}")
        result = tuple(size + pads[i] + pads[len(shape) + i] for i, size in enumerate(shape))
        if min(result, default=1) < 0:
            raise ValueError(f"pads {pads} take more off than {shape} holds")
        for before, after, size in zip(pads, pads[len(shape) :], shape):
            left = size + min(before, 0) + min(after, 0)
            if self.mode.data is not PadMode.CONSTANT and max(before, after) > 0 and left == 0:
                raise ValueError(f"expected elements to pad with, got {shape}")
        return result


@irdl_op_definition
class ResizeOp(TensorOp):
    """Resampling to the result's shape (ONNX Resize). `scales` are the ONNX scales (or size ratios), one an axis;
    `roi` matters for tf_crop_and_resize only."""

    name = "convc.resize"
    x = operand_def(TensorType)
    mode = prop_def(StringAttr)
    coordinates = prop_def(StringAttr)
    nearest = prop_def(StringAttr)
    scales = prop_def(ArrayAttr[FloatAttr])
    roi = prop_def(ArrayAttr[FloatAttr])
    cubic_coeff = prop_def(FloatAttr)
    extrapolation = prop_def(FloatAttr)
    exclude_outside = prop_def(IntegerAttr.constr(i64))
    antialias = prop_def(IntegerAttr.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `mode` $mode `coordinates` $coordinates `nearest` $nearest `scales` $scales `roi` $roi "
        "`cubic_coeff` $cubic_coeff `extrapolation` $extrapolation `exclude_outside` $exclude_outside "
        "`antialias` $antialias attr-dict `:` functional-type(operands, results)"
    )

    MODES: ClassVar = ("nearest", "linear", "cubic")
    COORDINATES: ClassVar = (
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    )
    NEAREST: ClassVar = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

    def __init__(
        self,
        x: SSAValue,
        shape: Sequence[int],
        *,
        mode: str = "nearest",
        coordinates: str = "half_pixel",
        nearest: str = "round_prefer_floor",
        scales: Sequence[float] | None = None,
        roi: Sequence[float] = (),
        cubic_coeff: float = -0.75,
        extrapolation: float = 0.0,
        exclude_outside: bool = False,
        antialias: bool = False,
    ) -> None:
        scales = scales or [after / before for after, before in zip(shape, shape_of(x))]
        super().__init__(
            operands=[x],
            properties={
                "mode": StringAttr(mode),
                "coordinates": StringAttr(coordinates),
                "nearest": StringAttr(nearest),
                "scales": floats(scales),
                "roi": floats(roi),
                "cubic_coeff": float_attr(cubic_coeff),
                "extrapolation": float_attr(extrapolation),
                "exclude_outside": IntegerAttr(int(exclude_outside), 64),
                "antialias": IntegerAttr(int(antialias), 64),
            },
            result_types=[result_type(x, shape)],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        for given, known, what in (
            (self.mode, self.MODES, "mode"),
            (self.coordinates, self.COORDINATES, "coordinates"),
            (self.nearest, self.NEAREST, "nearest"),
        ):
            if given.data not in known:
                raise ValueError(f"expected {what} to be one of {', '.join(known)}, got {given.data}")
        rank, result = len(shape_of(self.x)), shape_of(self.result)
        if len(result) != rank or len(self.scales.data) != rank:
            raise ValueError(f"expected a shape and scales of {rank} axes, got {result}")
        return result


@irdl_op_definition
class CastOp(TensorOp):
    """x converted to the result's element type (towards zero to integers, `!= 0` to booleans)."""

    name = "convc.cast"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, element: Attribute) -> None:
        super().__init__(operands=[x], result_types=[result_type(x, shape_of(x), element)])

    def inferred_shape(self) -> tuple[int, ...]:
        return shape_of(self.x)

    def inferred_element(self) -> Attribute:
        return element_type(self.result)


@irdl_op_definition
class RelayoutOp(TensorOp):
    """x in the result's layout: the one operation that changes how a tensor lies in memory."""

    name = "convc.relayout"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, layout: Layout | str | None) -> None:
        super().__init__(operands=[x], result_types=[with_layout(x.type, layout)])

    def inferred_shape(self) -> tuple[int, ...]:
        return shape_of(self.x)

    def verify_(self) -> None:
        super().verify_()
        layout = layout_of(self.result)
        if layout and layout.rank != len(shape_of(self.x)):
            raise VerifyException(f"{self.name}: layout {layout} has {layout.rank} axes, x {len(shape_of(self.x))}")
