"""One form for each reduction.

    pool average(x) over all of it  =>  reduce mean(x) keepdims          the form of a global average pool
    reduce(reduce(x))  =>  reduce(x)
    reduce(reshape(x))  =>  reshape(reduce(x))          the mean over H*W of a flattened x is a mean over H and W
    x @ w  =>  matmul transpose_b(x, w')          w' is [O, I], as the weight of a convolution
    matmul(reshape(transpose(x)), w)  =>  matmul(reshape(x), w')          NHWC flattened into a dense layer

Always legal: the sums are the same, in another order at most. They pay because schedules know these forms, and
because a reshape between two operations keeps them from sharing a kernel.
"""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from convc.ir.attributes import PoolKind, ReduceKind, shape_of
from convc.ir.data import ReshapeOp, TransposeOp
from convc.ir.neural import ArgReduceOp, MatMulOp, ReduceOp
from convc.ir.windows import PoolOp
from convc.passes.axes import reshaped, runs
from convc.passes.rules import Rewriter, RuleSet
from convc.passes.values import only_user

REDUCTIONS = RuleSet()
_OF_ONE = {ReduceKind.SUM, ReduceKind.MEAN, ReduceKind.MAX, ReduceKind.MIN, ReduceKind.PROD}
"""What leaves a single element as it is."""
_OF_PARTS = _OF_ONE | {ReduceKind.L1, ReduceKind.L2, ReduceKind.LOG_SUM_EXP}
"""What is the same over all elements as over the results over equal parts of them."""


# pool(x) with one window that holds all of x => reduce(x)      pool(x) with windows of one element => x
@REDUCTIONS.on(PoolOp)
def global_pool(op: PoolOp, rewriter: Rewriter) -> SSAValue | None:
    sizes, kernel, pads = shape_of(op.x)[2:], op.kernel.get_values(), op.pads.get_values()
    if {*kernel, *op.strides.get_values()} == {1} and not any(pads):
        return op.x
    holds_all = all(
        pad + size <= k and (d == 1 or k == 1)
        for pad, size, k, d in zip(pads, sizes, kernel, op.dilations.get_values())
    )
    if not holds_all or set(shape_of(op.result)[2:]) != {1}:
        return None
    if op.kind.data == PoolKind.AVERAGE and op.count_include_pad is not None and any(pads):
        return None  # divides by more than what it sums
    kind = ReduceKind.MAX if op.kind.data == PoolKind.MAX else ReduceKind.MEAN
    return rewriter.emit(ReduceOp(kind, op.x, range(2, 2 + len(sizes))))


# reduce(x) => reshape(reduce keepdims(x))
@REDUCTIONS.on(ReduceOp)
def keep_axes(op: ReduceOp, rewriter: Rewriter) -> SSAValue | None:
    if op.keepdims is not None:
        return None
    kept = rewriter.emit(ReduceOp(op.kind.data, op.x, op.axes.get_values()))
    return reshaped(kept, shape_of(op.result), rewriter)


# arg_reduce(x) => reshape(arg_reduce keepdims(x))
@REDUCTIONS.on(ArgReduceOp)
def keep_axis(op: ArgReduceOp, rewriter: Rewriter) -> SSAValue | None:
    if op.keepdims is not None:
        return None
    last = op.select_last is not None
    kept = rewriter.emit(ArgReduceOp(op.kind.data, op.x, op.axis.value.data, select_last=last))
    return reshaped(kept, shape_of(op.result), rewriter)


# reduce(x) over axes of one element => x
@REDUCTIONS.on(ReduceOp)
def idle_axes(op: ReduceOp, rewriter: Rewriter) -> SSAValue | None:
    axes = op.axes.get_values()
    needed = [axis for axis in axes if shape_of(op.x)[axis] != 1]
    if op.keepdims is None or (len(needed) == len(axes) and needed):
        return None
    if not needed and op.kind.data not in _OF_ONE:
        return None
    return rewriter.emit(ReduceOp(op.kind.data, op.x, needed)) if needed else op.x


# reduce(reduce(x)) => reduce(x)
@REDUCTIONS.on(ReduceOp)
def reduce_of_reduce(op: ReduceOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.x.owner
    if not isinstance(inner, ReduceOp) or inner.kind != op.kind or op.kind.data not in _OF_PARTS:
        return None
    if op.keepdims is None or inner.keepdims is None or only_user(op.x) is None:
        return None
    return rewriter.emit(ReduceOp(op.kind.data, inner.x, sorted({*inner.axes.get_values(), *op.axes.get_values()})))


# reduce(reshape(x)) => reshape(reduce(x)) where whole runs of axes are reduced
@REDUCTIONS.on(ReduceOp)
def reduce_of_reshape(op: ReduceOp, rewriter: Rewriter) -> SSAValue | None:
    reshape = op.x.owner
    if not isinstance(reshape, ReshapeOp) or op.keepdims is None or 0 in shape_of(op.x):
        return None
    before, after = shape_of(reshape.x), shape_of(op.x)
    axes: list[int] = []
    for left, right in runs(before, after):
        reduced = [axis in op.axes.get_values() for axis in right if after[axis] != 1]
        if any(reduced) and not all(reduced):
            return None
        axes += left if any(reduced) else []
    axes = [axis for axis in axes if before[axis] != 1]
    if not axes:
        return None
    return reshaped(rewriter.emit(ReduceOp(op.kind.data, reshape.x, axes)), shape_of(op.result), rewriter)


# x @ w => matmul transpose_b(x, w') for a weight
@REDUCTIONS.on(MatMulOp)
def weight_rows_are_outputs(op: MatMulOp, rewriter: Rewriter) -> SSAValue | None:
    array = rewriter.known(op.b)
    if op.transpose_b is not None or array is None:
        return None
    # A view: the copy is made once, when the weight is packed or written.
    return rewriter.emit(MatMulOp(op.a, rewriter.weight(array.swapaxes(-1, -2), op.b), transpose_b=True))


# matmul(reshape(transpose(x)), w) => matmul(reshape(x), w')
@REDUCTIONS.on(MatMulOp)
def flattened_transpose(op: MatMulOp, rewriter: Rewriter) -> SSAValue | None:
    """Where all axes but the first are flattened, their order is that of the weight's columns."""
    reshape, array = op.a.owner, rewriter.known(op.b)
    if not isinstance(reshape, ReshapeOp) or array is None or op.transpose_b is None or array.ndim != 2:
        return None
    transpose = reshape.x.owner
    if not isinstance(transpose, TransposeOp) or transpose.perm.get_values()[0] != 0 or not only_user(op.a):
        return None
    shape, perm = shape_of(reshape.x), transpose.perm.get_values()
    if shape_of(op.a) != (shape[0], prod(shape[1:])) or not only_user(reshape.x):
        return None
    back = [perm.index(axis) for axis in range(len(perm))]
    columns = array.reshape(array.shape[0], *shape[1:]).transpose(back).reshape(array.shape)
    flat = rewriter.emit(ReshapeOp(transpose.x, shape_of(op.a)))
    return rewriter.emit(MatMulOp(flat, rewriter.weight(columns, op.b), transpose_b=True))
