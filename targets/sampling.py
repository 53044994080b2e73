"""Gathers and samples as expressions: the address of an element depends on other elements, and is kept inside."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from tvm import tirx

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.sampling import GatherOp, GridSampleOp
from convc.targets.resize import cubic

if TYPE_CHECKING:
    from convc.targets.emit import Emitter, Index

Tap: TypeAlias = tuple[Any, Any, Any]
"""Of one axis: the position, its weight (None: 1), and whether it lies inside (None: it is brought inside)."""


def read_gather(emitter: Emitter, op: GatherOp, index: Index) -> Any:
    axis, rank, size = op.axis.value.data, len(shape_of(op.indices)), shape_of(op.x)[op.axis.value.data]
    place = emitter.named(wrapped(emitter.read(op.indices, index[axis : axis + rank]), size), size)
    return emitter.read(op.x, [*index[:axis], place, *index[axis + rank :]])


def wrapped(at: Any, size: int) -> Any:
    """An index as a position in [0, size): negative ones count from the end."""
    at = tirx.Select(at < 0, at + tirx.const(size, at.ty.dtype), at)
    return inside(tirx.Cast("int32", inside(at, size)), size)


def inside(place: Any, size: int) -> Any:
    """The nearest position in [0, size); 0 for NaN."""
    zero, last = (tirx.const(n, place.ty.dtype) for n in (0, size - 1))
    return tirx.min(tirx.max(place, zero), last)


def read_grid_sample(emitter: Emitter, op: GridSampleOp, index: Index) -> Any:
    """The sum over the taps of all axes of weight * x[tap]."""
    n, channel, *place = index
    sizes, dtype = shape_of(op.x)[2:], str(to_numpy(element_type(op.x)))
    coordinates = [emitter.read(op.grid, [n, *place, len(sizes) - 1 - axis]) for axis in range(len(sizes))]
    taps = [_taps(emitter, op, at, size, dtype) for at, size in zip(coordinates, sizes, strict=True)]
    total = None
    for choice in product(*taps):
        value = emitter.read(op.x, [n, channel, *(position for position, _, _ in choice)])
        for _, weight, within in choice:
            value = value if weight is None else value * weight
            value = value if within is None else tirx.Select(within, value, tirx.const(0, dtype))
        total = value if total is None else total + value
    return total


def _taps(emitter: Emitter, op: GridSampleOp, at: Any, size: int, dtype: str) -> Sequence[Tap]:
    """The taps of an axis of so many elements around a coordinate."""
    mode, padding = op.mode.data, op.padding.data
    low, high = (0.0, size - 1.0) if op.align_corners is not None else (-0.5, size - 0.5)
    at = emitter.named(tirx.nearbyint(at)) if mode == "nearest" else at
    if padding == "border":  # all taps of what is farther outside are the border; infinities have no fraction
        at = emitter.named(tirx.min(tirx.max(at, tirx.const(-2, at.ty.dtype)), tirx.const(size + 1, at.ty.dtype)))
    elif padding == "reflection":
        at = emitter.named(_reflected(emitter, at, low, high))
    base = emitter.named(tirx.floor(at))
    r = emitter.named(at - base)
    if mode == "nearest":
        places, weights = [base], [None]
    elif mode == "linear":
        places, weights = [base, base + 1.0], [1.0 - r, r]
    else:
        places = [base + float(i) for i in (-1, 0, 1, 2)]
        weights = cubic(r, -0.75)
    taps = []
    for place, weight in zip(places, weights, strict=True):
        within = tirx.all(place >= 0.0, place <= size - 1.0) if padding == "zeros" else None
        place = _reflected(emitter, place, low, high) if padding == "reflection" else place
        position = emitter.named(inside(tirx.Cast("int32", inside(place, size)), size), size)
        taps.append((position, weight if weight is None else emitter.named(tirx.Cast(dtype, weight)), within))
    return taps


def _reflected(emitter: Emitter, at: Any, low: float, high: float) -> Any:
    """Coordinates folded into [low, high] at its ends."""
    dtype, period = at.ty.dtype, 2 * (high - low)
    if period == 0:
        return tirx.const(low, dtype)
    shifted = at - low
    folded = emitter.named(shifted - tirx.floor(shifted * tirx.const(1 / period, dtype)) * period)
    return tirx.Select(tirx.any(at < low, at > high), low + tirx.min(folded, period - folded), at)
