"""The operations that compare or add up along an axis in order: selections and prefix sums."""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr, TensorType, UnitAttr, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from convc.ir import shapes
from convc.ir.attributes import ReduceKind, ReduceKindAttr, shape_of
from convc.ir.op import TensorOp, result_type


@irdl_op_definition
class TopKOp(TensorOp):
    """The positions of the k largest (or smallest) elements along an axis, in that order, as i64; of equals the first
    one comes first. NaN is larger than all numbers."""

    name = "convc.top_k"
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr.constr(i64))
    k = prop_def(IntegerAttr.constr(i64))
    smallest = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `axis` $axis `k` $k (`smallest` $smallest^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, axis: int, k: int, *, smallest: bool = False) -> None:
        super().__init__(
            operands=[x],
            properties={
                "axis": IntegerAttr(axis, 64),
                "k": IntegerAttr(k, 64),
                "smallest": UnitAttr() if smallest else None,
            },
            result_types=[result_type(x, shapes.top_k(shape_of(x), axis, k), i64)],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        return shapes.top_k(shape_of(self.x), self.axis.value.data, self.k.value.data)

    def inferred_element(self) -> Attribute:
        return i64


@irdl_op_definition
class ScanOp(TensorOp):
    """The sums (or products) of all elements up to each one along an axis, itself left out if `exclusive`, or of all
    from it on with `reverse`."""

    name = "convc.scan"
    kind = prop_def(ReduceKindAttr)
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr.constr(i64))
    exclusive = opt_prop_def(UnitAttr)
    reverse = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$kind $x `axis` $axis (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict "
        "`:` functional-type(operands, results)"
    )

    def __init__(
        self,
        kind: ReduceKind,
        x: SSAValue,
        axis: int,
        *,
        exclusive: bool = False,
        reverse: bool = False,
    ) -> None:
        super().__init__(
            operands=[x],
            properties={
                "kind": ReduceKindAttr(kind),
                "axis": IntegerAttr(axis, 64),
                "exclusive": UnitAttr() if exclusive else None,
                "reverse": UnitAttr() if reverse else None,
            },
            result_types=[result_type(x, shape_of(x))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        if self.kind.data not in (ReduceKind.SUM, ReduceKind.PROD):
            raise ValueError(f"expected kind sum or prod, got {self.kind.data}")
        shapes.check_axes(len(shape_of(self.x)), [self.axis.value.data])
        return shape_of(self.x)
