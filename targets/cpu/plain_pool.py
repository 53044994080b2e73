"""Pools in plain layout, of too few channels for a block: vectors lie along the width.

A row of results is computed in two steps: down the columns of its windows into a row of scratch memory, which holds the
padding on both sides as well, and along that. So a k x k window takes 2 k vectors, not k * k, and only the first step
asks where the image ends, once a row. In a volume columns go down two axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import PoolKind, layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.windows import PoolOp
from convc.targets.anchors import bind_average
from convc.targets.cpu.contraction import Window
from convc.targets.cpu.row_vectors import Vectors, over_rows
from convc.targets.cpu.shuffles import shuffle
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.flat import FlatReader, Memory, whole
from convc.targets.indexing import flattened, unravelled
from convc.targets.reducers import ADD, MAXIMUM
from convc.targets.target import CpuTarget
from convc.targets.written import Written

_ROW_CYCLES = 20
"""What a row takes besides its vectors."""


@dataclass(frozen=True)
class _Axis:
    """Windows along one spatial axis: `size` elements, `results` windows of `taps`."""

    size: int
    results: int
    taps: int
    stride: int
    pad: int
    dilation: int

    @property
    def span(self) -> int:
        """From the first element of the first window to the last of the last one, padding included."""
        return (self.results - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def read(self) -> int:
        """Elements, from the first one, that windows may reach."""
        return min(self.size, self.span - self.pad)

    @property
    def window(self) -> Window:
        return Window(0, self.stride, self.pad, self.dilation, self.size)


class PlainPool(Written[CpuTarget]):
    """Of waveforms, images and volumes."""

    name, anchors = "plain_pool", (PoolOp,)

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            super().applies(kernel, target)
            and isinstance(op, PoolOp)
            and op.kind.data in (PoolKind.MAX, PoolKind.AVERAGE)
            and dtype_of(op.x) in ("float32", "float64")
            and len(shape_of(op.x)) in (3, 4, 5)
            and layout_of(op.x) is None
            and layout_of(op.result) is None
            and elementwise_epilogue(kernel)
            and _axes(op)[-1].read > 0
        )

    def body(self, kernel: KernelOp, memory: Memory, target: CpuTarget) -> tirx.Stmt:
        op = kernel.anchor
        assert isinstance(op, PoolOp)
        outer = shape_of(op.result)[:-1]
        row, rows = tirx.Var("row", "int32"), prod(outer)
        reader = FlatReader(kernel, whole(()), memory, guarded=True)
        reader.bind_axes([row], [rows])
        body = _row(op, reader, [reader.simplify(i) for i in unravelled(row, outer)], target.lanes(dtype_of(op.x)))
        return over_rows(row, rows, rows * _axes(op)[-1].span, body)


def plain_pool_cycles(op: PoolOp, target: CpuTarget) -> float:
    """The time of a pool by this template on one core."""
    *down, along = _axes(op)
    lanes = target.lanes(dtype_of(op.x))
    vectors = (
        -(-along.read // lanes) * prod(axis.taps for axis in down)
        + -(-along.results // lanes) * along.taps * along.stride
    )
    return prod(shape_of(op.result)[:-1]) * (_ROW_CYCLES + vectors)


def _axes(op: PoolOp) -> list[_Axis]:
    """The windows down the columns, along no axis of a waveform and two of a volume, and along the rows."""
    values = (op.kernel, op.strides, op.pads, op.dilations)
    taps, strides, pads, dilations = (each.get_values() for each in values)
    each = zip(shape_of(op.x)[2:], shape_of(op.result)[2:], taps, strides, pads, dilations)
    return [_Axis(*numbers) for numbers in each]


def _row(op: PoolOp, reader: FlatReader, outer: Sequence[Any], lanes: int) -> tirx.Stmt:
    """The statements of a row of results."""
    *down, along = _axes(op)
    dtype = dtype_of(op.x)
    reducer = MAXIMUM if op.kind.data is PoolKind.MAX else ADD
    outside = reducer.identity(dtype)
    inputs, results = Vectors.of(along.read, lanes), Vectors.of(along.results, lanes)
    # Vectors that are thinned to every so many elements read on behind the last window.
    row = tirx.decl_buffer((along.span + along.stride * results.lanes,), dtype, "columns")
    found = tirx.decl_buffer((max(each.side_by_side * each.lanes for each in (inputs, results)),), dtype, "found")
    taps = [axis.window.reading(at, at, axis.taps) for axis, at in zip(down, outer[2:])]
    reading = [[reader.simplify(each) for each in pair] for pair in taps]

    def down_columns(lane: Any, place: Any, number: int, known: int) -> Sequence[tirx.Stmt]:
        own, at = [tirx.Var(f"tap{i}", "int32") for i in range(len(down))], lane + number * inputs.lanes
        index = [
            row * axis.stride - axis.pad + (first + tap) * axis.dilation
            for axis, row, tap, (first, _) in zip(down, outer[2:], own, reading)
        ]
        total = reducer.combine(tirx.BufferLoad(found, [at]), reader.read(op.x, [*outer[:2], *index, place]))
        add: tirx.Stmt = tirx.BufferStore(found, total, [at])
        for tap, (_, count) in zip(reversed(own), reversed(reading)):
            add = tirx.For(tap, 0, count, tirx.ForKind.SERIAL, add)
        return [
            tirx.BufferStore(found, outside, [at]),
            add,
            tirx.BufferStore(row, tirx.BufferLoad(found, [at]), [place + along.pad]),
        ]

    def along_row(begin: Any, number: int) -> list[tirx.Stmt]:
        total = None
        for tap in range(along.taps):
            place = begin * along.stride + tap * along.dilation
            some = [
                tirx.BufferLoad(row, [_ramp(place + n * results.lanes, results.lanes)]) for n in range(along.stride)
            ]
            value = shuffle(some, range(0, along.stride * results.lanes, along.stride)) if along.stride > 1 else some[0]
            total = value if total is None else reducer.combine(total, value)
        return [tirx.BufferStore(found, total, [_ramp(number * results.lanes, results.lanes)])]

    def finish(lane: Any, place: Any, number: int, known: int) -> Sequence[tirx.Stmt]:
        value = tirx.BufferLoad(found, [lane + number * results.lanes])
        if op.kind.data is PoolKind.MAX:
            reader.bind_element(op.result, lambda index: value)
        else:
            bind_average(reader, op, lambda index: value)
        index = [*outer, place]
        at = reader.simplify(flattened(index, reader.memory.shape))
        return [tirx.BufferStore(reader.memory.result, reader.element_at(reader.kernel.yielded[0], index), [at])]

    i = tirx.Var("i", "int32")
    pads = [(0, along.pad), (along.pad + along.read, int(row.shape[0]))]
    return tirx.stmt_seq(
        tirx.AllocBuffer(row),
        tirx.AllocBuffer(found),
        *(
            tirx.For(i, 0, end - begin, tirx.ForKind.SERIAL, tirx.BufferStore(row, outside, [i + begin]))
            for begin, end in pads
            if end > begin
        ),
        *inputs.each(down_columns),
        *results.each(finish, before=along_row),
    )


def _ramp(begin: Any, lanes: int) -> Any:
    return tirx.Ramp(begin, 1, lanes) if lanes > 1 else begin
