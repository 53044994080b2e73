"""The transforms of Winograd tiles between memory and registers, a vector of channels at a time.

A tile is transformed along one axis or two; along the others it is one element wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tvm.script.ir_builder.tirx as T

from convc.ir.attributes import shape_of
from convc.ir.windows import WinogradConvOp, dilations_of
from convc.targets.cpu.buffers import BufferEmitter
from convc.targets.cpu.loops import bound
from convc.targets.cpu.winograd_tiles import Geometry, Part
from convc.targets.even_odd import even_odd_columns, even_odd_rows

Where: TypeAlias = Callable[[int, int], Any]
"""The first element of the vector at a place of a tile, given its row and column."""


def input_transform(
    emitter: BufferEmitter, op: WinogradConvOp, geometry: Geometry, tile: Sequence[Any], v: Any, where: Where
) -> None:
    """B^T d B of one tile (image, block of channels, a number along each axis) to `v`."""
    n, channel, *numbers = tile
    block, dilations, sizes, axes = geometry.block, dilations_of(op), shape_of(op.x)[2:], geometry.transforms
    x, pads = emitter.buffers[op.x], op.pads.get_values()
    outputs = _first_output(op, geometry, numbers)
    begin = [bound(first * axis.stride - pad) for first, axis, pad in zip(outputs, axes, pads)]
    ends = [size - (axis.t - 1) * d for size, axis, d in zip(sizes, axes, dilations)]
    may_leave = [i for i, (axis, pad) in enumerate(zip(axes, pads)) if axis.t > 1 or pad]

    def write(inside: bool, part: Part) -> None:
        def load(i: int, j: int) -> Any:
            place = [first + k * d for first, k, d in zip(begin, _along(geometry, i, j), dilations)]
            value = x[n, channel, *place, T.Ramp(0, 1, block)]
            if inside:
                return value
            fits = _all([condition for i in may_leave for condition in (place[i] >= 0, place[i] < sizes[i])])
            return T.if_then_else(fits, value, T.Broadcast(T.float32(0), block))

        # A phase has inputs of its own.
        ys, xs = (range(phase, axis.t, axis.stride) for phase, axis in zip(part.phases, geometry.plane))
        down, across = (
            [axis.b[i][own.start :: own.step] for i in places]
            for axis, own, places in zip(geometry.plane, (ys, xs), part.places)
        )
        # Columns first: what a column of the tile gives is used by every row of the result.
        columns = [even_odd_rows(down, [T.bind(load(i, j)) for i in ys]) for j in xs]
        for i, place in enumerate(part.places[0]):
            values = even_odd_rows(across, [column[i] for column in columns])
            for other, value in zip(part.places[1], values, strict=True):
                T.buffer_store(v, value, [T.Ramp(where(place, other), 1, block)])

    whole = [condition for i in may_leave for condition in (begin[i] >= 0, begin[i] < ends[i])]
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
    n, channel, *numbers = tile
    block, dilations, sizes, (down, across) = geometry.block, dilations_of(op), shape_of(op.result)[2:], geometry.plane
    begin = _first_output(op, geometry, numbers)

    def load(i: int, j: int) -> Any:
        return T.bind(products[T.Ramp(where(i, j), 1, block)])

    columns = [even_odd_columns(down.a, [load(i, j) for i in range(down.t)]) for j in range(across.t)]
    exact = [tiles * axis.m == size for tiles, axis, size in zip(geometry.tiles, geometry.transforms, sizes)]
    for i in range(down.m):
        results = T.alloc_buffer([across.m * block], "float32")
        for j, value in enumerate(even_odd_columns(across.a, [column[i] for column in columns])):
            T.buffer_store(results, value, [T.Ramp(j * block, 1, block)])
        with T.serial(0, across.m) as j:
            place = [first + k * d for first, k, d in zip(begin, _along(geometry, i, j), dilations)]
            inside = [p < size for p, size, fits in zip(place, sizes, exact) if not fits]
            if inside:
                with T.If(_all(inside)), T.Then():
                    _store(emitter, op, block, results, j * block, [n, channel, *place])
            else:
                _store(emitter, op, block, results, j * block, [n, channel, *place])


def _first_output(op: WinogradConvOp, geometry: Geometry, numbers: Sequence[Any]) -> list[Any]:
    """The place of a tile's first output along each axis. Tiles of a dilated axis that follow one another are those of
    the outputs whose places differ by multiples of the dilation, begun at each in turn."""
    found = []
    for number, axis, d, size in zip(numbers, geometry.transforms, dilations_of(op), shape_of(op.result)[2:]):
        between = min(d, size)
        apart = number % between + number // between * (axis.m * d)
        found.append(bound(apart) if between > 1 else number * axis.m)
    return found


def _along(geometry: Geometry, i: Any, j: Any) -> list[Any]:
    """The index along each axis of the element (i, j) of a plane."""
    index: list[Any] = [0] * len(geometry.transforms)
    for axis, place in zip(reversed(geometry.axes), (j, i)):
        index[axis] = place
    return index


def _store(emitter: BufferEmitter, op: WinogradConvOp, block: int, results: Any, at: Any, place: Sequence[Any]) -> None:
    """Write one vector of channels of the kernel's result."""
    n, channel, *spatial = place

    emitter.store_channels(op, [n, *spatial], channel * block, block, lambda lane: results[at + lane])


def _all(conditions: Sequence[Any]) -> Any:
    result = conditions[0]
    for condition in conditions[1:]:
        result = T.And(result, condition)
    return result
