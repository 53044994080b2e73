"""Depthwise convolutions in blocked layouts: a window over each channel by itself.

The lanes of a vector are the channels of a block. A register tile is some neighbouring outputs of a row. For each row
of the window it takes the inputs one after the other, each once, and adds it, times a tap, to every output that it
belongs to: registers then hold the outputs, one row of taps and a single input. Padding is neither copied nor tested
for: rows of taps that read it are passed over, and the tiles at both ends of a row have code of their own, without the
taps that leave the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block
from convc.ir.windows import ConvOp
from convc.targets.cpu.buffers import BufferEmitter, build
from convc.targets.cpu.contraction import Window
from convc.targets.cpu.loops import at_most, bound, loop, split
from convc.targets.cpu.register_tile import store_sums
from convc.targets.cpu.tiling import LOADS, STORE
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue, heavy_epilogue
from convc.targets.target import CpuTarget
from convc.targets.template import Config

_TAPS = 5  # of a row that stay in registers; more are read with each product
_WIDEST = 16  # which hides all latencies; LLVM loads ahead, and spills sums of wider tiles
_FORMS = 8  # of tiles, each with code of its own
_WRITTEN = 256  # products of a tile with a row of taps
_WHOLE = 512  # with all taps: for more, a loop goes over their rows
_AROUND = 10  # cycles around a tile
_TASKS = 16


class Depthwise:
    """Config: the `width` of the register tile; the rows of a task's `band`."""

    name = "depthwise"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp) or op.x not in kernel.block.args:
            return False
        return elementwise_epilogue(kernel, relayout=True) and is_depthwise(op, target)

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        rows = shape_of(op.result)[2]
        bands = min(rows, ceil(_TASKS / prod(physical_shape(op.x)[:2])))
        return [{"width": width, "band": ceil(rows / bands)} for width in widths(op, target)[:4]]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        return build(kernel, lambda emitter: _body(emitter, config, target), rolls=True)


