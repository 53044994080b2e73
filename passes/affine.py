"""Chains of steps x * s + t with constant s and t, in double precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import BatchNormOp
from convc.passes.axes import along, of_rank
from convc.passes.rules import Rewriter
from convc.passes.values import holds_floats, only_user


@dataclass(frozen=True)
class Step:
    """`x * scale + shift`; the arrays are of x's rank, in double precision, and broadcast to the result."""

    x: SSAValue
    scale: np.ndarray
    shift: np.ndarray

    @staticmethod
    def of(value: SSAValue, rewriter: Rewriter) -> Step | None:
        """The step that computes a value, if one does: x + c, x - c, c - x, x * c, x / c, -x, batch_norm(x)."""
        op = value.owner
        if not isinstance(op, ElementwiseOp | BatchNormOp) or not holds_floats(value):
            return None
        if isinstance(op, BatchNormOp):
            return _batch_norm(op, rewriter)
        rank = len(shape_of(value))
        one, zero = np.ones((1,) * rank), np.zeros((1,) * rank)
        if op.function == Fn.NEG:
            return Step(op.inputs[0], -one, zero)
        if len(op.inputs) != 2:
            return None
        left, right = (_full(rewriter.known(x), rank) for x in op.inputs)
        if (left is None) == (right is None):
            return None
        x = op.inputs[0] if left is None else op.inputs[1]
        c = left if left is not None else right
        assert c is not None
        if shape_of(x) != shape_of(value):
            return None
        match op.function:
            case Fn.ADD:
                return Step(x, one, c)
            case Fn.SUB:
                return Step(x, one, -c) if left is None else Step(x, -one, c)
            case Fn.MUL:
                return Step(x, c, zero)
            case Fn.DIV if left is None and c.all():
                return Step(x, 1 / c, zero)
            case _:
                return None

    @staticmethod
    def combined(steps: Sequence[Step]) -> Step:
        """Steps, last first, as one."""
        return reduce(lambda b, a: Step(a.x, a.scale * b.scale, a.shift * b.scale + b.shift), steps)

    @property
    def size(self) -> int:
        """How many numbers it takes to store, at the most for one of its arrays."""
        return max(self.scale.size, self.shift.size)

    @property
    def operations(self) -> int:
        """How many elementwise operations it takes."""
        return int(bool((self.scale != 1).any())) + int(bool(self.shift.any()))

    def emit(self, x: SSAValue, rewriter: Rewriter, hint: str = "folded") -> SSAValue:
        """The step as operations: a product, then a sum, each where it does something."""
        dtype = to_numpy(element_type(x))
        if (self.scale != 1).any():
            x = rewriter.elementwise(Fn.MUL, x, rewriter.constant(self.scale.astype(dtype), hint))
        if self.shift.any():
            x = rewriter.elementwise(Fn.ADD, x, rewriter.constant(self.shift.astype(dtype), hint))
        return x


def _full(array: np.ndarray | None, rank: int) -> np.ndarray | None:
    return None if array is None else array.reshape(of_rank(array.shape, rank)).astype(np.float64)


def _batch_norm(op: BatchNormOp, rewriter: Rewriter) -> Step | None:
    # batch_norm(x) = x * s + (shift - mean * s),  s = scale / sqrt(variance + epsilon)
    known = [rewriter.known(operand) for operand in op.operands[1:]]
    scale, shift, mean, variance = (None if array is None else array.astype(np.float64) for array in known)
    if scale is None or shift is None or mean is None or variance is None:
        return None
    s = scale / np.sqrt(variance + op.epsilon.value.data)
    rank = len(shape_of(op.x))
    line = along(min(1, rank - 1), rank)
    return Step(op.x, s.reshape(line), (shift - mean * s).reshape(line))


def chain(value: SSAValue, rewriter: Rewriter) -> Iterator[Step]:
    """The steps that end in a value, last first, as long as nothing else reads what is between them."""
    step = Step.of(value, rewriter)
    while step is not None:
        yield step
        step = Step.of(step.x, rewriter) if only_user(step.x) else None
