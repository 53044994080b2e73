"""How to read one element of each injective operation's result: index arithmetic, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from tvm import tirx
from xdsl.ir import Operation

from convc.ir.attributes import PadMode, element_type, shape_of
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    PadOp,
    ReshapeOp,
    ResizeOp,
    ShuffleOp,
    SliceOp,
    TransposeOp,
)
from convc.ir.dtypes import is_storage, to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.neural import BatchNormOp, LRNOp
from convc.ir.sampling import GatherOp, GridSampleOp
from convc.targets.functions import OF_EQUALS, apply, truth, unlike
from convc.targets.indexing import flattened
from convc.targets.resize import read_resize
from convc.targets.sampling import read_gather, read_grid_sample
from convc.targets.storage import decode, encode, number

if TYPE_CHECKING:
    from convc.targets.emit import Emitter, Index


_MOST_NEAR = 16
"""Channels that an unrolled LRN reads for an element."""


def reads_few(kernel: KernelOp) -> bool:
    """Whether an element of a kernel's result is an expression of few elements: there is no anchor, or one that gathers
    or samples, or an LRN over a few channels."""
    match kernel.anchor:
        case None | GatherOp() | GridSampleOp():
            return True
        case LRNOp() as op:
            return op.size.value.data <= _MOST_NEAR
    return False


def read_elementwise(emitter: Emitter, op: ElementwiseOp, index: Index) -> Any:
    operands = [emitter.read(value, broadcast_index(shape_of(value), index)) for value in op.inputs]
    if op.function in OF_EQUALS and op.inputs[0] is op.inputs[1]:
        operands[1] = unlike(operands[1])
    return apply(op.function, operands, op.param_values)


def read_broadcast(emitter: Emitter, op: BroadcastOp, index: Index) -> Any:
    return emitter.read(op.x, broadcast_index(shape_of(op.x), index))


def broadcast_index(shape: tuple[int, ...], index: Index) -> Index:
    """The index into an operand of this shape that numpy's broadcasting pairs with `index`."""
    aligned = list(index)[len(index) - len(shape) :]
    return [0 if size == 1 else i for size, i in zip(shape, aligned, strict=True)]


def read_cast(emitter: Emitter, op: CastOp, index: Index) -> Any:
    before, after = (to_numpy(element_type(value)) for value in (op.x, op.result))
    value = emitter.read(op.x, index)
    if is_storage(element_type(op.x)):
        value = decode(value, before)
    if is_storage(element_type(op.result)):
        return encode(value, after)
    return truth(value) if after.kind == "b" else tirx.Cast(str(after), value)


def read_transpose(emitter: Emitter, op: TransposeOp, index: Index) -> Any:
    perm = op.perm.get_values()
    return emitter.read(op.x, [index[perm.index(axis)] for axis in range(len(perm))])


