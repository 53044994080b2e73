"""Making an anchor anew with other operands, and scaling its weight.

All arithmetic on weights is in double precision; they are rounded once, when they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.functions import Fn
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.axes import along
from convc.passes.rules import Rewriter

Linear: TypeAlias = ConvOp | ConvTransposeOp | MatMulOp
"""Linear in its first operand; the second is a weight, as a rule."""


def rebuilt(
    op: Linear,
    x: SSAValue,
    w: SSAValue,
    bias: SSAValue | None = None,
    pads: Sequence[int] | None = None,
    group: int | None = None,
) -> Linear:
    """The same convolution or product of other operands, with other pads or in another number of groups if they are
    given."""
    if isinstance(op, MatMulOp):
        return MatMulOp(x, w, transpose_b=op.transpose_b is not None)
    steps: dict[str, Any] = op.steps | ({"pads": tuple(pads)} if pads else {})
    return type(op)(x, w, bias, **steps, group=group or op.group.value.data)


def bias_of(op: Linear) -> SSAValue | None:
    """Its bias; a product has none."""
    return None if isinstance(op, MatMulOp) else op.bias


def weight_of(op: Linear) -> SSAValue:
    """What it multiplies its input by."""
    return op.b if isinstance(op, MatMulOp) else op.w


def source_of(op: Linear) -> SSAValue:
    """What it reads besides its weight and bias."""
    return op.a if isinstance(op, MatMulOp) else op.x


def along_outputs(op: Linear, vector: np.ndarray) -> np.ndarray:
    """A vector over output channels in the axes of the weight."""
    match op:
        case MatMulOp():
            return vector[:, None] if op.transpose_b else vector
        case ConvOp():
            return vector.reshape(along(0, len(shape_of(op.w))))
        case ConvTransposeOp():  # [C, O/group, *K]: the inputs of a group share its outputs
            return _by_group(op, vector)


def along_inputs(op: Linear, vector: np.ndarray) -> np.ndarray:
    """A vector over input channels in the axes of the weight."""
    match op:
        case MatMulOp():
            return vector if op.transpose_b else vector[:, None]
        case ConvTransposeOp():
            return vector.reshape(along(0, len(shape_of(op.w))))
        case ConvOp():  # [O, C/group, *K]: the outputs of a group share its inputs
            return _by_group(op, vector)


def _by_group(op: ConvOp | ConvTransposeOp, vector: np.ndarray) -> np.ndarray:
    """A vector over what the weight's second axis counts within a group, in the axes of the weight."""
    shape, group = shape_of(op.w), op.group.value.data
    return np.repeat(vector.reshape(group, -1), shape[0] // group, 0).reshape(*shape[:2], *[1] * (len(shape) - 2))


def rounded(array: np.ndarray, like: SSAValue) -> np.ndarray | None:
    """An array in the element type of a value, or None if a number overflows it."""
    array = array.astype(to_numpy(element_type(like)))
    return array if np.isfinite(array).all() else None


def with_numbers(op: Linear, x: SSAValue, weight: np.ndarray | None, bias: np.ndarray, rewriter: Rewriter) -> SSAValue:
    """linear(x, weight) + bias: the old weight if none is given, a bias `[O]` in place of the old one."""
    w = weight_of(op) if weight is None else rewriter.weight(weight, weight_of(op))
    if isinstance(op, MatMulOp):
        y = rewriter.emit(rebuilt(op, x, w))
        rank = len(shape_of(y))
        line = bias.reshape(along(rank - 1, rank))
        return rewriter.elementwise(Fn.ADD, y, rewriter.constant(line, "bias")) if bias.any() else y
    stored = rewriter.weight(bias, op.bias or weight_of(op), "" if op.bias else ".bias") if bias.any() else None
    return rewriter.emit(rebuilt(op, x, w, stored))
