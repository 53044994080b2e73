"""Identities of elementwise functions.

    x + 0 => x      x * 1 => x      clip(relu(x)) => clip(x)      x - c => x + -c

Always legal: each rule gives the same number in floating point, the sign of a zero aside (and the square of a square
root, which loses its two roundings). They pay by themselves or bring what is left into one form, which other rules
look for: constants stand on the right, differences with a constant are sums, quotients by powers of two products.
"""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import element_type, shape_of
from convc.ir.data import BroadcastOp, CastOp, ConstantOp, WeightOp
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.shapes import broadcast
from convc.passes.rules import Rewriter, RuleSet
from convc.passes.values import function_of, holds_floats, lower_bound, splat_of

IDENTITIES = RuleSet()
_RIGHT_NEUTRAL = {
    Fn.ADD: 0.0,
    Fn.SUB: 0.0,
    Fn.MUL: 1.0,
    Fn.DIV: 1.0,
    Fn.POW: 1.0,
    Fn.MAX: -math.inf,
    Fn.MIN: math.inf,
}


def _same_shape(x: SSAValue, op: ElementwiseOp, rewriter: Rewriter) -> SSAValue:
    """x with the shape that the other operand gave the result."""
    return x if shape_of(x) == shape_of(op.result) else rewriter.emit(BroadcastOp(x, shape_of(op.result)))


