"""What convolutions and matrix products have in common, and how it is computed in register tiles.

A contraction sums products of x and w over some reduction axes:

    y[point, block, lane] = sum over r of x[point, r] * w[block, r, lane]

Points are the batch and the output positions (the rows, in a matrix product), fused into one axis; blocks and lanes
are the output channels. Both operands are seen as flat memory, so an axis is nothing but its strides, and adjacent
axes whose strides fit are one: the rows of a 1x1 convolution follow each other without a seam.

The register tile is `points x blocks` vectors of accumulators. Each step of the reduction loads one vector of w a
block and one broadcast element of x a point, and multiplies each with each (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", ACM TOMS 2008; Georganas et al., SC 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import tvm.script.ir_builder.tirx as T

from convc.targets.target import Target
from convc.targets.template import Config

Store = Callable[[Any, Sequence[Any], int, Callable[[Any], Any], int], None]
"""Writes one vector of results: the output block, the point's coordinates, the first lane, the sum at a lane counted
from there, and how many lanes."""


@dataclass(frozen=True)
class Axis:
    """A loop: its extent, and how many elements of x and of w lie between one iteration and the next."""

    extent: int
    x: int
    w: int = 0


@dataclass(frozen=True)
class Contraction:
    """`points` and `reduction` are in memory order. A group has `blocks` output blocks of `block` lanes, and its
    inputs start `group_stride` elements of x after those of the group before."""

    points: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    blocks: int
    block: int
    block_stride: int
    groups: int = 1
    group_stride: int = 0
    dtype: str = "float32"

    @property
    def multiplications(self) -> int:
        """Scalar multiply-adds."""
        axes = (*self.points, *self.reduction)
        return prod(axis.extent for axis in axes) * self.groups * self.blocks * self.block

    def seamless_points(self) -> tuple[Axis, ...]:
        """The fewest axes over the same points."""
        merged: list[Axis] = []
        for axis in self.points:
            if merged and merged[-1].x == axis.extent * axis.x:
                merged[-1] = Axis(merged[-1].extent * axis.extent, axis.x)
            elif axis.extent > 1 or not merged:
                if merged and merged[-1].extent == 1:
                    merged.pop()
                merged.append(axis)
        return tuple(merged)


def emit(c: Contraction, config: Config, x: Any, w: Any, store: Store, target: Target) -> None:
    """Write the loops, inside a PrimFunc that is being built. Config: the register tile, `points` x `blocks`; the
    reduction steps that are `unrolled`; how much of the first reduction axis makes a `chunk`; how many tiles make a
    `band`; and whether the bands are the `outer` loop, or the output blocks."""
    points = prod(axis.extent for axis in c.points)
    width, blocks = min(config["points"], points), min(config["blocks"], c.blocks)
    tiles = -(-points // width)
    band = min(config["band"], tiles)
    bands, columns = -(-tiles // band), c.groups * -(-c.blocks // blocks)
    nest = _Nest(c, config, x, w, store, width, blocks, gcd(c.block, target.lanes(c.dtype)))
    with loop(bands * columns, c.multiplications, target) as task:
        if config["outer"]:
            nest.column(task // columns, band, bands, tiles, task % columns)
        else:
            nest.column(task % bands, band, bands, tiles, task // bands)


@contextmanager
def loop(extent: int, work: int, target: Target) -> Iterator[Any]:
    """A loop over independent tasks, parallel if they do enough scalar operations together."""
    from convc.targets.cpu.loops import PARALLEL_VECTORS

    parallel = extent > 1 and target.cores > 1 and work // target.lanes() >= PARALLEL_VECTORS
    with (T.parallel if parallel else T.serial)(0, extent) as task:
        yield task


@dataclass
class _Nest:
    c: Contraction
    config: Config
    x: Any
    w: Any
    store: Store
    width: int
    blocks: int
    lanes: int

    def column(self, band: Any, size: int, bands: int, tiles: int, column: Any) -> None:
        """All tiles of a band for some output blocks."""
        c = self.c
        columns = -(-c.blocks // self.blocks)
        group = column // columns if c.groups > 1 else 0
        first = column % columns * self.blocks if columns > 1 else 0
        if c.blocks % self.blocks:
            first = T.min(first, c.blocks - self.blocks)
        block = T.bind(group * c.blocks + first)
        base = group * c.group_stride
        head = c.reduction[0]
        chunk = min(self.config["chunk"], head.extent)
        chunks = -(-head.extent // chunk)
        points = prod(axis.extent for axis in c.points)
        partial = None
        if chunks > 1:
            partial = T.alloc_buffer([size * self.width * self.blocks * c.block], c.dtype)
        with T.serial(0, chunks) as index:
            steps = chunk if head.extent % chunk == 0 else T.min(chunk, head.extent - index * chunk)
            spread = bands == 1 and tiles > 1 and (tiles * self.width - points) * 32 > points
            if spread:
                wide = points - tiles * (-(-points // tiles) - 1)
                segments = [(-(-points // tiles), wide, 0), (-(-points // tiles) - 1, tiles - wide, wide)]
            else:
                count = size if bands * size == tiles else T.min(size, tiles - band * size)
                segments = [(self.width, count, 0)]
            done = 0
            for width, count, skipped in segments:
                if isinstance(count, int) and count == 0:
                    continue
                with T.serial(0, count) as t:
                    if spread:
                        start = done + t * width
                    else:
                        start = (band * size + t) * width
                        if tiles * self.width != points:
                            start = T.min(start, points - width)
                    slot = (t + skipped) * self.width
                    self.tile(T.bind(start), width, slot, block, base, index, chunks, chunk, steps, partial)
                if spread:
                    done = width * count

    def tile(
        self,
        start: Any,
        width: int,
        slot: Any,
        block: Any,
        base: Any,
        index: Any,
        chunks: int,
        chunk: int,
        steps: Any,
        partial: Any,
    ) -> None:
        """One register tile, over one chunk of the reduction."""
        c, lanes = self.c, self.lanes
        vectors = c.block // lanes
        sums = T.alloc_buffer([width * self.blocks * c.block], c.dtype)
        places = [(i, j, v) for i in range(width) for j in range(self.blocks) for v in range(vectors)]

        def at(i: int, j: int, v: int) -> int:
            return ((i * self.blocks + j) * vectors + v) * lanes

        def ramp(offset: Any) -> Any:
            return T.Ramp(offset, 1, lanes)

        def clear() -> None:
            for place in places:
                T.buffer_store(sums, T.Broadcast(T.cast(0, c.dtype), lanes), [ramp(at(*place))])

        def resume() -> None:
            for place in places:
                T.buffer_store(sums, partial[ramp(slot * (self.blocks * c.block) + at(*place))], [ramp(at(*place))])

        def suspend() -> None:
            for place in places:
                T.buffer_store(partial, sums[ramp(at(*place))], [ramp(slot * (self.blocks * c.block) + at(*place))])

        def finish() -> None:
            for i, j, v in places:
                position = at(i, j, v)
                self.store(
                    block + j,
                    self.coordinates(start + i),
                    v * lanes,
                    lambda lane, position=position: sums[position + lane],
                    lanes,
                )

        offsets = self.offsets(start, width)
        if chunks == 1:
            clear()
        else:
            with T.If(index == 0):
                with T.Then():
                    clear()
                with T.Else():
                    resume()

        def step(x_at: Any, w_at: Any) -> None:
            for i in range(width):
                element = T.Broadcast(self.x[offsets[i] + x_at], lanes)
                for j in range(self.blocks):
                    for v in range(vectors):
                        here = ramp(at(i, j, v))
                        weight = self.w[ramp((block + j) * c.block_stride + w_at + v * lanes)]
                        T.buffer_store(sums, sums[here] + element * weight, [here])

        def reduce(axes: Sequence[Axis], x_at: Any, w_at: Any) -> None:
            axis, *rest = axes
            if rest:
                with T.serial(0, axis.extent) as k:
                    reduce(rest, x_at + k * axis.x, w_at + k * axis.w)
                return
            unrolled = min(self.config["unrolled"], axis.extent)
            whole = axis.extent // unrolled
            if whole > 1:
                with T.serial(0, whole) as k:
                    for u in range(unrolled):
                        r = k * unrolled + u
                        step(x_at + r * axis.x, w_at + r * axis.w)
            for r in range(whole * unrolled if whole > 1 else 0, axis.extent):
                step(x_at + r * axis.x, w_at + r * axis.w)

        head, *rest = c.reduction
        rest = [axis for axis in rest if axis.extent > 1]
        with T.serial(0, steps) as k:
            r = index * chunk + k if chunks > 1 else k
            if rest:
                reduce(rest, base + r * head.x, r * head.w)
            else:
                step(base + r * head.x, r * head.w)
        if chunks == 1:
            finish()
        else:
            with T.If(index == chunks - 1):
                with T.Then():
                    finish()
                with T.Else():
                    suspend()

    def offsets(self, start: Any, width: int) -> list[Any]:
        """Where in x the points of a tile begin."""
        axes = self.c.seamless_points()
        if len(axes) == 1:
            return [start * axes[0].x + i * axes[0].x for i in range(width)]
        if axes[-1].extent % width == 0 and prod(axis.extent for axis in axes) % width == 0:
            first = T.bind(flat(axes, start))
            return [first + i * axes[-1].x for i in range(width)]
        return [T.bind(flat(axes, start + i)) for i in range(width)]

    def coordinates(self, point: Any) -> list[Any]:
        """A point's index along each of the contraction's axes."""
        result = []
        below = prod(axis.extent for axis in self.c.points)
        for i, axis in enumerate(self.c.points):
            below //= axis.extent
            value = point // below if below > 1 else point
            result.append(0 if axis.extent == 1 else value if i == 0 else value % axis.extent)
        return result


def flat(axes: Sequence[Axis], point: Any) -> Any:
    """The element of x at which a point begins."""
    total: Any = 0
    below = prod(axis.extent for axis in axes)
    for i, axis in enumerate(axes):
        below //= axis.extent
        value = point // below if below > 1 else point
        total = total + (value if i == 0 else value % axis.extent) * axis.x
    return total
