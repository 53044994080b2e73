"""How to read one element of each injective operation's result: index arithmetic, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from tvm import tirx
from xdsl.ir import Operation

from convc.ir.attributes import PadMode, element_type, shape_of
from convc.ir.data import BroadcastOp, CastOp, ConcatOp, PadOp, ReshapeOp, ResizeOp, SliceOp, TransposeOp
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.targets.functions import apply
from convc.targets.resize import read_resize

if TYPE_CHECKING:
    from convc.targets.emit import Emitter, Index


def read_elementwise(emitter: Emitter, op: ElementwiseOp, index: Index) -> Any:
    operands = [emitter.read(value, broadcast_index(shape_of(value), index)) for value in op.inputs]
    return apply(op.function, operands, op.param_values)


def read_broadcast(emitter: Emitter, op: BroadcastOp, index: Index) -> Any:
    return emitter.read(op.x, broadcast_index(shape_of(op.x), index))


def broadcast_index(shape: tuple[int, ...], index: Index) -> Index:
    """The index into an operand of this shape that numpy's broadcasting pairs with `index`."""
    aligned = list(index)[len(index) - len(shape) :]
    return [0 if size == 1 else i for size, i in zip(shape, aligned, strict=True)]


def read_cast(emitter: Emitter, op: CastOp, index: Index) -> Any:
    from convc.targets.emit import dtype_of

    dtype = dtype_of(op.result)
    value = emitter.read(op.x, index)
    return value != 0 if dtype == "bool" else tirx.Cast(dtype, value)


def read_transpose(emitter: Emitter, op: TransposeOp, index: Index) -> Any:
    perm = op.perm.get_values()
    return emitter.read(op.x, [index[perm.index(axis)] for axis in range(len(perm))])


def read_reshape(emitter: Emitter, op: ReshapeOp, index: Index) -> Any:
    flat: Any = 0
    for i, size in zip(index, shape_of(op.result), strict=True):
        flat = flat * size + i
    before = shape_of(op.x)
    return emitter.read(
        op.x,
        [
            emitter.simplify(flat // prod(before[axis + 1 :]) % size) if size > 1 else 0
            for axis, size in enumerate(before)
        ],
    )


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
    inner = [emitter.simplify(i - pads[axis]) for axis, i in enumerate(index)]
    moved = [axis for axis in range(len(shape)) if pads[axis] > 0 or pads[len(shape) + axis] > 0]
    if op.mode.data is not PadMode.CONSTANT:
        wrapped = [
            _inside(op.mode.data, i, size) if axis in moved else i for axis, (i, size) in enumerate(zip(inner, shape))
        ]
        return emitter.read(op.x, wrapped)
    outside = tirx.const(op.value.value.data, str(to_numpy(element_type(op.x))))
    conditions = []
    for condition in (c for axis in moved for c in (inner[axis] >= 0, inner[axis] < shape[axis])):
        known = emitter.known(condition)
        if known is False:
            return outside
        if known is None:
            conditions.append(condition)
    value = emitter.read(op.x, inner)
    return emitter.choose(tirx.all(*conditions), value, outside) if conditions else value


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
    BroadcastOp: read_broadcast,
    CastOp: read_cast,
    ConcatOp: read_concat,
    ElementwiseOp: read_elementwise,
    PadOp: read_pad,
    ReshapeOp: read_reshape,
    ResizeOp: read_resize,
    SliceOp: read_slice,
    TransposeOp: read_transpose,
}
