"""What passes can tell about values without running them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import PadMode, PoolKind, ReduceKind, element_type
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    PadOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    TransposeOp,
)
from convc.ir.dtypes import is_float
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp, SoftmaxOp
from convc.ir.windows import PoolOp

_NEVER_BELOW: Mapping[Fn, float] = {
    Fn.ABS: 0,
    Fn.ERF: -1,
    Fn.EXP: 0,
    Fn.HARD_SIGMOID: 0,
    Fn.HARD_SWISH: -0.375,
    Fn.SIGMOID: 0,
    Fn.SILU: -0.2785,
    Fn.SOFTPLUS: 0,
    Fn.SQRT: 0,
    Fn.TANH: -1,
}


def only_user(value: SSAValue) -> Operation | None:
    """The operation that alone reads a value, and reads it once."""
    first = value.first_use
    return first.operation if first is not None and value.has_one_use() else None


def function_of(value: SSAValue, *functions: Fn) -> ElementwiseOp | None:
    """The operation that computes a value, if it is one of these elementwise functions."""
    op = value.owner
    return op if isinstance(op, ElementwiseOp) and op.function in functions else None


def splat_of(value: SSAValue) -> float | None:
    """The one number that a value holds everywhere, if it is a constant."""
    return value.owner.value.value.data if isinstance(value.owner, ConstantOp) else None


def holds_floats(value: SSAValue) -> bool:
    return is_float(element_type(value))


def per_channel(array: np.ndarray, shape: Sequence[int], axis: int) -> np.ndarray | None:
    """An array that broadcasts to `shape` as a vector along one axis, in double precision; None if it also varies
    along another."""
    full = (1,) * (len(shape) - array.ndim) + array.shape
    if len(full) != len(shape) or any(size != 1 for i, size in enumerate(full) if i != axis):
        return None
    return np.broadcast_to(array.reshape(-1), (shape[axis],)).astype(np.float64)


def lower_bound(value: SSAValue, depth: int = 6) -> float:
    """A number that no element of a value lies below (NaN apart); minus infinity where nothing is known."""
    op = value.owner
    if depth == 0 or not isinstance(op, Operation):
        return -math.inf

    def of(*values: SSAValue) -> float:
        return min((lower_bound(operand, depth - 1) for operand in values), default=-math.inf)

    match op:
        case ConstantOp():
            return op.value.value.data
        case ElementwiseOp():
            return _lower_bound_of_function(op, of)
        case ConcatOp() | SliceOp() | ReshapeOp() | TransposeOp() | BroadcastOp():
            return of(*op.operands)
        case CastOp():
            return of(op.x) if holds_floats(op.x) and holds_floats(op.result) else -math.inf
        case PadOp():
            return min(of(op.x), op.value.value.data) if op.mode.data == PadMode.CONSTANT else of(op.x)
        case ResizeOp():
            plain = op.mode.data != "cubic" and op.coordinates.data != "tf_crop_and_resize"
            return of(op.x) if plain else -math.inf
        case PoolOp():
            return of(op.x) if op.kind.data == PoolKind.MAX else min(of(op.x), 0)
        case SoftmaxOp():
            return -math.inf if op.log is not None else 0
        case ReduceOp():
            return _lower_bound_of_reduction(op.kind.data, of(op.x))
        case _:
            return -math.inf


def _lower_bound_of_function(op: ElementwiseOp, of: Callable[..., float]) -> float:
    fn, inputs = op.function, op.inputs
    match fn:
        case Fn.RELU:
            return 0.0  # what lies below need not be known
        case Fn.CLIP:
            low, high = op.param_values["min"], op.param_values["max"]
            return min(low if low > -math.inf else of(inputs[0]), high)
        case Fn.MAX:
            return max(of(inputs[0]), of(inputs[1]))
        case Fn.MIN:
            return of(*inputs)
        case Fn.WHERE:
            return of(*inputs[1:])
        case Fn.ADD:
            left = of(inputs[0])
            return left + of(inputs[1]) if left > -math.inf else left
        case Fn.MUL:
            return 0.0 if inputs[0] is inputs[1] or of(*inputs) >= 0 else -math.inf
        case _:
            return _NEVER_BELOW.get(fn, -math.inf)


def _lower_bound_of_reduction(kind: ReduceKind, x: float) -> float:
    match kind:
        case ReduceKind.MAX | ReduceKind.MIN | ReduceKind.MEAN:
            return x
        case ReduceKind.SUM | ReduceKind.PROD:
            return 0 if x >= 0 else -math.inf
        case ReduceKind.L1 | ReduceKind.L2 | ReduceKind.SUM_SQUARE:
            return 0
        case _:
            return -math.inf
