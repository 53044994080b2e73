"""Contractions in plain layout: vectors of neighbouring outputs along the width, one weight for all of a vector.

    y[output, point] = sum over r of x[point, r] * w[output, r]

As in `contraction`, operands are flat memory and an axis is its strides. The register tile is `outputs x vectors`:
each step of the reduction loads `vectors` vectors of x and one broadcast weight an output. It serves what cannot be
blocked: groups that share a block of channels, a single output channel. Where a tile does not divide an axis, the last
one begins earlier and computes some results twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T

from convc.targets.buffers import lane_of
from convc.targets.cpu.axes import Axis, in_parts, is_long, loops
from convc.targets.cpu.loops import bound, loop, split
from convc.targets.cpu.tiling import LATENCY, LOADS, STORE, TILE
from convc.targets.target import CpuTarget

Store = Callable[[Any, Sequence[Any], Any, Callable[[Any], Any], int], None]
"""Writes one vector of results: the output channel, the coordinates along `points`, the first place along the width,
the sum at a lane counted from there, and how many lanes (`BufferEmitter.store_vector` does the rest)."""


@dataclass(frozen=True)
class PlainContraction:
    """`points` are the axes around the width, `width` the one that vectors run along. A group has `outputs` outputs
    (a convolution's channels, a product's rows), `output_stride` elements of w apart; its inputs start `group_stride`
    elements of x after those of the group before."""

    points: tuple[Axis, ...]
    width: Axis
    reduction: tuple[Axis, ...]
    outputs: int
    output_stride: int
    groups: int = 1
    group_stride: int = 0
    dtype: str = "float32"


@dataclass(frozen=True)
class Tile:
    """A register tile: `outputs x vectors` vectors of `lanes` elements."""

    outputs: int
    vectors: int
    lanes: int


def register_tile(c: PlainContraction, target: CpuTarget, outputs: int) -> Tile:
    """The tile with at most so many outputs that fills the registers, without exceeding the width."""
    lanes = min(target.lanes(c.dtype), 1 << (c.width.extent.bit_length() - 1))
    outputs = min(outputs, c.outputs)
    # Each vector needs an accumulator an output and a register for x; one more holds the weight.
    vectors = max(1, (target.vector_registers - 1) // (outputs + 1))
    return Tile(outputs, min(vectors, c.width.extent // lanes), lanes)


_GATHERED = 1.3
"""Cycles an element of a vector that lies with a stride: loaded, put into its place, the parts joined. Measured."""


def plain_cycles(c: PlainContraction, tile: Tile, target: CpuTarget) -> float:
    """The time of a contraction on one core by the model of `tiling`, its operands in the second cache."""
    sums = tile.outputs * tile.vectors
    if c.width.x == 1 or tile.lanes == 1:
        loads = (tile.vectors + tile.outputs) / LOADS
    else:
        loads = tile.vectors * tile.lanes * _GATHERED
    tiles = -(-c.width.extent // (tile.vectors * tile.lanes)) * -(-c.outputs // tile.outputs) * c.groups
    steps = prod(axis.extent for axis in c.reduction)
    return (
        tiles * prod(axis.extent for axis in c.points) * (steps * max(sums / 2, loads, LATENCY) + TILE + STORE * sums)
    )


def emit_plain(c: PlainContraction, tile: Tile, x: Any, w: Any, store: Store, target: CpuTarget) -> None:
    """Write the loops, inside a PrimFunc that is being built. `x` and `w` are read at flat indices."""
    span = tile.vectors * tile.lanes
    columns = -(-c.outputs // tile.outputs)
    extents = [c.groups, columns, *(axis.extent for axis in c.points)]
    work = prod(extents) * c.width.extent * tile.outputs * prod(axis.extent for axis in c.reduction)
    with loop(prod(extents), work // target.lanes(c.dtype)) as task:
        group, column, *point = map(bound, split(task, extents))
        first = bound(group * c.outputs + _start(column, tile.outputs, c.outputs))
        base = bound(group * c.group_stride + sum((i * axis.x for i, axis in zip(point, c.points)), 0))
        w_base = bound(first * c.output_stride + sum((i * axis.w for i, axis in zip(point, c.points)), 0))
        with T.serial(0, -(-c.width.extent // span)) as step:
            start = T.bind(_start(step, span, c.width.extent))
            # 64 bits: see register_tile.py.
            at_x, at_w = (T.bind(T.cast(at, "int64")) for at in (base + start * c.width.x, w_base))
            sums = _sums(c, tile, x, w, at_x, at_w)
            for i in range(tile.outputs):
                for v in range(tile.vectors):
                    at = v * tile.lanes
                    store(first + i, point, start + at, lane_of(sums[i], at), tile.lanes)


def _sums(c: PlainContraction, tile: Tile, x: Any, w: Any, base: Any, w_base: Any) -> list[Any]:
    places = [(i, v) for i in range(tile.outputs) for v in range(tile.vectors)]

    def here(v: int) -> Any:
        return _vector(v * tile.lanes, 1, tile.lanes)

    def zeros() -> list[Any]:
        # A buffer an output: TVM puts only buffers below 1 KiB on the stack, from where LLVM takes them into registers.
        made = [T.alloc_buffer([tile.vectors * tile.lanes], c.dtype) for _ in range(tile.outputs)]
        for i, v in places:
            T.buffer_store(made[i], _spread(T.cast(0, c.dtype), tile.lanes), [here(v)])
        return made

    def add(sums: list[Any], x_at: Any, w_at: Any) -> None:
        for i, v in places:
            inputs = x[_vector(x_at + v * tile.lanes * c.width.x, c.width.x, tile.lanes)]
            weight = _spread(w[w_base + i * c.output_stride + w_at], tile.lanes)
            T.buffer_store(sums[i], sums[i][here(v)] + inputs * weight, [here(v)])

    def part(axes: Sequence[Axis], x_at: Any, w_at: Any) -> None:
        some = zeros()
        loops(axes, x_at, w_at, partial(add, some))
        for i, v in places:
            T.buffer_store(totals[i], totals[i][here(v)] + some[i][here(v)], [here(v)])

    totals = zeros()
    if is_long(c.reduction):
        in_parts(c.reduction, base, 0, part)
    else:
        loops([axis for axis in c.reduction if axis.extent > 1], base, 0, partial(add, totals))
    return totals


def _start(number: Any, size: int, extent: int) -> Any:
    """Where a tile begins: the last one ends where the axis does."""
    return number * size if extent % size == 0 else T.min(number * size, extent - size)


def _vector(base: Any, stride: int, lanes: int) -> Any:
    return T.Ramp(base, stride, lanes) if lanes > 1 else base


def _spread(element: Any, lanes: int) -> Any:
    return T.Broadcast(element, lanes) if lanes > 1 else element
