"""What gathers, scatters, samples, selections and prefix sums mean, in numpy."""

from __future__ import annotations

from itertools import product

import numpy as np

from convc.ir.attributes import ReduceKind, shape_of
from convc.ir.interpreter_resize import keys_cubic
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp, ScatterOp
from convc.ir.windows import ArgPoolOp


def gather(op: GatherOp, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The slices of x at the indices, along an axis."""
    axis = op.axis.value.data
    return np.take(x, _inside(indices, x.shape[axis]), axis)


def scatter(op: ScatterOp, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """`y = x`, then `y[i] = combine(y[i], update)` for each index i and its row of updates, in order."""
    y, places, mode = x.copy(), _inside(indices, x.shape[0]), op.mode.data
    if mode == "replace":
        for place, row in zip(places, updates, strict=True):
            y[place] = row
    else:
        combine = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}[mode]
        combine.at(y, places, updates)
    return y


def _inside(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices in [0, size): negative ones counted from the end, what is outside brought to the nearer end."""
    indices = indices.astype(np.int64)
    return np.clip(np.where(indices < 0, indices + size, indices), 0, size - 1)


def grid_sample(op: GridSampleOp, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The sum over the taps of all spatial axes of weight * x[tap]."""
    sizes = x.shape[2:]
    line = np.arange(x.shape[0]).reshape(-1, *[1] * len(sizes))
    x = np.moveaxis(x, 1, -1)  # channels last: an index into the other axes takes whole pixels
    taps = [_taps(op, grid[..., len(sizes) - 1 - axis], size) for axis, size in enumerate(sizes)]
    y = np.zeros((*grid.shape[:-1], x.shape[-1]), np.result_type(x.dtype, np.float32))
    for choice in product(*taps):
        weight = np.prod([weight for _, weight in choice], axis=0)
        y = y + x[(line, *(place for place, _ in choice))] * weight[..., None]
    return np.moveaxis(y, -1, 1)


def _taps(op: GridSampleOp, at: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(position, weight) of each tap along an axis of so many elements; what lies outside has no weight."""
    aligned, padding = op.align_corners is not None, op.padding.data
    at = np.rint(at) if op.mode.data == "nearest" else at
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if padding == "border":  # all taps of what is farther outside are the border; infinities have no fraction
        at = np.clip(at, -2, size + 1)
    elif padding == "reflection":
        at = _reflected(at, low, high)
    base = np.floor(at)
    r = at - base
    match op.mode.data:
        case "nearest":
            taps = [(base, np.ones_like(at))]
        case "linear":
            taps = [(base, 1 - r), (base + 1, r)]
        case _:
            taps = [(base + i, keys_cubic(np.abs(r - i), -0.75)) for i in (-1, 0, 1, 2)]
    result = []
    for place, weight in taps:
        if padding == "zeros":
            weight = np.where((place >= 0) & (place < size), weight, 0)
        elif padding == "reflection":
            place = _reflected(place, low, high)
        result.append((np.clip(np.nan_to_num(place), 0, size - 1).astype(np.int64), weight))
    return result


def _reflected(at: np.ndarray, low: float, high: float) -> np.ndarray:
    """Coordinates folded into [low, high] at its ends."""
    if high == low:
        return np.full_like(at, low)
    folded = np.mod(at - low, 2 * (high - low))
    return np.where((at < low) | (at > high), low + np.minimum(folded, 2 * (high - low) - folded), at)


def top_k(op: TopKOp, x: np.ndarray) -> np.ndarray:
    """The positions of the k first elements in sorted order; sorting is stable."""
    axis, k = op.axis.value.data, op.k.value.data
    if op.smallest is None:  # descending by the values, ascending by the position among equals
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    return np.take(order, np.arange(k), axis)


def arg_pool(op: ArgPoolOp, x: np.ndarray) -> np.ndarray:
    """The position in all of x of the largest element of each window, the first one of equals."""
    strides, pads, dilations = op.strides.get_values(), op.pads.get_values(), op.dilations.get_values()
    spatial, result = x.ndim - 2, shape_of(op.result)
    positions = np.arange(x.size).reshape(x.shape)
    best, where = np.zeros(result, x.dtype), np.full(result, -1, np.int64)
    for tap in np.ndindex(*op.kernel.get_values()):
        at = [np.arange(result[2 + i]) * strides[i] + tap[i] * dilations[i] - pads[i] for i in range(spatial)]
        inside = np.ones([1] * spatial, bool)
        for i, place in enumerate(at):
            line = [-1 if j == i else 1 for j in range(spatial)]
            inside = inside & ((place >= 0) & (place < x.shape[2 + i])).reshape(line)
        clipped = np.ix_(*(np.clip(place, 0, x.shape[2 + i] - 1) for i, place in enumerate(at)))
        value, position = x[:, :, *clipped], positions[:, :, *clipped]
        better = inside & ((where < 0) | (value > best))
        best, where = np.where(better, value, best), np.where(better, position, where)
    return where


def scan(op: ScanOp, x: np.ndarray) -> np.ndarray:
    """Prefix sums or products along an axis."""
    axis, add = op.axis.value.data, op.kind.data == ReduceKind.SUM
    x = np.flip(x, axis) if op.reverse else x
    y = (np.cumsum if add else np.cumprod)(x, axis, dtype=x.dtype)
    if op.exclusive:
        start = np.full_like(np.take(y, [0], axis), 0 if add else 1)
        y = np.concatenate([start, np.take(y, np.arange(x.shape[axis] - 1), axis)], axis)
    return np.flip(y, axis) if op.reverse else y
