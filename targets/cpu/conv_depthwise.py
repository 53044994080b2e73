"""A convolution and the depthwise one that alone reads it, row by row (Alwani et al., "Fused-layer CNN accelerators",
MICRO 2016): what lies between them goes through no memory.

A task takes a band of the second convolution's rows, for all blocks of channels or a share of them. It computes the
rows of the first one that the next few rows of results read into a ring of rows in scratch memory, then those results.
The ring stays in the second cache, and keeps what later rows read again; only at the seams of bands is something
computed twice. The results' own memory is asked for while the first convolution computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.views import ALIGNMENT, nbytes
from convc.ir.windows import ConvOp
from convc.targets.cpu.buffers import BufferEmitter, build, padded_shape
from convc.targets.cpu.contraction import Contraction, Tiling
from convc.targets.cpu.depthwise import Rows, is_depthwise, widths
from convc.targets.cpu.direct_conv import DirectConv, channel_store, contraction, contraction_of
from convc.targets.cpu.loops import at_most, bound, ceil_div, loop, split
from convc.targets.cpu.prefetch import ask_for
from convc.targets.cpu.register_tile import emit_part
from convc.targets.cpu.tiling import cycles, tilings
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue, heavy_epilogue
from convc.targets.target import CpuTarget
from convc.targets.template import Config

_LINES = 4  # rows of results from one filling of the ring: they read a row or two more
_TASKS = 4  # at the least, where there are several cores
_CACHED = 4  # times the second cache: smaller maps come from the last one as fast as they are read
_BYTES = 25  # a cycle, to the last cache and back beside a convolution's arithmetic: measured with maps of 2 to 13 MB


class ConvDepthwise:
    """Config: of the first convolution's register tile the `columns`, `blocks` and `unrolled` steps; the `width` of the
    second one's; a task's `band` of rows and `share` of tiles of blocks; the `lines` of results at a time."""

    name = "conv_depthwise"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        first, op = kernel.inner, kernel.anchor
        return (
            first is not None
            and isinstance(op, ConvOp)
            and op.x is first.outputs[0]
            and op.x.has_one_use()
            and elementwise_epilogue(kernel, relayout=True)
            and is_depthwise(op, target)
            and can_come_first(first, target)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        pair = _Pair.of(kernel)
        c, room = pair.in_rows, _Room(pair, target)
        sizes = prod(physical_shape(pair.conv.x)), prod(physical_shape(pair.conv.w))
        best, *other = widths(pair.op, target)[:2]
        found = [_config(pair, tiling, best, target) for tiling in tilings(c, *sizes, target, fits=room)]
        return [*found, *(found[0] | {"width": width} for width in other)]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        return build(kernel, lambda emitter: _Body(emitter, config, target).write(), rolls=True)


def can_come_first(kernel: KernelOp, target: CpuTarget) -> bool:
    """Whether a kernel is a convolution that can be computed some rows at a time."""
    op = kernel.anchor
    return (
        isinstance(op, ConvOp)
        and op.group.value.data == 1
        and op.x in kernel.block.args
        and len(shape_of(op.x)) == 4
        and min(shape_of(op.result)[2:]) > 1
        and layout_of(kernel.yielded[0]) == layout_of(op.result)
        and DirectConv().applies(kernel, target)
    )


def saved_cycles(first: KernelOp, op: ConvOp, target: CpuTarget) -> float:
    """How much less time of one core a convolution's kernel and a depthwise one take together than one by one, by the
    model: what lies between them need not leave the caches, but the first has to be computed row by row."""
    if (size := nbytes(first.outputs[0])) <= _CACHED * target.l2_bytes:
        return 0
    conv = first.anchor
    assert isinstance(conv, ConvOp)
    pair = _Pair(first, conv, op)
    slower = cycles(pair.in_rows, target, fits=_Room(pair, target)) - cycles(contraction_of(first, target), target)
    return 2 * size / _BYTES - slower


@dataclass(frozen=True)
class _Pair:
    """The first convolution with its kernel, and the depthwise one."""

    first: KernelOp
    conv: ConvOp
    op: ConvOp

    @staticmethod
    def of(kernel: KernelOp) -> _Pair:
        first, op = kernel.inner, kernel.anchor
        assert first is not None
        assert isinstance(first.anchor, ConvOp)
        assert isinstance(op, ConvOp)
        return _Pair(first, first.anchor, op)

    @property
    def in_rows(self) -> Contraction:
        """The first convolution, its rows not one."""
        return contraction(self.conv, padded_shape(self.conv.x, self.conv.pads.get_values()))

    @property
    def stride(self) -> int:
        """Rows from those that a row of results reads to those that the next one does."""
        return self.op.strides.get_values()[0]

    @property
    def span(self) -> int:
        """Rows from the first to the last that a row of results reads."""
        return (shape_of(self.op.w)[2] - 1) * self.op.dilations.get_values()[0] + 1

    def kept(self, lines: int) -> int:
        """Rows that neighbouring rows of results read."""
        return min((lines - 1) * self.stride + self.span, shape_of(self.op.x)[2])


@dataclass(frozen=True)
class _Room:
    """Register tiles that the first convolution can have: in a single row, and with a register to spare, which LLVM
    wants for the loops around; it would spill a sum."""

    pair: _Pair
    target: CpuTarget

    def __call__(self, height: int, width: int, blocks: int) -> bool:
        vectors = blocks * (physical_shape(self.pair.op.x)[-1] // self.target.lanes(dtype_of(self.pair.op.x)))
        return height == 1 and (width + 1) * vectors + 1 < self.target.vector_registers


def _config(pair: _Pair, tiling: Tiling, width: int, target: CpuTarget) -> dict[str, int]:
    """The ring of as many blocks as half of the second cache holds; as many bands as there are cores, or few."""
    batch, channels, _, *line = physical_shape(pair.op.x)
    rows, groups, room = shape_of(pair.op.result)[2], ceil(channels / tiling.blocks), target.l2_bytes / 2

    def ring(lines: int, blocks: int) -> int:
        return 4 * pair.kept(lines) * prod(line) * blocks

    lines = next((n for n in range(min(_LINES, rows), 1, -1) if ring(n, channels) <= room), 1)
    shares = ceil(groups / max(1, int(room / ring(lines, tiling.blocks))))
    wanted = 1 if target.cores == 1 else ceil(max(_TASKS, target.cores) / (batch * shares))
    bands = max(1, min(wanted, rows // _LINES))
    return {
        "columns": tiling.width,
        "blocks": tiling.blocks,
        "unrolled": tiling.unrolled,
        "width": width,
        "band": ceil(rows / bands),
        "share": ceil(groups / shares),
        "lines": lines,
    }


class _Body:
    def __init__(self, emitter: BufferEmitter, config: Config, target: CpuTarget) -> None:
        self.emitter, self.target, self.pair = emitter, target, _Pair.of(emitter.kernel)
        self.band, self.share, self.blocks, self.lines = (config[key] for key in ("band", "share", "blocks", "lines"))
        self.kept = self.pair.kept(self.lines)
        self.c = self.pair.in_rows
        self.tiling = Tiling(1, config["columns"], self.blocks, config["unrolled"], band=0, share=1, depth=0)
        first, conv = self.pair.first, self.pair.conv
        self.inner = BufferEmitter(first, [emitter.buffers[each] for each in first.inputs], put=self._put)
        self.x = self.inner.padded(conv.x, conv.pads.get_values(), target)
        self.w = self.inner.buffers[conv.w].view(prod(physical_shape(conv.w)))
        self.second = Rows(emitter, self.pair.op, config["width"], target)

    def write(self) -> None:
        batch, channels, _, columns, block = physical_shape(self.pair.op.x)
        rows, groups = shape_of(self.pair.op.result)[2], ceil(channels / self.blocks)
        extents = [batch, ceil(rows / self.band), ceil(groups / self.share)]
        with loop(prod(extents), self.c.multiplications // self.target.lanes()) as task:
            self.n, number, share = map(bound, split(task, extents))
            begin = bound(number * self.band)
            count = at_most(self.band, rows, begin)
            # The last tile of blocks overlaps the one before rather than leave the channels.
            self.lowest = bound(T.max(T.min(share * self.share * self.blocks, channels - self.share * self.blocks), 0))
            self.ring = T.alloc_buffer(
                [min(self.share * self.blocks, channels) * self.kept * columns * block], dtype_of(self.pair.op.x)
            )
            with T.serial(0, ceil_div(count, self.lines)) as step:
                row = bound(begin + step * self.lines)
                now = at_most(self.lines, count, row - begin)
                done = T.bind(T.Select(step == 0, self._top(row), T.max(self._end(row - 1), self._top(row))))
                wanted = T.bind(T.max(self._end(row + now - 1) - done, 0))
                with T.serial(0, min(self.share, groups)) as i:
                    first = self.lowest + i * self.blocks
                    self._some_blocks(bound(T.min(first, channels - self.blocks)), row, now, done, wanted)

    def _some_blocks(self, block: Any, row: Any, now: Any, done: Any, wanted: Any) -> None:
        """Some blocks of `now` rows of results from `row` on, after `wanted` rows of what they read from `done` on."""
        stride = self.pair.stride

        def before(tile: Any, x_row: Any, column: Any, width: int) -> None:
            self._ask_for_results(tile, T.min(row + (x_row - done) // stride, row + now - 1), column, width)

        emit_part(
            self.c,
            self.tiling,
            self.x,
            self.w,
            channel_store(self.inner, self.pair.conv),
            self.target,
            outer=[self.n] if len(self.c.outer) else [],
            block=block,
            begin=done,
            count=wanted,
            roll=heavy_epilogue(self.pair.first),
            before=before,
        )
        columns, lanes = physical_shape(self.pair.op.x)[3:]
        with T.serial(0, self.blocks) as b, T.serial(0, now) as i:
            base = bound((block - self.lowest + b) * (self.kept * columns * lanes))

            def line(x_row: Any) -> Any:
                return base + self._slot(x_row) * (columns * lanes)

            self.second.emit(self.ring, line, self.n, bound(block + b), bound(row + i))

    def _ask_for_results(self, block: Any, row: Any, column: Any, width: int) -> None:
        """Ask for the memory of the results at some columns of what they read, a line at a time."""
        value, (buffer,) = self.emitter.kernel.yielded[0], self.emitter.results
        if layout_of(value) != layout_of(self.pair.op.result):
            return
        shape, stride = physical_shape(value), self.pair.op.strides.get_values()[1]
        y = buffer.view(prod(shape))
        vectors = max(1, ALIGNMENT // (4 * shape[-1]))
        for b in range(self.blocks):
            for i in range(0, width, vectors * stride):
                at = ((self.n * shape[1] + block + b) * shape[2] + row) * shape[3] + (column + i) // stride
                ask_for(y, at * shape[-1], write=True)

    def _top(self, row: Any) -> Any:
        """The first row that a row of results reads, or would but for the padding."""
        return T.max(row * self.pair.stride - self.pair.op.pads.get_values()[0], 0)

    def _end(self, row: Any) -> Any:
        """The row after the last that a row of results reads, if that reads any."""
        end = row * self.pair.stride - self.pair.op.pads.get_values()[0] + self.pair.span
        return T.max(T.min(end, shape_of(self.pair.op.x)[2]), 0)

    def _slot(self, row: Any) -> Any:
        """Where in the ring a row is: in place of one that is no longer read."""
        return row if self.kept == shape_of(self.pair.op.x)[2] else row % self.kept

    def _put(self, place: Sequence[Any], value: Any) -> None:
        """Write an element of the first convolution's result into the ring."""
        _, channel, row, column, lane = place
        columns, lanes = physical_shape(self.pair.op.x)[3:]
        at = (((channel - self.lowest) * self.kept + self._slot(row)) * columns + column) * lanes + lane
        T.buffer_store(self.ring, value, [self.emitter.simplify(at)])
