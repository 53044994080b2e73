"""Move transposes and reshapes down the graph, until they meet their inverse or nothing is left that lets them pass.

    f(transpose(x))  =>  transpose(f(x))          f elementwise, concat, pad, slice, reduce, softmax, resize
    f(reshape(x))  =>  reshape(f(x))          f elementwise; all of these where only axes of one element come and go
    transpose'(f(transpose(x), y))  =>  f(x, transpose'(y))          where the two are inverse

Networks in NHWC are exported with a transpose on either side of each convolution; with all of them sunk, pairs cancel
and the network is in NCHW. Legal where the other operands can be moved back for nothing: they come out of the same
movement, are constants, or hold one element along all axes that move. A transpose is sunk only if all its readers let
it pass and no more is transposed afterwards; where that is not so, the last rule looks upwards from the other end. It
pays even where nothing cancels: what stands between an operation and its epilogue keeps them from sharing a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import element_type, shape_of
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
from convc.ir.elementwise import ElementwiseOp
from convc.ir.neural import ArgReduceOp, ReduceOp, SoftmaxOp
from convc.ir.op import float_values
from convc.passes.axes import Movement, of_rank, reshaped
from convc.passes.movements import normal_transpose
from convc.passes.rewriting import users
from convc.passes.rules import Rewriter, RuleSet

SINKING, CANCELLING = RuleSet(), RuleSet()
CANCELLING.on(TransposeOp)(normal_transpose)
Above = Callable[[Sequence[SSAValue]], Operation]
"""Makes an operation as it is above a movement, of operands that have not been moved yet."""
_MAX_REGION = 64  # operations between two transposes; longer ones have not been seen


# f(move(x), move(y)) => move(f(x, y))
@SINKING.on(ArgReduceOp, BroadcastOp, CastOp, ConcatOp, ElementwiseOp, PadOp, ReduceOp, ResizeOp, SliceOp, SoftmaxOp)
def sink(op: Operation, rewriter: Rewriter) -> SSAValue | None:
    for operand in op.operands:
        movement = Movement.of(operand)
        if movement is None or not _passes(op, movement):
            continue
        if movement.transposes and not _less_below(op, movement, rewriter):
            continue
        above = _above(op, movement)
        assert above is not None
        value = rewriter.emit(above([movement.undone(x, rewriter) for x in op.operands]))
        return movement.of_another(value, shape_of(op.results[0]), rewriter)
    return None


def _less_below(op: Operation, movement: Movement, rewriter: Rewriter) -> bool:
    """Whether no more is transposed once all readers of what `op` reads have let the transpose pass."""
    gone = {x for x in op.operands if isinstance(x.owner, TransposeOp)}
    if gone and gone <= rewriter.agreed:
        return True
    gone = {x for x in gone if all(_passes(user, movement) for user in users(x))}
    below = {user for x in gone for user in users(x) if not isinstance(user, TransposeOp | ReshapeOp)}
    less = bool(gone) and sum(_bulk(user.results[0]) for user in below) <= sum(map(_bulk, gone))
    rewriter.agreed.update(gone if less else ())
    return less


def _bulk(value: SSAValue) -> int:
    """How many elements a value holds, not counting the padding in it."""
    match value.owner:
        case PadOp() as op:
            return _bulk(op.x)
        case TransposeOp() as op:
            return _bulk(op.x)
        case ConcatOp() as op:
            return sum(map(_bulk, op.parts))
        case _:
            return prod(shape_of(value))


def _passes(op: Operation, movement: Movement) -> bool:
    """Whether a reader of a moved value can be computed before it is moved, or is a movement too and joins it."""
    if isinstance(op, TransposeOp | ReshapeOp):
        return Movement.of(op.result) is not None
    return _above(op, movement) is not None and all(map(movement.undoes, op.operands))


def _above(op: Operation, movement: Movement) -> Above | None:
    """How to compute `op` above a movement; None if its attributes do not allow it."""
    if not op.results or len(shape_of(op.results[0])) != len(movement.axes):
        return None
    match op:
        case ElementwiseOp():
            return lambda x: ElementwiseOp(op.function, *x, result=None, **op.param_values)
        case CastOp():
            return lambda x: CastOp(x[0], element_type(op.result))
        case ConcatOp():
            joined = movement.axes[op.axis.value.data]
            return None if joined is None else lambda x: ConcatOp(x, joined)
        case SliceOp():
            return _slice_above(op, movement)
        case PadOp():
            rank = len(movement.axes)
            begins = movement.back_each(op.pads.get_values()[:rank], 0)
            ends = movement.back_each(op.pads.get_values()[rank:], 0)
            if begins is None or ends is None:
                return None
            return lambda x: PadOp(x[0], [*begins, *ends], mode=op.mode.data, value=op.value.value.data)
        case ReduceOp() if op.keepdims is not None and (axes := movement.back(op.axes.get_values())):
            return lambda x: ReduceOp(op.kind.data, x[0], sorted(axes))
        case SoftmaxOp() if (axes := movement.back(op.axes.get_values())) and max(axes) - min(axes) < len(axes):
            return lambda x: SoftmaxOp(x[0], sorted(axes), log=op.log is not None)
        case ArgReduceOp() if op.keepdims is not None:
            axis, last = movement.axes[op.axis.value.data], op.select_last is not None
            return None if axis is None else lambda x: ArgReduceOp(op.kind.data, x[0], axis, select_last=last)
        case BroadcastOp() if len(shape_of(op.x)) == len(shape_of(op.result)):
            shape = movement.back_each(shape_of(op.result), 1)
            return None if shape is None else lambda x: BroadcastOp(x[0], shape)
        case ResizeOp() if movement.transposes:
            return _resize_above(op, movement)
        case _:
            return None


def _slice_above(op: SliceOp, movement: Movement) -> Above | None:
    starts, steps = movement.back_each(op.starts.get_values(), 0), movement.back_each(op.steps.get_values(), 1)
    sizes = movement.back_each(shape_of(op.result), 1)
    if starts is None or steps is None or sizes is None:
        return None
    return lambda x: SliceOp(x[0], starts, sizes, steps)


def _resize_above(op: ResizeOp, movement: Movement) -> Above:
    order = [movement.axes.index(axis) for axis in range(movement.rank)]
    shape, scales, roi = shape_of(op.result), float_values(op.scales), float_values(op.roi)
    halves = (roi[: len(roi) // 2], roi[len(roi) // 2 :]) if roi else ()
    return lambda x: ResizeOp(
        x[0],
        [shape[i] for i in order],
        mode=op.mode.data,
        coordinates=op.coordinates.data,
        nearest=op.nearest.data,
        scales=[scales[i] for i in order],
        roi=[half[i] for half in halves for i in order],
        cubic_coeff=op.cubic_coeff.value.data,
        extrapolation=op.extrapolation.value.data,
        exclude_outside=bool(op.exclude_outside.value.data),
        antialias=bool(op.antialias.value.data),
    )


# f(reshape(x), reshape(y), c) => reshape(f(x, y, c)) for any reshape and scalar constants
@SINKING.on(ElementwiseOp, CastOp)
def sink_any_reshape(op: ElementwiseOp | CastOp, rewriter: Rewriter) -> SSAValue | None:
    sources: list[SSAValue] = []
    for operand in op.operands:
        if isinstance(operand.owner, ReshapeOp) and shape_of(operand) == shape_of(op.result):
            sources.append(operand.owner.x)
        elif isinstance(operand.owner, ConstantOp) and not shape_of(operand):
            sources.append(operand)
        else:
            return None
    if len({shape_of(source) for source in sources} - {()}) != 1:
        return None
    if isinstance(op, CastOp):
        value = rewriter.emit(CastOp(sources[0], element_type(op.result)))
    else:
        value = rewriter.elementwise(op.function, *sources, **op.param_values)
    return reshaped(value, shape_of(op.result), rewriter)


# transpose'(f(transpose(x), y)) => f(x, transpose'(y))
@SINKING.on(TransposeOp)
@CANCELLING.on(TransposeOp)
def pull(op: TransposeOp, rewriter: Rewriter) -> SSAValue | None:
    """f may be many operations, as long as nothing else reads what is between them."""
    region = _Region(op)
    return region.moved(op, rewriter) if region.pays(op) else None


class _Region:
    """The operations above a transpose that let it pass and that nothing else reads, in order; what they read is
    moved back for nothing, comes out of the inverse transpose (`cancels`), or has to be transposed (`costs`)."""

    def __init__(self, op: TransposeOp) -> None:
        axes = tuple(op.perm.get_values().index(axis) for axis in range(len(shape_of(op.x))))
        self.inverse = Movement(op.result, axes, True)
        self.inside: list[Operation] = []
        self._collect(op.x, set())
        while True:
            known = {op, *self.inside}
            kept = [inner for inner in self.inside if known.issuperset(users(inner.results[0]))]
            if len(kept) == len(self.inside):
                break
            self.inside = kept
        read = {
            operand: None for inner in self.inside for operand in inner.operands if operand.owner not in self.inside
        }
        self.cancels = [value for value in read if self._is_inverse(value)]
        self.costs = [value for value in read if not self._is_inverse(value) and not self.inverse.undoes(value)]

    def _collect(self, value: SSAValue, seen: set[SSAValue]) -> None:
        owner = value.owner
        passes = isinstance(owner, Operation) and _above(owner, self.inverse) is not None
        if isinstance(owner, Operation) and passes and value not in seen and len(seen) < _MAX_REGION:
            seen.add(value)
            for operand in owner.operands:
                self._collect(operand, seen)
            self.inside.append(owner)

    def _is_inverse(self, value: SSAValue) -> bool:
        return isinstance(value.owner, TransposeOp) and tuple(value.owner.perm.get_values()) == self.inverse.axes

    def pays(self, op: TransposeOp) -> bool:
        """Less is transposed afterwards, or as much and one transpose is gone."""
        cost, before = sum(map(_bulk, self.costs)), _bulk(op.result)
        gone = any(set(users(value)) <= set(self.inside) for value in self.cancels)
        return bool(self.inside) and (cost < before or (cost == before and gone))

    def moved(self, op: TransposeOp, rewriter: Rewriter) -> SSAValue:
        perm = op.perm.get_values()
        values: dict[SSAValue, SSAValue] = {}
        for value in self.costs:
            full = reshaped(value, of_rank(shape_of(value), len(perm)), rewriter)
            values[value] = rewriter.emit(TransposeOp(full, perm))
        for inner in self.inside:
            above = _above(inner, self.inverse)
            assert above is not None
            operands = [values[x] if x in values else self.inverse.undone(x, rewriter) for x in inner.operands]
            values[inner.results[0]] = rewriter.emit(above(operands))
        return values[op.x]
