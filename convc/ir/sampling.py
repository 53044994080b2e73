"""The operations that read or write where other elements say: gathers and scatters by indices, and samples at
coordinates."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr, StringAttr, TensorType, UnitAttr, i64
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from convc.ir import shapes
from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import is_float, to_numpy
from convc.ir.op import TensorOp, result_type


@irdl_op_definition
class GatherOp(TensorOp):
    """The slices of x that integer indices choose along an axis (numpy's `take`): `[*A, n, *B]` at `[*I]` gives
    `[*A, *I, *B]`. Negative indices count from the end; what is outside of [-n, n) is taken from the nearer end."""

    name = "convc.gather"
    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    axis = prop_def(IntegerAttr.constr(i64))
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $indices `axis` $axis attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, indices: SSAValue, axis: int) -> None:
        super().__init__(
            operands=[x, indices],
            properties={"axis": IntegerAttr(axis, 64)},
            result_types=[result_type(x, shapes.gather(shape_of(x), shape_of(indices), axis))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        if to_numpy(element_type(self.indices)).kind not in "iu":
            raise ValueError(f"expected integers as indices, got {element_type(self.indices)}")
        return shapes.gather(shape_of(self.x), shape_of(self.indices), self.axis.value.data)


@irdl_op_definition
class GridSampleOp(TensorOp):
    """x `[N, C, *S]` at the coordinates of a grid `[N, *O, d]`, d the number of spatial axes: `[N, C, *O]`.

    A coordinate counts elements, from 0 at the centre of the first one; as in ONNX, the last spatial axis comes first
    (x, y, z). Outside of the tensor `padding` takes zeros, the nearest element, or reflects: about the outermost
    centres with `align_corners`, else about the outer edges. `cubic` is Keys' kernel with a = -0.75.
    """

    name = "convc.grid_sample"
    x = operand_def(TensorType)
    grid = operand_def(TensorType)
    mode = prop_def(StringAttr)
    padding = prop_def(StringAttr)
    align_corners = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `,` $grid `mode` $mode `padding` $padding (`align_corners` $align_corners^)? attr-dict "
        "`:` functional-type(operands, results)"
    )

    MODES: ClassVar = ("nearest", "linear", "cubic")
    PADDINGS: ClassVar = ("zeros", "border", "reflection")

    def __init__(
        self,
        x: SSAValue,
        grid: SSAValue,
        *,
        mode: str = "linear",
        padding: str = "zeros",
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            operands=[x, grid],
            properties={
                "mode": StringAttr(mode),
                "padding": StringAttr(padding),
                "align_corners": UnitAttr() if align_corners else None,
            },
            result_types=[result_type(x, shapes.grid_sample(shape_of(x), shape_of(grid)))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        for given, known, what in ((self.mode, self.MODES, "mode"), (self.padding, self.PADDINGS, "padding")):
            if given.data not in known:
                raise ValueError(f"expected {what} to be one of {', '.join(known)}, got {given.data}")
        if not is_float(element_type(self.grid)):
            raise ValueError(f"expected floats as coordinates, got {element_type(self.grid)}")
        if self.mode.data != "nearest" and not is_float(element_type(self.x)):
            raise ValueError(f"expected floats to interpolate between, got {element_type(self.x)}")
        return shapes.grid_sample(shape_of(self.x), shape_of(self.grid))


@irdl_op_definition
class ScatterOp(TensorOp):
    """The rows of x `[n, w]` at indices `[m]` replaced by those of `updates` `[m, w]`, one after the other; or added
    to, multiplied by them, or compared with them, the smaller or larger elements kept. Indices count as in a gather.
    """

    name = "convc.scatter"
    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    updates = operand_def(TensorType)
    mode = prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `,` $indices `,` $updates `mode` $mode attr-dict `:` functional-type(operands, results)"

    MODES: ClassVar = ("replace", "add", "mul", "min", "max")

    def __init__(
        self,
        x: SSAValue,
        indices: SSAValue,
        updates: SSAValue,
        *,
        mode: str = "replace",
    ) -> None:
        super().__init__(
            operands=[x, indices, updates],
            properties={"mode": StringAttr(mode)},
            result_types=[result_type(x, shape_of(x))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        if self.mode.data not in self.MODES:
            raise ValueError(f"expected mode to be one of {', '.join(self.MODES)}, got {self.mode.data}")
        if to_numpy(element_type(self.indices)).kind not in "iu":
            raise ValueError(f"expected integers as indices, got {element_type(self.indices)}")
        if element_type(self.updates) != element_type(self.x):
            raise ValueError(f"expected updates of {element_type(self.x)}, got {element_type(self.updates)}")
        x, indices, updates = shape_of(self.x), shape_of(self.indices), shape_of(self.updates)
        if len(x) != 2 or len(indices) != 1 or updates != (*indices, *x[1:]):
            raise ValueError(f"expected x [n, w], indices [m] and updates [m, w], got {x}, {indices} and {updates}")
        return x