def _body(emitter: BufferEmitter, config: Config, target: CpuTarget) -> None:
    op = emitter.kernel.anchor
    assert isinstance(op, ConvOp)
    batch, channels, height, *row = physical_shape(op.x)
    rows, band = shape_of(op.result)[2], config["band"]
    tiles = Rows(emitter, op, config["width"], target)
    extents = [batch, channels, ceil(rows / band)]
    x = emitter.buffers[op.x].view(prod(physical_shape(op.x)))
    with loop(prod(extents), prod(physical_shape(op.result)) * prod(shape_of(op.w)[2:]) // target.lanes()) as task:
        n, channel, number = map(bound, split(task, extents))
        begin = bound(number * band)
        base = bound((n * channels + channel) * (height * prod(row)))
        with T.serial(0, at_most(band, rows, begin)) as i:
            tiles.emit(x, lambda line: base + line * prod(row), n, channel, bound(begin + i))


def is_depthwise(op: ConvOp, target: CpuTarget) -> bool:
    """Whether a convolution is one that `Rows` computes."""
    block, weight, dtype = channel_block(layout_of(op.result)), layout_of(op.w), dtype_of(op.x)
    return (
        len(shape_of(op.x)) == 4
        and dtype.startswith("float")
        and block > 0
        and block % target.lanes(dtype) == 0
        and layout_of(op.x) == layout_of(op.result)
        and op.group.value.data == shape_of(op.x)[1] == shape_of(op.w)[0]
        and weight is not None
        and weight.blocks == ((0, block),)
        and bool(widths(op, target))
    )


def widths(op: ConvOp, target: CpuTarget) -> list[int]:
    """Widths of register tiles, best first; none if the padding is so wide that too many tiles read it."""
    taps = shape_of(op.w)[3]
    room = target.vector_registers - min(taps, _TAPS) - 1
    most = max(1, min(shape_of(op.result)[3], room, _WIDEST, _WRITTEN // taps))
    fit = [width for width in range(1, most + 1) if len(list(_tiles(op, width))) <= _FORMS]
    return sorted(fit, key=lambda width: _row_cycles(op, width))


def _row_cycles(op: ConvOp, width: int) -> float:
    """The time of a row of results in tiles of some width, a vector of channels of it."""
    rows, taps = shape_of(op.w)[2:]
    span = (width - 1) * op.strides.get_values()[1] + (taps - 1) * op.dilations.get_values()[1] + 1
    loads = min(span, width * taps) + (taps if taps <= _TAPS else width * taps)
    products = rows * max(width * taps / 2, loads / LOADS)
    return ceil(shape_of(op.result)[3] / width) * (products + _AROUND + STORE * width)


def _tiles(op: ConvOp, width: int) -> Iterator[tuple[int, int]]:
    """(first column, how many): the tiles of a row of results. Those that read no padding follow one another, and the
    last of all overlaps the one before rather than be cut short."""
    columns = shape_of(op.result)[3]
    starts = [*range(0, columns - width, width), columns - width]
    inner = [start for start in starts if start % width == 0 and _reads_no_padding(op, start, width)]
    for start in starts:
        if start not in inner:
            yield start, 1
        elif start == inner[0]:
            yield start, len(inner)


def _reads_no_padding(op: ConvOp, start: int, width: int) -> bool:
    first = start * op.strides.get_values()[1] - op.pads.get_values()[1]
    last = first + (width - 1) * op.strides.get_values()[1] + (shape_of(op.w)[3] - 1) * op.dilations.get_values()[1]
    return first >= 0 and last < shape_of(op.x)[3]


def _products(op: ConvOp, start: int, width: int) -> list[tuple[int, int, int]]:
    """(column of x, output of the tile, tap) of all products with a row of taps, column by column."""
    stride, dilation, pad = op.strides.get_values()[1], op.dilations.get_values()[1], op.pads.get_values()[1]
    taps, columns = shape_of(op.w)[3], shape_of(op.x)[3]
    found = [((start + i) * stride - pad + k * dilation, i, k) for i in range(width) for k in range(taps)]
    return sorted(each for each in found if 0 <= each[0] < columns)


@dataclass
class _Reads:
    """What a row of results reads: of x the row `first` and those that follow by the dilation, from tap `begin` on."""

    x: Any
    line: Callable[[Any], Any]
    first: Any
    begin: Any
    count: Any


@dataclass
class Rows:
    """Computes rows of results, from a flat buffer of x."""

    emitter: BufferEmitter
    op: ConvOp
    width: int
    target: CpuTarget

    def emit(self, x: Any, line: Callable[[Any], Any], n: Any, channel: Any, row: Any) -> None:
        """A row of one block of channels, by its number; `line` says where that block's row of x of some number is."""
        op, pads = self.op, self.op.pads.get_values()
        stride, dilation, taps = op.strides.get_values()[0], op.dilations.get_values()[0], shape_of(op.w)[2]
        begin, count = 0, taps
        if pads[0] or pads[2]:
            window = Window(axis=0, stride=stride, pad=pads[0], dilation=dilation, size=shape_of(op.x)[2])
            begin, count = map(T.bind, window.reading(row, row, taps))
        reads = _Reads(x, line, row * stride - pads[0], begin, count)
        for at in range(0, channel_block(layout_of(op.result)), self.target.lanes(dtype_of(op.x))):
            for start, repeat in _tiles(op, self.width):
                if repeat == 1:
                    self._tile(reads, (n, channel, row, start), start, at)
                else:
                    with T.serial(0, repeat) as j:
                        self._tile(reads, (n, channel, row, start + j * self.width), start, at)

    def _tile(self, reads: _Reads, place: tuple[Any, Any, Any, Any], like: int, at: int) -> None:
        """The results from a place on, of the lanes from `at` on, which read what those from column `like` on do."""
        op, dtype, (_, channel, _, start) = self.op, dtype_of(self.op.x), place
        block, lanes, (rows, taps) = channel_block(layout_of(op.result)), self.target.lanes(dtype), shape_of(op.w)[2:]
        w = self.emitter.buffers[op.w].view(prod(physical_shape(op.w)))
        x_at = (start - like) * op.strides.get_values()[1] * block + at
        w_at = T.bind(T.cast(channel * (rows * taps * block) + at, "int64"))
        whole = T.Ramp(0, 1, lanes)
        sums = [T.alloc_buffer([lanes], dtype) for _ in range(self.width)]
        for each in sums:
            T.buffer_store(each, T.Broadcast(T.cast(0, dtype), lanes), [whole])

        def add_row(number: Any) -> None:
            line = reads.line(reads.first + number * op.dilations.get_values()[0])
            x_row = T.bind(T.cast(line + x_at, "int64"))
            w_row = w_at + number * (taps * block)
            for column, i, k in _products(op, like, self.width):
                x, tap = x_row + column * block, w_row + k * block
                product = reads.x[T.Ramp(x, 1, lanes)] * w[T.Ramp(tap, 1, lanes)]
                T.buffer_store(sums[i], sums[i][whole] + product, [whole])

        def add_some() -> None:
            with T.serial(0, reads.count) as i:
                add_row(reads.begin + i)

        if rows * taps * self.width > _WHOLE:
            add_some()
        elif isinstance(reads.count, int):
            for number in range(rows):
                add_row(number)
        else:
            with T.If(reads.count == rows):
                with T.Then():
                    for number in range(rows):
                        add_row(number)
                with T.Else():
                    add_some()
        self._finish(sums, place, at)

    def _finish(self, sums: Sequence[Any], place: tuple[Any, Any, Any, Any], at: int) -> None:
        """Store the sums of a tile, of the lanes from `at` on."""
        n, channel, row, start = place
        lanes, first = self.target.lanes(dtype_of(self.op.x)), channel * channel_block(layout_of(self.op.result)) + at

        def store(i: Any, _: int, total: Callable[[Any], Any]) -> None:
            self.emitter.store_channels(self.op, [n, row, start + i], first, lanes, total)

        store_sums(sums, lanes, lanes, dtype_of(self.op.x), store, roll=heavy_epilogue(self.emitter.kernel))
