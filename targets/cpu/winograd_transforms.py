"""The transforms of Winograd tiles between memory and registers, a vector of channels at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tvm.script.ir_builder.tirx as T

from convc.ir.attributes import shape_of
from convc.ir.windows import WinogradConvOp
from convc.targets.cpu.buffers import BufferEmitter
from convc.targets.cpu.loops import bound
from convc.targets.cpu.winograd_tiles import Geometry, Part
from convc.targets.even_odd import even_odd_columns, even_odd_rows

Where: TypeAlias = Callable[[int, int], Any]
"""The first element of the vector at a place of a tile, given its row and column."""


def input_transform(
    emitter: BufferEmitter, op: WinogradConvOp, geometry: Geometry, tile: Sequence[Any], v: Any, where: Where
) -> None:
    """B^T d B of one tile (image, block of channels, row, column) to `v`."""
    n, channel, row, column = tile
    how, block = geometry.transforms, geometry.block
    pads, (height, width) = op.pads.get_values(), shape_of(op.x)[2:]
    step = how.m * how.stride
    x = emitter.buffers[op.x]
    top, left = bound(row * step - pads[0]), bound(column * step - pads[1])

    def write(inside: bool, part: Part) -> None:
        def load(i: int, j: int) -> Any:
            value = x[n, channel, top + i, left + j, T.Ramp(0, 1, block)]
            if inside:
                return value
            fits = T.And(T.And(top + i >= 0, top + i < height), T.And(left + j >= 0, left + j < width))
            return T.if_then_else(fits, value, T.Broadcast(T.float32(0), block))

        # A phase has inputs of its own.
        ys, xs = (range(phase, how.t, how.stride) for phase in part.phases)
        down, across = ([how.b[i][xs.start :: how.stride] for i in places] for xs, places in zip((ys, xs), part.places))
        # Columns first: what a column of the tile gives is used by every row of the result.
        columns = [even_odd_rows(down, [T.bind(load(i, j)) for i in ys]) for j in xs]
        for i, place in enumerate(part.places[0]):
            values = even_odd_rows(across, [column[i] for column in columns])
            for other, value in zip(part.places[1], values, strict=True):
                T.buffer_store(v, value, [T.Ramp(where(place, other), 1, block)])

    whole = [
        condition for begin, size in ((top, height), (left, width)) for condition in (begin >= 0, begin <= size - how.t)
    ]
    with T.If(_all(whole)):
        with T.Then():
            for part in geometry.parts:
                write(True, part)
        with T.Else():
            for part in geometry.parts:
                write(False, part)


def output_transform(
    emitter: BufferEmitter, op: WinogradConvOp, geometry: Geometry, tile: Sequence[Any], products: Any, where: Where
) -> None:
    """A^T M A of one tile of `products` to the kernel's result, epilogue included."""
    n, channel, row, column = tile
    m, t, block = geometry.transforms.m, geometry.transforms.t, geometry.block
    height, width = shape_of(op.result)[2:]

    def load(i: int, j: int) -> Any:
        return T.bind(products[T.Ramp(where(i, j), 1, block)])

    columns = [even_odd_columns(geometry.transforms.a, [load(i, j) for i in range(t)]) for j in range(t)]
    for i in range(m):
        results = T.alloc_buffer([m * block], "float32")
        for j, value in enumerate(even_odd_columns(geometry.transforms.a, [column[i] for column in columns])):
            T.buffer_store(results, value, [T.Ramp(j * block, 1, block)])
        with T.serial(0, m) as j:
            y, x = row * m + i, column * m + j
            inside = [c for c, size in ((y < height, height), (x < width, width)) if size % m]
            if inside:
                with T.If(_all(inside)), T.Then():
                    _store(emitter, op, block, results, j * block, [n, channel, y, x])
            else:
                _store(emitter, op, block, results, j * block, [n, channel, y, x])


def _store(emitter: BufferEmitter, op: WinogradConvOp, block: int, results: Any, at: Any, place: Sequence[Any]) -> None:
    """Write one vector of channels of the kernel's result."""
    n, channel, *spatial = place

    emitter.store_channels(op, [n, *spatial], channel * block, block, lambda lane: results[at + lane])


def _all(conditions: Sequence[Any]) -> Any:
    result = conditions[0]
    for condition in conditions[1:]:
        result = T.And(result, condition)
    return result
