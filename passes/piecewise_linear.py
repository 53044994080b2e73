"""Recognise functions that are linear on either side of zero, however they are composed.

    max(x, 0), (x + |x|) / 2  =>  relu(x)          max(x, a * x), where(x > 0, x, a * x)  =>  leaky_relu(x)
    relu(x) - s * relu(-x), relu(x) + s * (x - |x|) / 2  =>  prelu(x, s)

Such a function is p * x for x >= 0 and n * x below, and sums, multiples, maxima and rectifications of such functions
are such functions again: the two slopes are computed from x upwards. Legal where nothing else reads what is between,
for numbers: what a composition makes of NaN (0, by a choice) and of infinities (NaN, where they cancel) is not kept.
Pays because one operation takes the place of several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.passes.expressions import inner_function
from convc.passes.identities import clip_bounds
from convc.passes.rules import Rewriter, RuleSet, splat
from convc.passes.values import holds_floats, splat_of

PIECEWISE_LINEAR = RuleSet()
_MAX_OPERATIONS = 10
_UNARY = {Fn.ABS, Fn.CLIP, Fn.LEAKY_RELU, Fn.NEG, Fn.RELU}
_COMPARISONS: Mapping[Fn, bool] = {Fn.GREATER: True, Fn.GREATER_OR_EQUAL: True, Fn.LESS: False, Fn.LESS_OR_EQUAL: False}
"""Whether the comparison of x with zero holds for positive x."""


@dataclass(frozen=True)
class _Slopes:
    """p * x for x >= 0, n * x for x < 0; arrays broadcast to the result."""

    p: np.ndarray
    n: np.ndarray

    def rectified(self, leak: np.ndarray | float = 0.0) -> _Slopes:
        return _Slopes(np.where(self.p >= 0, self.p, leak * self.p), np.where(self.n <= 0, self.n, leak * self.n))

    def __add__(self, other: _Slopes) -> _Slopes:
        return _Slopes(self.p + other.p, self.n + other.n)

    def __mul__(self, c: np.ndarray | float) -> _Slopes:
        return _Slopes(self.p * c, self.n * c)


class _Reader:
    """Reads an expression from its root down to the one value x that it is a function of."""

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter = rewriter
        self.x: SSAValue | None = None
        self.operations = 0

    def slopes(self, value: SSAValue, root: bool = False) -> _Slopes | None:
        op = inner_function(value, root)
        if splat_of(value) == 0:
            return _Slopes(np.zeros(()), np.zeros(()))
        self.operations += 1
        if op is not None and self.operations <= _MAX_OPERATIONS and value is not self.x:
            if op.function in _UNARY:
                return self._unary(op)
            if op.function in (Fn.MUL, Fn.DIV, Fn.PRELU):
                return self._scaled(op)
            if op.function in (Fn.ADD, Fn.SUB, Fn.MAX, Fn.MIN):
                return self._binary(op)
            if op.function == Fn.WHERE:
                return self._chosen(op)
        return self._leaf(value)

    def _leaf(self, value: SSAValue) -> _Slopes | None:
        self.operations -= 1
        if self.x is not None and self.x is not value:
            return None
        self.x = value
        return _Slopes(np.ones(()), np.ones(()))

    def _unary(self, op: ElementwiseOp) -> _Slopes | None:
        if op.function == Fn.CLIP and clip_bounds(op) != (-math.inf, 0):
            return self._leaf(op.result)
        x = self.slopes(op.inputs[0])
        if x is None:
            return None
        match op.function:
            case Fn.NEG:
                return x * -1
            case Fn.ABS:
                return _Slopes(np.abs(x.p), -np.abs(x.n))
            case Fn.RELU:
                return x.rectified()
            case Fn.CLIP:  # min(x, 0) = -relu(-x)
                return (x * -1).rectified() * -1
            case _:
                return x.rectified(op.param_values["alpha"])

    def _scaled(self, op: ElementwiseOp) -> _Slopes | None:
        a, b = (self.rewriter.known(x) for x in op.inputs)
        factor, x = (a, op.inputs[1]) if a is not None and op.function == Fn.MUL else (b, op.inputs[0])
        if factor is None or not np.isfinite(factor).all() or (op.function == Fn.DIV and not factor.all()):
            return self._leaf(op.result)
        inner = self.slopes(x)
        if inner is None:
            return None
        factor = factor.astype(np.float64)
        if op.function == Fn.PRELU:
            return inner.rectified(factor)
        return inner * (factor if op.function == Fn.MUL else 1 / factor)

    def _binary(self, op: ElementwiseOp) -> _Slopes | None:
        a = self.slopes(op.inputs[0])
        b = self.slopes(op.inputs[1]) if a is not None else None
        if a is None or b is None:
            return None
        match op.function:
            case Fn.ADD:
                return a + b
            case Fn.SUB:
                return a + b * -1
            case Fn.MAX:
                return _Slopes(np.maximum(a.p, b.p), np.minimum(a.n, b.n))
            case _:
                return _Slopes(np.minimum(a.p, b.p), np.maximum(a.n, b.n))

    def _chosen(self, op: ElementwiseOp) -> _Slopes | None:
        condition = inner_function(op.inputs[0])
        if condition is None or condition.function not in _COMPARISONS or splat_of(condition.inputs[1]) != 0:
            return self._leaf(op.result)
        if self.x is None:
            self.x = condition.inputs[0]
        a = self.slopes(op.inputs[1])
        b = self.slopes(op.inputs[2]) if a is not None else None
        if a is None or b is None or condition.inputs[0] is not self.x:
            return None
        return _Slopes(a.p, b.n) if _COMPARISONS[condition.function] else _Slopes(b.p, a.n)


# x where p = n = 1      relu(x) where n = 0      |x| where n = -1      leaky_relu(x) or prelu(x, n) for other n
@PIECEWISE_LINEAR.on(ElementwiseOp)
def piecewise_linear(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if not holds_floats(op.result):
        return None
    reader = _Reader(rewriter)
    slopes = reader.slopes(op.result, root=True)
    x = reader.x
    if slopes is None or x is None or x is op.result or shape_of(x) != shape_of(op.result):
        return None
    if op.function in (Fn.ABS, Fn.RELU, Fn.LEAKY_RELU, Fn.PRELU) and x is op.inputs[0]:
        return None  # is what it would become
    if not np.allclose(slopes.p, 1, rtol=1e-6, atol=0):
        return None
    n = slopes.n
    if np.allclose(n, 1, rtol=1e-6, atol=0):
        return x
    if not n.any():
        return rewriter.elementwise(Fn.RELU, x)
    uniform = splat(n)
    if uniform is None:
        dtype = to_numpy(element_type(x))
        return rewriter.elementwise(Fn.PRELU, x, rewriter.constant(n.astype(dtype), "slope"))
    if uniform == -1:
        return rewriter.elementwise(Fn.ABS, x)
    return rewriter.elementwise(Fn.LEAKY_RELU, x, alpha=uniform)
