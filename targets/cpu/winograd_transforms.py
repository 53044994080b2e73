"""The transforms of Winograd tiles between memory and registers, a vector of channels at a time.

A tile is transformed along one axis or two; along the others it is one element wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tvm.script.ir_builder.tirx as T

from convc.ir.attributes import shape_of
from convc.ir.windows import WinogradConvOp, dilations_of
from convc.ir.winograd import ONE, Transforms
from convc.targets.cpu.buffers import BufferEmitter
from convc.targets.cpu.loops import bound
from convc.targets.even_odd import even_odd_columns, even_odd_rows

if TYPE_CHECKING:
    from convc.targets.cpu.winograd import Geometry


def input_transform(
    emitter: BufferEmitter, op: WinogradConvOp, geometry: Geometry, tile: Sequence[Any], v: Any, at: Any, step: int
) -> None:
    """B^T d B of one tile (image, block of channels, a number along each axis) to `v[at + place * step]`."""
    n, channel, *numbers = tile
    block, dilations, sizes = geometry.block, dilations_of(op), shape_of(op.x)[2:]
    x, pads = emitter.buffers[op.x], op.pads.get_values()
    begin = [bound(first - pad) for first, pad in zip(_first(op, geometry, numbers), pads)]
    lines, (across, along) = _lines(geometry)

    def write(inside: bool) -> None:
        def load(i: int, j: int) -> Any:
            place = [first + k * d for first, k, d in zip(begin, lines(i, j), dilations)]
            value = x[n, channel, *place, T.Ramp(0, 1, block)]
            fits = [
                condition
                for p, size, axis, pad in zip(place, sizes, geometry.transforms, pads)
                if axis.t > 1 or pad
                for condition in (p >= 0, p < size)
            ]
            return value if inside else T.if_then_else(_all(fits), value, T.Broadcast(T.float32(0), block))

        # Columns first: what a column of the tile gives is used by every row of the result.
        columns = [_rows(across, [T.bind(load(i, j)) for i in range(across.t)]) for j in range(along.t)]
        for i in range(across.t):
            for j, value in enumerate(_rows(along, [column[i] for column in columns])):
                T.buffer_store(v, value, [T.Ramp(at + (i * along.t + j) * step, 1, block)])

    whole = [
        condition
        for first, size, d, axis, pad in zip(begin, sizes, dilations, geometry.transforms, pads)
        if axis.t > 1 or pad
        for condition in (first >= 0, first < size - (axis.t - 1) * d)
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
    n, channel, *numbers = tile
    block, dilations, sizes = geometry.block, dilations_of(op), shape_of(op.result)[2:]
    begin = _first(op, geometry, numbers)
    lines, (across, along) = _lines(geometry)

    def load(i: int, j: int) -> Any:
        return T.bind(products[T.Ramp(at + (i * along.t + j) * step, 1, block)])

    columns = [_columns(across, [load(i, j) for i in range(across.t)]) for j in range(along.t)]
    exact = [tiles * axis.m == size for tiles, axis, size in zip(geometry.tiles, geometry.transforms, sizes)]
    for i in range(across.m):
        results = T.alloc_buffer([along.m * block], "float32")
        for j, value in enumerate(_columns(along, [column[i] for column in columns])):
            T.buffer_store(results, value, [T.Ramp(j * block, 1, block)])
        with T.serial(0, along.m) as j:
            place = [first + k * d for first, k, d in zip(begin, lines(i, j), dilations)]
            inside = [p < size for p, size, fits in zip(place, sizes, exact) if not fits]
            if inside:
                with T.If(_all(inside)), T.Then():
                    _store(emitter, op, block, results, j * block, [n, channel, *place])
            else:
                _store(emitter, op, block, results, j * block, [n, channel, *place])


def _first(op: WinogradConvOp, geometry: Geometry, numbers: Sequence[Any]) -> list[Any]:
    """The place of a tile's first output along each axis. Tiles of a dilated axis that follow one another are those of
    its phases: the outputs whose places differ by multiples of the dilation."""
    found = []
    for number, axis, d, size in zip(numbers, geometry.transforms, dilations_of(op), shape_of(op.result)[2:]):
        phases = min(d, size)
        found.append(bound(number % phases + number // phases * (axis.m * d)) if phases > 1 else number * axis.m)
    return found


def _lines(geometry: Geometry) -> tuple[Any, tuple[Transforms, Transforms]]:
    """What tells an element's index along each axis from those along the two, at most, that are transformed; and the
    transforms of those: the first does nothing where there is one."""
    own = [number for number, axis in enumerate(geometry.transforms) if axis.t > 1]
    across, along = [-1, *own][-2:]

    def lines(i: Any, j: Any) -> list[Any]:
        index: list[Any] = [0] * len(geometry.transforms)
        index[along] = j
        if across >= 0:
            index[across] = i
        return index

    return lines, (geometry.transforms[across] if across >= 0 else ONE, geometry.transforms[along])


def _rows(axis: Transforms, x: Sequence[Any]) -> Sequence[Any]:
    return even_odd_rows(axis.b, x) if axis.t > 1 else x


def _columns(axis: Transforms, x: Sequence[Any]) -> Sequence[Any]:
    return even_odd_columns(axis.a, x) if axis.t > 1 else x


def _store(emitter: BufferEmitter, op: WinogradConvOp, block: int, results: Any, at: Any, place: Sequence[Any]) -> None:
    """Write one vector of channels of the kernel's result."""
    n, channel, *spatial = place

    emitter.store_channels(op, [n, *spatial], channel * block, block, lambda lane: results[at + lane])


def _all(conditions: Sequence[Any]) -> Any:
    result = conditions[0]
    for condition in conditions[1:]:
        result = T.And(result, condition)
    return result
