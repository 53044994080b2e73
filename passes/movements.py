"""Identities of the operations that move data.

    reshape(reshape(x)) => reshape(x)      transpose(transpose(x)) => transpose(x)      slice(concat(x, y)) => x

Always legal, and always pays: less is moved. A chain of transposes and of reshapes that insert or remove axes of one
element has one form: a reshape if the larger axes keep their order, else one transpose, and a reshape after it if the
number of axes changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import PadMode, shape_of
from convc.ir.data import BroadcastOp, ConcatOp, PadOp, ReshapeOp, ResizeOp, SliceOp, TransposeOp
from convc.passes.axes import Axes, Movement, keeps_order, reshaped
from convc.passes.rules import Rewriter, RuleSet
from convc.passes.values import only_user

MOVEMENTS = RuleSet()


# reshape(x) to its own shape => x      reshape(reshape(x)) => reshape(x)
@MOVEMENTS.on(ReshapeOp)
def reshape_of_reshape(op: ReshapeOp, rewriter: Rewriter) -> SSAValue | None:
    source = op.x.owner.x if isinstance(op.x.owner, ReshapeOp) else op.x
    shape = shape_of(op.result)
    return None if source is op.x and shape_of(source) != shape else reshaped(source, shape, rewriter)


# transpose(transpose(x)) => transpose(x)      transpose(reshape(x)) => reshape(transpose(x))
# transpose(x) that moves only axes of one element => reshape(x)
@MOVEMENTS.on(TransposeOp)
def normal_transpose(op: TransposeOp, rewriter: Rewriter) -> SSAValue | None:
    inner = Movement.of(op.x) or Movement(op.x, tuple(range(len(shape_of(op.x)))), False)
    axes = tuple(inner.axes[axis] for axis in op.perm.get_values())
    perm = _normal_perm(inner.source, axes, shape_of(op.result))
    if inner.source is op.x and perm == tuple(op.perm.get_values()):
        return None
    return _moved(inner.source, perm, op.result, rewriter)


# reshape(transpose(x)) => transpose(x) where both have as many axes
@MOVEMENTS.on(ReshapeOp)
def reshape_of_transpose(op: ReshapeOp, rewriter: Rewriter) -> SSAValue | None:
    outer, inner = Movement.of(op.result), Movement.of(op.x)
    if outer is None or inner is None or not inner.transposes:
        return None
    axes = tuple(None if axis is None else inner.axes[axis] for axis in outer.axes)
    perm = _normal_perm(inner.source, axes, shape_of(op.result))
    same_rank = inner.rank == len(axes)
    if not same_rank and (perm == inner.axes or only_user(op.x) is None):
        return None
    return _moved(inner.source, perm, op.result, rewriter)


def _normal_perm(source: SSAValue, axes: Axes, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The transpose of `source` that orders its larger axes as `axes` does; None where they are in order. Axes of one
    element stay where they are, or go where the result has some if it has as many axes."""
    if keeps_order(shape, axes):
        return None
    before = shape_of(source)
    order = iter(axis for axis, size in zip(axes, shape) if size != 1 and axis is not None)
    units = iter(axis for axis, size in enumerate(before) if size == 1)
    slots = shape if len(shape) == len(before) else before
    return tuple(next(units) if size == 1 else next(order) for size in slots)


def _moved(source: SSAValue, perm: tuple[int, ...] | None, result: SSAValue, rewriter: Rewriter) -> SSAValue:
    value = source if perm is None else rewriter.emit(TransposeOp(source, perm))
    return reshaped(value, shape_of(result), rewriter)


# broadcast(x) => reshape(x) where nothing is repeated      broadcast(broadcast(x)) => broadcast(x)
@MOVEMENTS.on(BroadcastOp)
def idle_broadcast(op: BroadcastOp, rewriter: Rewriter) -> SSAValue | None:
    before, after = shape_of(op.x), shape_of(op.result)
    if (1,) * (len(after) - len(before)) + before == after:
        return reshaped(op.x, after, rewriter)
    return rewriter.emit(BroadcastOp(op.x.owner.x, after)) if isinstance(op.x.owner, BroadcastOp) else None


# slice(x) of everything => x      slice(slice(x)) => slice(x)
@MOVEMENTS.on(SliceOp)
def slice_of_slice(op: SliceOp, rewriter: Rewriter) -> SSAValue | None:
    sizes, starts, steps = shape_of(op.result), op.starts.get_values(), op.steps.get_values()
    if sizes == shape_of(op.x) and all(step == 1 or size == 1 for step, size in zip(steps, sizes)):
        return op.x
    inner = op.x.owner
    if not isinstance(inner, SliceOp):
        return None
    inner_starts, inner_steps = inner.starts.get_values(), inner.steps.get_values()
    starts = tuple(first + start * step for first, start, step in zip(inner_starts, starts, inner_steps))
    steps = tuple(outer * step for outer, step in zip(steps, inner_steps))
    return rewriter.emit(SliceOp(inner.x, starts, sizes, steps))