def read_reshape(emitter: Emitter, op: ReshapeOp, index: Index) -> Any:
    flat, before = flattened(index, shape_of(op.result)), shape_of(op.x)
    return emitter.read(
        op.x,
        [
            emitter.simplify(flat // prod(before[axis + 1 :]) % size) if size > 1 else 0
            for axis, size in enumerate(before)
        ],
    )


def read_shuffle(emitter: Emitter, op: ShuffleOp, index: Index) -> Any:
    groups = op.groups.value.data
    n, channel, *spatial = index
    each = shape_of(op.x)[1] // groups
    return emitter.read(op.x, [n, emitter.simplify(channel % groups * each + channel // groups), *spatial])


def read_slice(emitter: Emitter, op: SliceOp, index: Index) -> Any:
    starts, steps = op.starts.get_values(), op.steps.get_values()
    return emitter.read(op.x, [start + i * step for i, start, step in zip(index, starts, steps, strict=True)])


def read_concat(emitter: Emitter, op: ConcatOp, index: Index) -> Any:
    axis = op.axis.value.data
    parts, begin = [], 0
    for part in op.parts:
        end = begin + shape_of(part)[axis]
        if end > begin:
            parts.append((begin, end, part))
        begin = end
    # The parts that the index may lie in, each with the condition that it lies no further on.
    chosen = []
    for begin, end, part in parts:
        before = end == parts[-1][1] or emitter.known(index[axis] < end)
        if before is not False:
            chosen.append((begin, index[axis] < end, part))
        if before:
            break
    result = None
    for begin, condition, part in reversed(chosen):
        value = emitter.read(part, [emitter.simplify(i - begin) if j == axis else i for j, i in enumerate(index)])
        result = value if result is None else emitter.choose(condition, value, result)
    return result


def read_pad(emitter: Emitter, op: PadOp, index: Index) -> Any:
    shape, pads = shape_of(op.x), op.pads.get_values()
    before, after = pads[: len(shape)], pads[len(shape) :]
    inner = [emitter.simplify(i - pad) for i, pad in zip(index, before)]
    moved = [axis for axis in range(len(shape)) if before[axis] > 0 or after[axis] > 0]
    if op.mode.data is not PadMode.CONSTANT:
        for axis in moved:  # what a negative pad takes off is not there to be repeated
            first, size = max(-before[axis], 0), shape[axis] + min(before[axis], 0) + min(after[axis], 0)
            inner[axis] = _inside(op.mode.data, emitter.simplify(inner[axis] - first), size) + first
        return emitter.read(op.x, inner)
    outside = number(op.value.value.data, element_type(op.x))
    conditions = []
    for condition in (c for axis in moved for c in (inner[axis] >= 0, inner[axis] < shape[axis])):
        known = emitter.known(condition)
        if known is False:
            return outside
        if known is None:
            conditions.append(condition)
    value = emitter.read(op.x, inner)
    return emitter.choose(tirx.all(*conditions), value, outside) if conditions else value


def read_batch_norm(emitter: Emitter, op: BatchNormOp, index: Index) -> Any:
    """(x - mean) * (scale / sqrt(variance + epsilon)) + shift."""
    channel = [index[1] if len(index) > 1 else 0]
    scale, shift, mean, variance = (emitter.read(value, channel) for value in op.operands[1:])
    root = tirx.sqrt(variance + tirx.const(op.epsilon.value.data, variance.ty.dtype))
    return (emitter.read(op.x, index) - mean) * (scale / root) + shift


def read_lrn(emitter: Emitter, op: LRNOp, index: Index) -> Any:
    """x / (bias + alpha / size * sum of the squares of `size` neighbouring channels) ** beta."""
    size, channels, dtype = op.size.value.data, shape_of(op.x)[1], str(to_numpy(element_type(op.x)))
    total = None
    for near in range(size):
        channel = emitter.simplify(index[1] + (near - (size - 1) // 2))
        inside = [emitter.known(condition) for condition in (channel >= 0, channel < channels)]
        if False in inside:
            continue
        value = emitter.read(op.x, [index[0], channel, *index[2:]])
        square = value * value
        for condition, known in zip((channel >= 0, channel < channels), inside):
            square = square if known else emitter.choose(condition, square, tirx.const(0, dtype))
        total = square if total is None else total + square
    scale = tirx.const(op.alpha.value.data / size, dtype)
    base = tirx.const(op.bias.value.data, dtype) + scale * total
    return emitter.read(op.x, index) * apply(Fn.POW, [base, tirx.const(-op.beta.value.data, dtype)], {"positive": True})


def _inside(mode: PadMode, i: Any, size: int) -> Any:
    """Where an index outside [0, size) reads from. Pads may exceed the axis: reflections repeat."""
    if mode is PadMode.EDGE:
        return tirx.max(tirx.min(i, size - 1), 0)
    if mode is PadMode.WRAP:
        return tirx.floormod(i, size)
    if size == 1:
        return 0
    period = 2 * (size - 1)
    folded = tirx.floormod(i, period)
    return tirx.min(folded, period - folded)


READERS: Mapping[type[Operation], Callable[[Any, Any, Any], Any]] = {
    BatchNormOp: read_batch_norm,
    BroadcastOp: read_broadcast,
    CastOp: read_cast,
    ConcatOp: read_concat,
    ElementwiseOp: read_elementwise,
    GatherOp: read_gather,
    GridSampleOp: read_grid_sample,
    LRNOp: read_lrn,
    PadOp: read_pad,
    ReshapeOp: read_reshape,
    ResizeOp: read_resize,
    ShuffleOp: read_shuffle,
    SliceOp: read_slice,
    TransposeOp: read_transpose,
}
