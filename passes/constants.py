"""Constants: folding, and one form for each.

    f(constants)  =>  constant           the interpreter computes it, rounding as the compiled program would
    x + w, w all equal  =>  x + constant        kernels take constants as immediates

Always legal. Folding pays unless the result is much larger than what it is made from (a broadcast, a padding): such
a result would have to be stored and read, where it now is computed as it is needed.
"""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import element_type, shape_of, tensor
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
    WeightOp,
)
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.interpreter import evaluate
from convc.ir.kernel import ANCHORS
from convc.ir.macs import macs
from convc.ir.neural import BatchNormOp, MatMulOp
from convc.ir.shapes import broadcast
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.anchors import rebuilt
from convc.passes.rules import Rewriter, RuleSet, splat
from convc.passes.values import splat_of

MAX_GROWTH = 16 << 20
"""Bytes by which a folded result may exceed what it is made from."""
_MAX_MACS = 1 << 28  # about a second of numpy

_MOVEMENTS = (BroadcastOp, CastOp, ConcatOp, PadOp, ReshapeOp, ResizeOp, SliceOp, TransposeOp)
_COMPUTATIONS = (*ANCHORS, BatchNormOp, ElementwiseOp)

CONSTANTS = RuleSet()


# movement(constant) => constant
@CONSTANTS.on(BroadcastOp, ReshapeOp, SliceOp, TransposeOp)
def moved_constant(op: BroadcastOp | ReshapeOp | SliceOp | TransposeOp, rewriter: Rewriter) -> SSAValue | None:
    value = splat_of(op.x)
    return None if value is None else rewriter.emit(ConstantOp(value, op.result.type))


# f(constants) => constant
@CONSTANTS.on(*_MOVEMENTS, *_COMPUTATIONS)
def fold(op: Operation, rewriter: Rewriter) -> SSAValue | None:
    if not all(isinstance(operand.owner, ConstantOp | WeightOp) for operand in op.operands):
        return None
    known = [array for operand in op.operands if (array := rewriter.known(operand)) is not None]
    stored = [operand.owner.key for operand in op.operands if isinstance(operand.owner, WeightOp)]
    result = op.results[0]
    size = prod(shape_of(result)) * to_numpy(element_type(result)).itemsize
    before = sum(rewriter.context.weights[name].nbytes for name in stored if name in rewriter.context.weights)
    if len(known) < len(op.operands) or size > MAX_GROWTH + before or macs(op) > _MAX_MACS:
        return None
    return rewriter.constant(evaluate(op, known), result.name_hint or next(iter(stored), "folded"))


# f(x, w) => f(x, c) where all of w is c      f(x, w[C, 1, 1]) => f(x, w[1, C, 1, 1])
@CONSTANTS.on(ElementwiseOp)
def normal_operand(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    """What is the same everywhere is a scalar, unless its shape makes that of the result; a weight has all axes."""
    shape = shape_of(op.result)
    for position, operand in enumerate(op.inputs):
        array = rewriter.known(operand)
        if array is None:
            continue
        others = [shape_of(other) for i, other in enumerate(op.inputs) if i != position]
        uniform = splat(array) if broadcast((), *others) == shape else None
        if uniform is not None and (isinstance(operand.owner, WeightOp) or shape_of(operand)):
            new = rewriter.emit(ConstantOp(uniform, tensor(element_type(operand), ())))
        elif isinstance(operand.owner, WeightOp) and len(shape_of(operand)) < len(shape):
            new = rewriter.emit(ReshapeOp(operand, (1,) * (len(shape) - len(shape_of(operand))) + shape_of(operand)))
        else:
            continue
        inputs = [*op.inputs[:position], new, *op.inputs[position + 1 :]]
        return rewriter.emit(ElementwiseOp(op.function, *inputs, result=op.result.type, **op.param_values))
    return None


# conv(x, w, 0) => conv(x, w)
@CONSTANTS.on(ConvOp, ConvTransposeOp)
def no_bias(op: ConvOp | ConvTransposeOp, rewriter: Rewriter) -> SSAValue | None:
    array = rewriter.known(op.bias) if op.bias is not None else None
    if array is None or array.any():
        return None
    return rewriter.emit(rebuilt(op, op.x, op.w, None))


# conv(x, constant) => conv(x, weight)
@CONSTANTS.on(ConvOp, ConvTransposeOp, MatMulOp)
def stored_weight(op: ConvOp | ConvTransposeOp | MatMulOp, rewriter: Rewriter) -> SSAValue | None:
    """What an anchor reads is in memory, whatever its elements are: schedules count on that."""
    operands = [*op.operands]
    for position, operand in enumerate(operands):
        array = rewriter.known(operand)
        if isinstance(operand.owner, ConstantOp) and array is not None:
            operands[position] = rewriter.weight(np.ascontiguousarray(array), operand)
    return None if operands == [*op.operands] else rewriter.emit(rebuilt(op, *operands))
