"""Folding x * s + t into the convolution or product before it, or after it.

    linear(x, w) * s + t  =>  linear(x, w * s) + t
    linear(x * s + t, w)  =>  linear(x, w * s) + sum(w * t)

Both legal where s and t are constant and vary along channels only. The second adds t to what padding adds zeros to,
so it needs t = 0 or a window that never sees padding. `fold-batch-norm` and `fold-conv-scale` share these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import shape_of
from convc.ir.functions import Fn
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.affine import Step, chain
from convc.passes.anchors import (
    Linear,
    along_inputs,
    along_outputs,
    bias_of,
    rounded,
    source_of,
    weight_of,
    with_numbers,
)
from convc.passes.axes import Movement, along
from convc.passes.rewriting import users
from convc.passes.rules import Rewriter
from convc.passes.values import only_user, per_channel


def fold_after(value: SSAValue, rewriter: Rewriter) -> SSAValue | None:
    """step(step(linear(x, w) + b)) => linear(x, w') + b'. Steps that do not fold are done after it."""
    steps = list(chain(value, rewriter))
    op = steps[-1].x.owner if steps else None
    if not isinstance(op, ConvOp | ConvTransposeOp | MatMulOp) or not only_user(op.result):
        return None
    shape = shape_of(op.result)
    axis = len(shape) - 1 if isinstance(op, MatMulOp) else 1
    for rest in range(len(steps)):
        total = Step.combined(steps[rest:])
        scale, shift = (per_channel(array, shape, axis) for array in (total.scale, total.shift))
        if scale is None or shift is None:
            continue
        # A product has no bias: a sum stays a sum.
        if isinstance(op, MatMulOp) and sum(step.operations for step in steps[rest:]) <= bool(shift.any()):
            continue
        result = _scaled_output(op, scale, shift, rewriter)
        if result is not None:
            for step in reversed(steps[:rest]):
                result = step.emit(result, rewriter)
            return result
    return None


def _scaled_output(op: Linear, scale: np.ndarray, shift: np.ndarray, rewriter: Rewriter) -> SSAValue | None:
    bias, weight = bias_of(op), None
    if bias is not None:
        known = rewriter.known(bias)
        if known is None:
            return None
        shift = known * scale + shift
    if (scale != 1).any():
        array = rewriter.known(weight_of(op))
        weight = None if array is None else rounded(array * along_outputs(op, scale), op.result)
        if weight is None:
            return None
    total = rounded(shift, op.result)
    return None if total is None else with_numbers(op, source_of(op), weight, total, rewriter)


def fold_before(op: Linear, rewriter: Rewriter) -> SSAValue | None:
    """linear(x * s + t, w) => linear(x, w'). Where padding is in the way of t, one operation less all the same:
    conv(x * s + t, w) => conv(x + t / s, w * s)."""
    weight, bias = rewriter.known(weight_of(op)), bias_of(op)
    readers = [op] if source_of(op) in rewriter.agreed else users(source_of(op))
    found = None
    for candidate in _inputs(op, rewriter):
        if all(_is_linear(r, source_of(op), rewriter) and _pays(r, candidate) for r in readers):
            found = candidate
    known = 0.0 if bias is None else rewriter.known(bias)
    if found is None or weight is None or known is None:
        return None
    whole = _takes(op, found.shift)
    moved = found.shift if whole else np.zeros_like(found.shift)
    added = np.zeros(()) if whole else found.shift / found.scale
    shift = rounded(known + _summed(op, weight * along_inputs(op, moved)), op.result)
    weight, offset = rounded(weight * along_inputs(op, found.scale), op.result), rounded(added, op.result)
    if weight is None or shift is None or offset is None:
        return None
    rewriter.agreed.add(source_of(op))
    x = found.x
    for movement, shape in reversed(found.movements):
        x = movement.of_another(x, shape, rewriter)
    if not whole:
        line = along(_channels(op), len(shape_of(x)))
        x = rewriter.elementwise(Fn.ADD, x, rewriter.constant(offset.reshape(line), "shift"))
    return with_numbers(op, x, weight, shift, rewriter)


@dataclass(frozen=True)
class _Input:
    """What an operation reads, as `move(x) * scale + shift` with vectors over its input channels. `operations` is how
    many would be gone."""

    x: SSAValue
    movements: tuple[tuple[Movement, tuple[int, ...]], ...]
    scale: np.ndarray
    shift: np.ndarray
    operations: int


def _inputs(op: Linear, rewriter: Rewriter) -> Iterator[_Input]:
    """What can be folded of the steps before an operation: the last one, the last two ... Transposes and reshapes that
    keep the channels an axis of their own may stand between."""
    value, axis = source_of(op), _channels(op)
    channels = shape_of(value)[axis]
    found = _Input(value, (), np.ones(channels), np.zeros(channels), 0)
    while value is source_of(op) or only_user(value):
        step, movement = Step.of(value, rewriter), Movement.of(value)
        if step is not None:
            scale, shift = (per_channel(array, shape_of(value), axis) for array in (step.scale, step.shift))
            if scale is None or shift is None:
                return
            value = step.x
            found = _Input(
                value,
                found.movements,
                scale * found.scale,
                shift * found.scale + found.shift,
                found.operations + step.operations,
            )
            yield found
        elif movement is not None and (before := movement.axes[axis]) is not None:
            moved = (*found.movements, (movement, shape_of(value)))
            value, axis = movement.source, before
            found = _Input(value, moved, found.scale, found.shift, found.operations)
        else:
            return


def _is_linear(op: Operation, x: SSAValue, rewriter: Rewriter) -> TypeGuard[Linear]:
    """Whether an operation is linear in x, with a weight that is known."""
    if not isinstance(op, ConvOp | ConvTransposeOp | MatMulOp):
        return False
    return source_of(op) is x and bias_of(op) is not x and rewriter.known(weight_of(op)) is not None


def _channels(op: Linear) -> int:
    return len(shape_of(op.a)) - 1 if isinstance(op, MatMulOp) else 1


def _takes(op: Linear, shift: np.ndarray) -> bool:
    """Whether the shift of an input becomes a shift of the output."""
    match op:
        case ConvOp():
            return not shift.any() or not any(op.pads.get_values())
        case MatMulOp():
            return not shift.any() or len(shape_of(op.b)) == 2
        case ConvTransposeOp():
            return not shift.any()


def _pays(op: Linear, found: _Input) -> bool:
    if isinstance(op, MatMulOp):  # what comes out of it is a sum
        return _takes(op, found.shift) and found.operations > bool(found.shift.any())
    return _takes(op, found.shift) or (found.operations > 1 and bool(found.scale.all()))


def _summed(op: Linear, products: np.ndarray) -> np.ndarray:
    """Products of weights with an entry for each input channel, summed to `[O]`."""
    if isinstance(op, MatMulOp):
        return products.sum(-1 if op.transpose_b else -2).reshape(-1) if products.ndim == 2 else np.zeros(())
    if isinstance(op, ConvTransposeOp):  # takes no shift
        return np.zeros(())
    return products.sum(tuple(range(1, products.ndim)))