# c + x => x + c      c * x => x * c ...
@IDENTITIES.on(ElementwiseOp)
def constant_on_the_right(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if not op.spec.commutative or not isinstance(op.inputs[0].owner, ConstantOp | WeightOp):
        return None
    if isinstance(op.inputs[1].owner, ConstantOp | WeightOp):
        return None
    return rewriter.elementwise(op.function, op.inputs[1], op.inputs[0])


# x + 0 => x      x - 0 => x      x * 1 => x      x / 1 => x      x^1 => x      max(x, -inf) => x      min(x, inf) => x
@IDENTITIES.on(ElementwiseOp)
def neutral(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    value = splat_of(op.inputs[1]) if len(op.inputs) == 2 else None
    if value is None or _RIGHT_NEUTRAL.get(op.function) != value:
        return None
    return _same_shape(op.inputs[0], op, rewriter)


# x - c => x + -c      x / 2^k => x * 2^-k
@IDENTITIES.on(ElementwiseOp)
def constant_sum_or_product(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function not in (Fn.SUB, Fn.DIV) or not holds_floats(op.result):
        return None
    x, c = op.inputs
    array = rewriter.known(c)
    if array is None or rewriter.known(x) is not None:
        return None
    if op.function == Fn.SUB:
        fn, inverse = Fn.ADD, np.negative(array)
    else:
        mantissa, inverse = np.frexp(array)[0], 1 / array
        if not ((np.abs(mantissa) == 0.5) & np.isfinite(inverse) & (inverse != 0)).all():
            return None
        fn = Fn.MUL
    return rewriter.elementwise(fn, x, rewriter.constant(inverse.astype(array.dtype), _hint(c)))


def _hint(value: SSAValue) -> str:
    return value.owner.key if isinstance(value.owner, WeightOp) else "folded"


# x * -1 => -x      0 - x => -x      1 / x => reciprocal(x)
@IDENTITIES.on(ElementwiseOp)
def unary(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if len(op.inputs) != 2 or not holds_floats(op.result):
        return None
    left, right = map(splat_of, op.inputs)
    match op.function:
        case Fn.MUL if right == -1:
            fn, x = Fn.NEG, op.inputs[0]
        case Fn.SUB if left == 0:
            fn, x = Fn.NEG, op.inputs[1]
        case Fn.DIV if left == 1:
            fn, x = Fn.RECIPROCAL, op.inputs[1]
        case _:
            return None
    return _same_shape(rewriter.elementwise(fn, x), op, rewriter)


# --x => x      x + -y => x - y      -x + y => y - x      x - -y => x + y
@IDENTITIES.on(ElementwiseOp)
def negations(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    negated = [inner.inputs[0] if (inner := function_of(x, Fn.NEG)) else None for x in op.inputs]
    match op.function, negated:
        case Fn.NEG, [SSAValue() as x]:
            return x
        case Fn.ADD, [_, SSAValue() as y]:
            return rewriter.elementwise(Fn.SUB, op.inputs[0], y)
        case Fn.ADD, [SSAValue() as x, _]:
            return rewriter.elementwise(Fn.SUB, op.inputs[1], x)
        case Fn.SUB, [_, SSAValue() as y]:
            return rewriter.elementwise(Fn.ADD, op.inputs[0], y)
        case _:
            return None


# x^2 => x * x      x^0.5 => sqrt(x) where x >= 0: (-inf)^0.5 is inf      x^-1 => reciprocal(x)
@IDENTITIES.on(ElementwiseOp)
def powers(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    exponent = splat_of(op.inputs[1]) if op.function == Fn.POW else None
    if exponent is None or not holds_floats(op.result):
        return None
    x = op.inputs[0]
    match exponent:
        case 2:
            y = rewriter.elementwise(Fn.MUL, x, x)
        case 0.5 if lower_bound(x) >= 0:
            y = rewriter.elementwise(Fn.SQRT, x)
        case -1:
            y = rewriter.elementwise(Fn.RECIPROCAL, x)
        case _:
            return None
    return _same_shape(y, op, rewriter)


# clip(clip(x)) => clip(x)      relu(clip(x)) => clip(x)      clip(relu(x)) => clip(x)      relu(relu(x)) => relu(x)
@IDENTITIES.on(ElementwiseOp)
def nested_clips(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    outer = clip_bounds(op)
    inner_op = function_of(op.inputs[0], Fn.CLIP, Fn.RELU)
    inner = clip_bounds(inner_op) if inner_op else None
    if outer is None or inner is None or inner_op is None or not holds_floats(op.result):
        return None
    (a, b), (c, d) = inner, outer
    if a > b or c > d:
        return None
    return clipped(inner_op.inputs[0], min(max(a, c), d), min(max(b, c), d), rewriter)


# clip(x, -inf, inf) => x      clip(x, 0, inf) => relu(x)      clip(x, a, b) => clip(x, -inf, b) where x >= a
@IDENTITIES.on(ElementwiseOp)
def idle_bounds(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    bounds = clip_bounds(op)
    if bounds is None or not holds_floats(op.result):
        return None
    low, high = bounds
    if low > -math.inf and lower_bound(op.inputs[0]) >= low:
        return clipped(op.inputs[0], -math.inf, high, rewriter)
    if op.function == Fn.CLIP and low in (0, -math.inf) and high == math.inf:
        return clipped(op.inputs[0], low, high, rewriter)
    return None


def clip_bounds(op: ElementwiseOp) -> tuple[float, float] | None:
    """(min, max) of a clip, a relu included."""
    match op.function:
        case Fn.RELU:
            return 0.0, math.inf
        case Fn.CLIP:
            return op.param_values["min"], op.param_values["max"]
        case _:
            return None


def clipped(x: SSAValue, low: float, high: float, rewriter: Rewriter) -> SSAValue:
    """x between two bounds, as the simplest function that does it."""
    if (low, high) == (-math.inf, math.inf):
        return x
    if (low, high) == (0, math.inf):
        return rewriter.elementwise(Fn.RELU, x)
    return rewriter.elementwise(Fn.CLIP, x, min=low, max=high)


# |x| => x where x >= 0      max(x, c) => x where x >= c
@IDENTITIES.on(ElementwiseOp)
def nothing_below(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function == Fn.ABS and lower_bound(op.inputs[0]) >= 0:
        return op.inputs[0]
    c = splat_of(op.inputs[1]) if op.function == Fn.MAX else None
    if c is not None and lower_bound(op.inputs[0]) >= c:
        return _same_shape(op.inputs[0], op, rewriter)
    return None


# max(x, x) => x      min(x, x) => x      where(c, x, x) => x      sqrt(x) * sqrt(x) => x where x >= 0
@IDENTITIES.on(ElementwiseOp)
def equal_operands(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if len(op.inputs) < 2 or op.inputs[-1] is not op.inputs[-2]:
        return None
    x = op.inputs[-1]
    if op.function in (Fn.MAX, Fn.MIN, Fn.WHERE):
        return _same_shape(x, op, rewriter)
    root = function_of(x, Fn.SQRT) if op.function == Fn.MUL else None
    return root.inputs[0] if root and lower_bound(root.inputs[0]) >= 0 else None


# f(broadcast(x), y) => f(x, y) where y has the shape already
@IDENTITIES.on(ElementwiseOp)
def broadcast_operand(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    for position, operand in enumerate(op.inputs):
        if not isinstance(operand.owner, BroadcastOp):
            continue
        inputs = [*op.inputs[:position], operand.owner.x, *op.inputs[position + 1 :]]
        if broadcast(*(shape_of(value) for value in inputs)) == shape_of(op.result):
            return rewriter.emit(ElementwiseOp(op.function, *inputs, result=op.result.type, **op.param_values))
    return None


# cast(x) => x of the same type      cast(cast(x)) => cast(x) where the inner one loses nothing
@IDENTITIES.on(CastOp)
def casts(op: CastOp, rewriter: Rewriter) -> SSAValue | None:
    if element_type(op.x) == element_type(op.result):
        return op.x
    inner = op.x.owner
    if not isinstance(inner, CastOp) or not _lossless(to_numpy(element_type(inner.x)), to_numpy(element_type(op.x))):
        return None
    return rewriter.emit(CastOp(inner.x, element_type(op.result)))


def _lossless(before: np.dtype, after: np.dtype) -> bool:
    """Whether every number of one type is one of the other. numpy calls int64 to float64 safe, which it is not."""
    return np.can_cast(before, after, "safe") and not (
        before.kind in "iu" and before.itemsize == 8 and after.kind == "f"
    )
