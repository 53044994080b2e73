"""The operations that reduce: matrix products, reductions, softmax, normalisations."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, FloatAttr, IntegerAttr, TensorType, UnitAttr, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from convc.ir import shapes
from convc.ir.attributes import ReduceKind, ReduceKindAttr, shape_of
from convc.ir.op import TensorOp, float_attr, ints, result_type


@irdl_op_definition
class MatMulOp(TensorOp):
    """`[..., M, K] x [..., K, N] -> [..., M, N]`; with `transpose_b` the right operand is `[..., N, K]`, which is
    the canonical form when it is a weight (`[O, I]`, as in a convolution)."""

    name = "convc.matmul"
    a = operand_def(TensorType)
    b = operand_def(TensorType)
    transpose_b = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$a `,` $b (`transpose_b` $transpose_b^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, a: SSAValue, b: SSAValue, *, transpose_b: bool = False) -> None:
        result = result_type(a, shapes.matmul(shape_of(a), shape_of(b), transpose_b))
        super().__init__(
            operands=[a, b],
            properties={"transpose_b": UnitAttr() if transpose_b else None},
            result_types=[result],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        return shapes.matmul(shape_of(self.a), shape_of(self.b), self.transpose_b is not None)


@irdl_op_definition
class ReduceOp(TensorOp):
    """Reduce over some axes. A global average pool is `reduce mean` over the spatial axes with keepdims."""

    name = "convc.reduce"
    kind = prop_def(ReduceKindAttr)
    x = operand_def(TensorType)
    axes = prop_def(DenseArrayBase.constr(i64))
    keepdims = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$kind $x `axes` $axes (`keepdims` $keepdims^)? attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        kind: ReduceKind,
        x: SSAValue,
        axes: Sequence[int],
        *,
        keepdims: bool = True,
    ) -> None:
        result = result_type(x, shapes.reduce(shape_of(x), axes, keepdims))
        super().__init__(
            operands=[x],
            properties={
                "kind": ReduceKindAttr(kind),
                "axes": ints(axes),
                "keepdims": UnitAttr() if keepdims else None,
            },
            result_types=[result],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        return shapes.reduce(shape_of(self.x), self.axes.get_values(), self.keepdims is not None)


@irdl_op_definition
class ArgReduceOp(TensorOp):
    """The position of the largest (or smallest) element along an axis, as i64; the first one of equals, or the
    last with `select_last`."""

    name = "convc.arg_reduce"
    kind = prop_def(ReduceKindAttr)
    x = operand_def(TensorType)
    axis = prop_def(IntegerAttr.constr(i64))
    keepdims = opt_prop_def(UnitAttr)
    select_last = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$kind $x `axis` $axis (`keepdims` $keepdims^)? (`select_last` $select_last^)? attr-dict "
        "`:` functional-type(operands, results)"
    )

    def __init__(
        self,
        kind: ReduceKind,
        x: SSAValue,
        axis: int,
        *,
        keepdims: bool = True,
        select_last: bool = False,
    ) -> None:
        result = result_type(x, shapes.reduce(shape_of(x), [axis], keepdims), i64)
        super().__init__(
            operands=[x],
            properties={
                "kind": ReduceKindAttr(kind),
                "axis": IntegerAttr(axis, 64),
                "keepdims": UnitAttr() if keepdims else None,
                "select_last": UnitAttr() if select_last else None,
            },
            result_types=[result],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        if self.kind.data not in (ReduceKind.MAX, ReduceKind.MIN):
            raise ValueError(f"expected kind max or min, got {self.kind.data}")
        return shapes.reduce(shape_of(self.x), [self.axis.value.data], self.keepdims is not None)

    def inferred_element(self) -> Attribute:
        return i64


@irdl_op_definition
class SoftmaxOp(TensorOp):
    """`exp(x) / sum(exp(x))` along some axes (one, or a run of them), or its logarithm with `log`."""

    name = "convc.softmax"
    x = operand_def(TensorType)
    axes = prop_def(DenseArrayBase.constr(i64))
    log = opt_prop_def(UnitAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x `axes` $axes (`log` $log^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue, axes: Sequence[int], *, log: bool = False) -> None:
        super().__init__(
            operands=[x],
            properties={"axes": ints(axes), "log": UnitAttr() if log else None},
            result_types=[result_type(x, shape_of(x))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        shapes.check_axes(len(shape_of(self.x)), self.axes.get_values())
        return shape_of(self.x)


@irdl_op_definition
class LRNOp(TensorOp):
    """Local response normalisation across channels (ONNX LRN): `x / (bias + alpha/size * sum(x^2))^beta`."""

    name = "convc.lrn"
    x = operand_def(TensorType)
    size = prop_def(IntegerAttr.constr(i64))
    alpha = prop_def(FloatAttr)
    beta = prop_def(FloatAttr)
    bias = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `size` $size `alpha` $alpha `beta` $beta `bias` $bias attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        *,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
    ) -> None:
        super().__init__(
            operands=[x],
            properties={
                "size": IntegerAttr(size, 64),
                "alpha": float_attr(alpha),
                "beta": float_attr(beta),
                "bias": float_attr(bias),
            },
            result_types=[result_type(x, shape_of(x))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        if len(shape_of(self.x)) < 2 or self.size.value.data < 1:
            raise ValueError(
                f"expected rank 2 or more and size 1 or more, got {shape_of(self.x)}, {self.size.value.data}"
            )
        return shape_of(self.x)


@irdl_op_definition
class BatchNormOp(TensorOp):
    """Inference batch normalisation: `(x - mean) / sqrt(variance + epsilon) * scale + shift`, each `[C]`."""

    name = "convc.batch_norm"
    x = operand_def(TensorType)
    scale = operand_def(TensorType)
    shift = operand_def(TensorType)
    mean = operand_def(TensorType)
    variance = operand_def(TensorType)
    epsilon = prop_def(FloatAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = (
        "$x `,` $scale `,` $shift `,` $mean `,` $variance `epsilon` $epsilon attr-dict "
        "`:` functional-type(operands, results)"
    )

    def __init__(
        self,
        x: SSAValue,
        scale: SSAValue,
        shift: SSAValue,
        mean: SSAValue,
        variance: SSAValue,
        *,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__(
            operands=[x, scale, shift, mean, variance],
            properties={"epsilon": float_attr(epsilon)},
            result_types=[result_type(x, shape_of(x))],
        )

    def inferred_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.x)
        channels = shape[1] if len(shape) > 1 else 1
        for operand in self.operands[1:]:
            if shape_of(operand) != (channels,):
                raise ValueError(f"expected statistics of shape {channels}, got {shape_of(operand)}")
        return shape