# slice(concat(x, y, z)) => concat(x, y) or slice(x)
@MOVEMENTS.on(SliceOp)
def slice_of_concat(op: SliceOp, rewriter: Rewriter) -> SSAValue | None:
    """Where the slice takes whole parts, or lies inside one."""
    concat = op.x.owner
    if not isinstance(concat, ConcatOp) or 0 in shape_of(op.result):
        return None
    axis = concat.axis.value.data
    starts, steps, sizes = list(op.starts.get_values()), op.steps.get_values(), shape_of(op.result)
    ends = list(accumulate(shape_of(part)[axis] for part in concat.parts))
    begins = [0, *ends[:-1]]
    last = starts[axis] + (sizes[axis] - 1) * steps[axis]
    touched = [
        i for i, (b, e) in enumerate(zip(begins, ends)) if b <= max(starts[axis], last) and min(starts[axis], last) < e
    ]
    if len(touched) == 1:
        starts[axis] -= begins[touched[0]]
        return rewriter.emit(SliceOp(concat.parts[touched[0]], starts, sizes, steps))
    whole = begins[touched[0]] == starts[axis] and ends[touched[-1]] == last + 1 and steps[axis] == 1
    if not whole or len(touched) == len(concat.parts):
        return None
    joined = rewriter.emit(ConcatOp([concat.parts[i] for i in touched], axis))
    starts[axis] = 0
    return rewriter.emit(SliceOp(joined, starts, sizes, steps))


# concat(x) => x      concat(concat(x, y), z) => concat(x, y, z)
@MOVEMENTS.on(ConcatOp)
def concat_of_concat(op: ConcatOp, rewriter: Rewriter) -> SSAValue | None:
    """However deep they are nested: the outermost takes in all, since each that takes in only the next copies all of
    its parts."""
    if len(op.parts) == 1:
        return op.parts[0]
    if _flattens(only_user(op.result), op):
        return None
    parts: list[SSAValue] = []
    pending = [*op.parts[::-1]]
    while pending:
        part = pending.pop()
        if isinstance(inner := part.owner, ConcatOp) and _flattens(op, inner) and only_user(part):
            pending += inner.parts[::-1]
        else:
            parts.append(part)
    return rewriter.emit(ConcatOp(parts, op.axis.value.data)) if len(parts) > len(op.parts) else None


def _flattens(outer: Operation | None, inner: ConcatOp) -> bool:
    """Whether a reader of a join is one along the same axis."""
    return isinstance(outer, ConcatOp) and outer.axis == inner.axis


# concat(x[a:b], x[b:c]) => x[a:c]
@MOVEMENTS.on(ConcatOp)
def concat_of_slices(op: ConcatOp, rewriter: Rewriter) -> SSAValue | None:
    axis = op.axis.value.data
    runs: list[list[SSAValue]] = [[op.parts[0]]]
    for part in op.parts[1:]:
        if _goes_on(runs[-1][-1], part, axis):
            runs[-1].append(part)
        else:
            runs.append([part])
    if len(runs) == len(op.parts):
        return None
    parts = [_joined(run, axis, rewriter) for run in runs]
    return parts[0] if len(parts) == 1 else rewriter.emit(ConcatOp(parts, axis))


def _goes_on(left: SSAValue, right: SSAValue, axis: int) -> bool:
    """Whether two values are slices of one, the second where the first ends."""
    first, second = left.owner, right.owner
    if not isinstance(first, SliceOp) or not isinstance(second, SliceOp) or first.x is not second.x:
        return False
    starts = list(second.starts.get_values())
    starts[axis] -= shape_of(left)[axis] * first.steps.get_values()[axis]
    return starts == list(first.starts.get_values()) and first.steps == second.steps


def _joined(run: Sequence[SSAValue], axis: int, rewriter: Rewriter) -> SSAValue:
    """Slices of one value that go on where the one before ends, as one slice."""
    if len(run) == 1:
        return run[0]
    first = run[0].owner
    assert isinstance(first, SliceOp)
    sizes = list(shape_of(run[0]))
    sizes[axis] = sum(shape_of(part)[axis] for part in run)
    return rewriter.emit(SliceOp(first.x, first.starts.get_values(), sizes, first.steps.get_values()))


# pad(x) by nothing => x      pad(x) that only takes off => slice(x)
@MOVEMENTS.on(PadOp)
def idle_pad(op: PadOp, rewriter: Rewriter) -> SSAValue | None:
    pads = op.pads.get_values()
    if max(pads, default=0) > 0:
        return None
    if not any(pads):
        return op.x
    return rewriter.emit(SliceOp(op.x, [-pad for pad in pads[: len(pads) // 2]], shape_of(op.result)))


# pad(pad(x, c), c) => pad(x, c)
@MOVEMENTS.on(PadOp)
def pad_of_pad(op: PadOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.x.owner
    if not isinstance(inner, PadOp) or inner.value != op.value or {inner.mode.data, op.mode.data} != {PadMode.CONSTANT}:
        return None
    pads, more = inner.pads.get_values(), op.pads.get_values()
    if min(*pads, *more) < 0:
        return None
    return rewriter.emit(PadOp(inner.x, [a + b for a, b in zip(pads, more)], value=op.value.value.data))


# resize(x) to its own size => x
@MOVEMENTS.on(ResizeOp)
def idle_resize(op: ResizeOp, rewriter: Rewriter) -> SSAValue | None:
    same = shape_of(op.x) == shape_of(op.result) and all(scale.value.data == 1 for scale in op.scales.data)
    return op.x if same and op.coordinates.data != "tf_crop_and_resize" else None
