"""How a contraction is computed in register tiles.

The register tile is `height x width x blocks` vectors of accumulators, over neighbouring rows and columns of points.
Each step of the reduction loads one vector of w a block and one broadcast element of x a point, and multiplies each
with each (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008; Georganas et al.,
"Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC 2018). Around it, a task computes a
band of rows for some output blocks: in the cache lie either the band, while weights pass by, or the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import gcd, prod
from typing import Any

import tvm.script.ir_builder.tirx as T

from convc.targets.buffers import lane_of
from convc.targets.cpu.axes import Axis, in_parts, is_long, loops
from convc.targets.cpu.contraction import Contraction, Tiling
from convc.targets.cpu.loops import at_most, bound, ceil_div, loop, split
from convc.targets.cpu.prefetch import Prefetch
from convc.targets.target import CpuTarget

_LONG_WINDOW = 16
"""Taps of an axis that LLVM leaves a loop, unless those of others stand around them."""

_WRITTEN_OUT = 2
"""Steps of a loop that LLVM writes out side by side."""

Store = Callable[[Any, Sequence[Any], int, Callable[[Any], Any], int], None]
"""Writes one vector of results: output block, point (an index along `points`), first lane, the sum at a lane counted
from there, and how many lanes."""

BeforeTile = Callable[[Any, Any, Any, int], None]
"""Goes before a register tile: its first output block, its row, its first column, how many columns."""

Prepare = Callable[[Sequence[Any], Any], tuple[Any, Any]]
"""For a task's outer index and first row: the buffer that holds its inputs, and where in it the first row begins."""


def in_memory(x: Any, c: Contraction) -> Prepare:
    """Inputs that lie in a flat buffer as the contraction's strides say."""

    def prepare(outer: Sequence[Any], begin: Any) -> tuple[Any, Any]:
        base = c.x_base + sum((i * axis.x for i, axis in zip(outer, c.outer)), 0)
        return x, base + begin * c.rows.x if c.rows.extent > 1 else base

    return prepare


def emit(
    c: Contraction,
    tiling: Tiling,
    prepare: Prepare,
    w: Any,
    store: Store,
    target: CpuTarget,
    *,
    roll: bool = False,
    parallel: bool = True,
    w_base: Any = 0,
) -> None:
    """Write the loops, inside a PrimFunc that is being built; the weights begin at `w_base`. With `roll` results are
    stored by a loop over the points of a tile, not by straight code: for what takes many instructions to compute from
    the sum. Without `parallel` all tasks are done by the thread that comes along."""
    lanes = gcd(c.block, target.lanes(c.dtype))
    prefetch = Prefetch.of(c, tiling, w, lanes, target)
    _Nest(c, tiling, prepare, w, store, lanes, roll, parallel, w_at=c.w_base + w_base, prefetch=prefetch).emit()


def emit_part(
    c: Contraction,
    tiling: Tiling,
    x: Any,
    w: Any,
    store: Store,
    target: CpuTarget,
    *,
    outer: Sequence[Any],
    block: Any,
    begin: Any,
    count: Any,
    roll: bool = False,
    before: BeforeTile | None = None,
) -> None:
    """Write the loops over `count` of several rows from `begin` on, for the outputs of one tile from `block` on: what a
    task does in part. Tiles are of one row and sum up all of the reduction."""
    assert tiling.height == 1
    assert tiling.depth == 0
    assert c.rows.extent > 1
    lanes = gcd(c.block, target.lanes(c.dtype))
    nest = _Nest(c, tiling, in_memory(x, c), w, store, lanes, roll, parallel=False, w_at=c.w_base, before=before)
    nest._rows(*nest.prepare(outer, begin), block, outer, begin, count)


