"""The transforms of Winograd tiles between memory and registers, a vector of channels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tvm.script.ir_builder.tirx as T

from convc.ir.attributes import shape_of
from convc.ir.windows import WinogradConvOp
from convc.targets.cpu.buffers import BufferEmitter
from convc.targets.cpu.loops import bound
from convc.targets.even_odd import even_odd_columns, even_odd_rows

if TYPE_CHECKING:
    from convc.targets.cpu.winograd import Geometry


def input_transform(
    emitter: BufferEmitter, op: WinogradConvOp, geometry: Geometry, tile: Sequence[Any], v: Any, at: Any, step: int
) -> None:
    """B^T d B of one tile (image, block of channels, row, column) to `v[at + place * step]`."""
    n, channel, row, column = tile
    t, block = geometry.transforms.t, geometry.block
    pads, (height, width) = op.pads.get_values(), shape_of(op.x)[2:]
    m = geometry.transforms.m
    x = emitter.buffers[op.x]
    top, left = bound(row * m - pads[0]), bound(column * m - pads[1])

    def write(inside: bool) -> None:
        def load(i: int, j: int) -> Any:
            value = x[n, channel, top + i, left + j, T.Ramp(0, 1, block)]
            if inside:
                return value
            fits = T.And(T.And(top + i >= 0, top + i < height), T.And(left + j >= 0, left + j < width))
            return T.if_then_else(fits, value, T.Broadcast(T.float32(0), block))

        # Columns first: what a column of the tile gives is used by every row of the result.
        columns = [even_odd_rows(geometry.transforms.b, [T.bind(load(i, j)) for i in range(t)]) for j in range(t)]
        for i in range(t):
            for j, value in enumerate(even_odd_rows(geometry.transforms.b, [column[i] for column in columns])):
                T.buffer_store(v, value, [T.Ramp(at + (i * t + j) * step, 1, block)])

    whole = [
        condition for begin, size in ((top, height), (left, width)) for condition in (begin >= 0, begin <= size - t)
    ]
    with T.If(_all(whole)):
        with T.Then():
            write(inside=True)
        with T.Else():
            write(inside=False)


def output_transform(
    emitter: BufferEmitter,
    op: WinogradConvOp,
    geometry: Geometry,
    tile: Sequence[Any],
    products: Any,
    at: Any,
    step: int,
) -> None:
    """A^T M A of one tile, from `products[at + place * step]`, to the kernel's result, epilogue included."""
    n, channel, row, column = tile
    m, t, block = geometry.transforms.m, geometry.transforms.t, geometry.block
    height, width = shape_of(op.result)[2:]

    def load(i: int, j: int) -> Any:
        return T.bind(products[T.Ramp(at + (i * t + j) * step, 1, block)])

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