def store_sums(
    sums: Sequence[Any],
    size: int,
    lanes: int,
    dtype: str,
    store: Callable[[Any, int, Callable[[Any], Any]], None],
    *,
    roll: bool,
) -> None:
    """Store the sums of a tile: `sums` has a buffer of `size` elements for each of its points. `store` is given the
    number of a point, where in its buffer a vector begins, and the sum at a lane. With `roll` a loop goes over the
    points."""
    if not roll:
        for i, buffer in enumerate(sums):
            for at in range(0, size, lanes):
                store(i, at, lane_of(buffer, at))
        return
    tile = T.alloc_buffer([len(sums) * size], dtype)
    for i, buffer in enumerate(sums):
        for at in range(0, size, lanes):
            T.buffer_store(tile, buffer[T.Ramp(at, 1, lanes)], [T.Ramp(i * size + at, 1, lanes)])
    with T.serial(0, len(sums)) as i:
        for at in range(0, size, lanes):
            store(i, at, lane_of(tile, i * size + at))


@dataclass
class _Nest:
    c: Contraction
    tiling: Tiling
    prepare: Prepare
    w: Any
    store: Store
    lanes: int
    roll: bool
    parallel: bool
    w_at: Any = 0
    prefetch: Prefetch | None = None
    before: BeforeTile | None = None
    earlier: Any = None  # the sums of the passes before, for each tile of the band
    done: Any = 0  # passes

    def emit(self) -> None:
        c, t = self.c, self.tiling
        banded = c.rows.extent if c.rows.extent > 1 else c.columns.extent
        bands, columns = -(-banded // t.band), -(-c.blocks // t.blocks)
        shares = -(-columns // t.share)
        extents = [*(axis.extent for axis in c.outer), bands, c.groups, shares]
        work, w_base = c.multiplications // self.lanes if self.parallel else 0, self.w_at
        with loop(prod(extents), work) as task:
            *outer, band, group, share = map(bound, split(task, extents))
            begin = bound(band * t.band)
            count = at_most(t.band, banded, begin)
            x, base = self.prepare(outer, begin)
            base = base + group * c.group_stride
            self.w_at = w_base + sum((i * axis.w for i, axis in zip(outer, c.outer)), 0)
            inside = t.share if columns % t.share == 0 else T.min(t.share, columns - share * t.share)
            if self._passes > 1:
                self.earlier = T.alloc_buffer([t.tiles(c) * t.height * t.width * t.blocks * c.block], c.dtype)
            with T.serial(0, inside) as number:
                first = (share * t.share + number) * t.blocks
                # The last tile of blocks overlaps the one before rather than leave the group.
                first = T.min(first, c.blocks - t.blocks) if c.blocks % t.blocks else first
                block = bound(group * c.blocks + first)
                with T.serial(0, self._passes) if self._passes > 1 else nullcontext(0) as self.done:
                    if c.rows.extent > 1:
                        self._rows(x, base, block, outer, begin, count)
                    else:
                        self._single_row(x, base, block, outer, begin, count)

    @property
    def _passes(self) -> int:
        """How often a task goes over its band for some outputs."""
        return max(self.c.reduction[0].extent // self.tiling.depth, 1) if self.tiling.depth else 1

    def _rows(self, x: Any, base: Any, block: Any, outer: Sequence[Any], begin: Any, count: Any) -> None:
        """All tiles of `count` rows from `begin` on; `base` is where the first of them lies."""
        height, rest = self.tiling.height, self.c.rows.extent % self.tiling.height
        with T.serial(0, count // height) as i:
            self._row_of_tiles(x, base + i * (height * self.c.rows.x), block, outer, begin + i * height, height, i)
        if not rest:
            return
        done = count - rest
        if isinstance(count, int):  # a single band, or bands that are all as high
            self._row_of_tiles(x, base + done * self.c.rows.x, block, outer, begin + done, rest, count // height)
            return
        with T.If(count % height != 0), T.Then():
            self._row_of_tiles(x, base + done * self.c.rows.x, block, outer, begin + done, rest, count // height)

    def _row_of_tiles(
        self, x: Any, base: Any, block: Any, outer: Sequence[Any], row: Any, height: int, number: Any
    ) -> None:
        """All tiles of `height` rows, the `number`th such rows of the band."""
        columns, width = self.c.columns, self.tiling.width
        whole, rest = divmod(columns.extent, width)
        row, base, number = bound(row), bound(base), number * -(-columns.extent // width)
        with T.serial(0, whole) as j:
            self._tile(x, base + j * (width * columns.x), block, outer, (row, j * width), height, width, number + j)
        if rest:
            done = whole * width
            self._tile(x, base + done * columns.x, block, outer, (row, done), height, rest, number + whole)

    def _single_row(self, x: Any, base: Any, block: Any, outer: Sequence[Any], begin: Any, count: Any) -> None:
        """All tiles of `count` columns from `begin` on. The last of a row overlaps the one before."""
        width, extent = self.tiling.width, self.c.columns.extent
        with T.serial(0, ceil_div(count, width)) as j:
            start = begin + j * width
            start = bound(T.min(start, begin + count - width) if extent % width else start)
            self._tile(x, base + start * self.c.columns.x, block, outer, (0, start), 1, width, j)

    def _tile(
        self,
        x: Any,
        base: Any,
        block: Any,
        outer: Sequence[Any],
        first: tuple[Any, Any],
        height: int,
        width: int,
        number: Any,
    ) -> None:
        """One register tile, the `number`th of those that use these weights: `base` is where the inputs of its `first`
        point begin."""
        c, lanes, blocks, (row, column) = self.c, self.lanes, self.tiling.blocks, first
        size = blocks * c.block
        # 64 bits: LLVM may then add constants to an address that it would have to add before extending 32.
        base, block = T.bind(T.cast(base, "int64")), T.bind(T.cast(block, "int64"))
        if self.before:
            self.before(block, row, column, width)
        points = list(product(range(height), range(width)))
        places = [(i, at) for i in range(len(points)) for at in range(0, size, lanes)]
        # One buffer a point: TVM puts only buffers below 1 KiB on the stack, from where LLVM takes them into registers.
        sums = [T.alloc_buffer([size], c.dtype) for _ in points]
        self._clear(sums, places)

        def step(x_at: Any, w_at: Any, sums: Sequence[Any] = sums) -> None:
            if self.prefetch:
                self.prefetch.write(block, self.w_at, w_at, number)
            for i, (r, s) in enumerate(points):
                element = T.Broadcast(x[base + (r * c.rows.x + s * c.columns.x) + x_at], lanes)
                for at in range(0, size, lanes):
                    here = T.Ramp(at, 1, lanes)
                    weight = self.w[T.Ramp((block + at // c.block) * c.block_stride + w_at + at % c.block, 1, lanes)]
                    T.buffer_store(sums[i], sums[i][here] + element * weight, [here])

        def part(axes: Sequence[Axis], x_at: Any, w_at: Any) -> None:
            some = [T.alloc_buffer([size], c.dtype) for _ in points]
            self._clear(some, places)
            self._reduce(axes, x_at, w_at, partial(step, sums=some))
            for i, at in places:
                here = T.Ramp(at, 1, lanes)
                T.buffer_store(sums[i], sums[i][here] + some[i][here], [here])

        if is_long(c.reduction) and self._passes == 1:
            in_parts(c.reduction, 0, self.w_at, part)
        elif c.steps:
            self._reduce(*self._reading(row, column, height, width), step)
        if self._passes == 1:
            self._finish(sums, points, block, outer, first)
            return
        slot = number * (self.tiling.height * self.tiling.width * size)
        vectors = [(sums[i], T.Ramp(at, 1, lanes), T.Ramp(slot + i * size + at, 1, lanes)) for i, at in places]
        with T.If(self.done > 0), T.Then():
            for total, here, there in vectors:
                T.buffer_store(total, total[here] + self.earlier[there], [here])
        with T.If(self.done < self._passes - 1):
            with T.Then():
                for total, here, there in vectors:
                    T.buffer_store(self.earlier, total[here], [there])
            with T.Else():
                self._finish(sums, points, block, outer, first)

    def _finish(
        self,
        sums: Sequence[Any],
        points: Sequence[tuple[int, int]],
        block: Any,
        outer: Sequence[Any],
        first: tuple[Any, Any],
    ) -> None:
        """Store the sums of a tile: of each of its points, a vector at each place."""
        (row, column), (height, width) = first, (1 + last for last in points[-1])

        def store(i: Any, at: int, total: Callable[[Any], Any]) -> None:
            r, s = (i // width, i % width) if height > 1 else (0, i)
            self._store(block, at, outer, row + r, column + s, total)

        store_sums(sums, self.tiling.blocks * self.c.block, self.lanes, self.c.dtype, store, roll=self.roll)

    def _reading(self, row: Any, column: Any, height: int, width: int) -> tuple[list[Axis], Any, Any]:
        """The reduction of a tile: its axes, without taps that read zeros; where in x and in w it begins."""
        over, *taps = self.c.reduction
        depth = over.extent // self._passes
        axes, step = [Axis(depth, over.x, over.w), *taps], self.done * depth
        x_at, w_at = step * over.x, self.w_at + step * over.w
        for window, first, points in (
            (self.c.row_window, row, height),
            (self.c.column_window, column, width),
        ):
            if window:
                axis = axes[window.axis]
                begin, count = map(T.bind, window.reading(first, first + (points - 1), axis.extent))
                axes[window.axis] = Axis(count, axis.x, axis.w)
                x_at, w_at = x_at + begin * axis.x, w_at + begin * axis.w
        return [axis for axis, whole in zip(axes, self.c.reduction, strict=True) if whole.extent > 1], x_at, w_at

    def _clear(self, sums: Sequence[Any], places: Sequence[tuple[int, int]]) -> None:
        for i, at in places:
            T.buffer_store(sums[i], T.Broadcast(T.cast(0, self.c.dtype), self.lanes), [T.Ramp(at, 1, self.lanes)])

    def _store(
        self, block: Any, at: int, outer: Sequence[Any], row: Any, column: Any, total: Callable[[Any], Any]
    ) -> None:
        point = self.c.coordinates(outer, row, column)
        self.store(block + at // self.c.block, point, at % self.c.block, total, self.lanes)

    def _apart(self, axis: Axis) -> int:
        """How far apart along a long reduction axis steps follow one another, so that they read nothing in common for
        all points of a tile; 0 where neighbouring steps share nothing, or are few. LLVM writes out some steps of a
        loop and loads once what they share: of 251 taps of a waveform two, and then had all sums on the stack, which
        took twice as long."""
        if axis.extent <= _LONG_WINDOW or not axis.x or self.c.columns.x % axis.x:
            return 0
        between = self.c.columns.x // axis.x
        return 1 << ((self.tiling.width - 1) * between).bit_length() if between <= _WRITTEN_OUT else 0

    def _reduce(self, axes: Sequence[Axis], x_at: Any, w_at: Any, step: Callable[[Any, Any], None]) -> None:
        """Loops over the axes of a sum around its steps."""
        if axes:
            *around, inner = axes
            loops(around, x_at, w_at, lambda x_at, w_at: self._steps(inner, x_at, w_at, step))
        else:
            step(x_at, w_at)

    def _steps(self, axis: Axis, x_at: Any, w_at: Any, step: Callable[[Any, Any], None]) -> None:
        """The steps along the innermost axis of a sum, some of them `unrolled`."""
        apart = self._apart(axis)
        if apart and (turns := axis.extent // apart) > 1:
            with T.serial(0, apart) as k, T.serial(0, turns) as turn:
                at = turn * apart + k
                step(x_at + at * axis.x, w_at + at * axis.w)
            x_at, w_at = x_at + turns * apart * axis.x, w_at + turns * apart * axis.w
            axis = Axis(axis.extent % apart, axis.x, axis.w)
        unrolled = min(self.tiling.unrolled, axis.extent)
        whole = axis.extent // max(unrolled, 1)
        if whole > 1:
            with T.serial(0, whole) as k:
                for u in range(unrolled):
                    step(x_at + (k * unrolled + u) * axis.x, w_at + (k * unrolled + u) * axis.w)
        for r in range(whole * unrolled if whole > 1 else 0, axis.extent):
            step(x_at + r * axis.x, w_at + r * axis.w)
