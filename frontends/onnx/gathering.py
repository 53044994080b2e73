"""Gathers and selections. Constant indices become slices and joins where they are few runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from convc.frontends.onnx.movement import tiled
from convc.frontends.onnx.registry import Node, Value, converter
from convc.frontends.onnx.slicing import taken
from convc.ir.attributes import shape_of
from convc.ir.data import BroadcastOp, ConcatOp
from convc.ir.dtypes import to_numpy
from convc.ir.functions import Fn
from convc.ir.ordering import TopKOp
from convc.ir.sampling import GatherOp

_MAX_SLICES = 16  # to join: each is a loop nest of its own in the machine code
_MAX_PLACES = 1 << 26


@converter("Gather")
def convert_gather(node: Node) -> SSAValue:
    shape, indices = node.shape(0), node.known(1)
    axis = node.axis(0, len(shape))
    if indices is None:
        return node.emit(GatherOp(node.value(0), node.value(1), axis))
    x = take(node, node.value(0), wrapped(indices, shape[axis]), axis)
    return node.reshape(x, [*shape[:axis], *indices.shape, *shape[axis + 1 :]])


@converter("Compress")
def convert_compress(node: Node) -> Value:
    """The slices along an axis (or the elements, without one) where a constant condition holds."""
    shape, chosen = node.shape(0), np.flatnonzero(node.constant(1, "condition"))
    if node.attribute("axis") is None:
        return _taken_rows(node, [prod(shape)], wrapped(chosen, prod(shape)), [chosen.size])
    axis = node.axis(0, len(shape))
    if (known := node.known(0)) is not None:
        return known.take(wrapped(chosen, shape[axis]), axis)
    return take(node, node.value(0), wrapped(chosen, shape[axis]), axis)


@converter("GatherElements")
def convert_gather_elements(node: Node) -> Value:
    shape, axis = node.shape(0), node.axis(0, len(node.shape(0)))
    if (indices := node.known(1)) is None:
        return gathered_elements(node, node.value(0), node.value(1), axis)
    return _taken_rows(node, [prod(shape)], element_positions(shape, indices, axis), indices.shape)


def gathered_elements(node: Node, x: SSAValue, indices: SSAValue, axis: int) -> SSAValue:
    """x at an index along one axis for every element of the result: a gather from x as a vector."""
    shape = shape_of(x)
    return node.emit(GatherOp(node.reshape(x, [prod(shape)]), computed_positions(node, shape, indices, axis), 0))


def computed_positions(node: Node, shape: Sequence[int], indices: SSAValue, axis: int) -> SSAValue:
    """`element_positions` of computed indices, in their shape."""
    wanted = shape_of(indices)
    _check_elements(shape, wanted, axis)
    flat: SSAValue | None = None
    for i, size in enumerate(wanted):
        if i == axis:
            place = from_the_front(node, indices, shape[axis])
        else:
            place = node.weight(np.arange(size).reshape([-1 if i == j else 1 for j in range(len(wanted))]), f"axis{i}")
        stride = prod(shape[i + 1 :])
        place = node.apply(Fn.MUL, place, node.scalar(stride, place)) if stride != 1 else place
        flat = place if flat is None else node.apply(Fn.ADD, flat, place)
    assert flat is not None
    return flat


def from_the_front(node: Node, indices: SSAValue, size: int) -> SSAValue:
    """Computed indices along an axis of so many elements, as i64, counted from the front and inside of it: as part of a
    sum, what is outside would point elsewhere."""
    indices = node.cast(indices, i64)
    negative = node.apply(Fn.LESS, indices, node.scalar(0, indices))
    counted = node.apply(Fn.ADD, indices, node.scalar(size, indices))
    indices = node.apply(Fn.WHERE, negative, counted, indices)
    return node.apply(Fn.CLIP, indices, min=0.0, max=float(size - 1))


@converter("GatherND")
def convert_gather_nd(node: Node) -> Value:
    """Index tuples along the last axis become positions among the rows that they choose from."""
    shape, tuples, batch = node.shape(0), node.shape(1), node.attribute("batch_dims", 0)
    if not 0 <= batch < min(len(shape), len(tuples)) or shape[:batch] != tuples[:batch]:
        raise ValueError(f"expected batch_dims that {shape} and {tuples} share, got {batch}")
    depth = tuples[-1]
    if depth > len(shape) - batch:
        raise ValueError(f"expected index tuples of at most {len(shape) - batch} positions, got {depth}")
    sizes, rest = shape[batch : batch + depth], shape[batch + depth :]
    groups = np.arange(prod(shape[:batch])).reshape(shape[:batch] + (1,) * (len(tuples) - 1 - batch)) * prod(sizes)
    rows_shape = [prod(shape[: batch + depth]), *rest]
    if (indices := node.known(1)) is not None:
        rows = np.broadcast_to(groups + row_positions(sizes, indices), tuples[:-1])
        return _taken_rows(node, rows_shape, rows, [*tuples[:-1], *rest])
    flat = computed_rows(node, sizes, node.value(1), node.weight(groups, "groups"))
    return node.emit(GatherOp(node.reshape(node.value(0), rows_shape), flat, 0))


def computed_rows(node: Node, sizes: Sequence[int], indices: SSAValue, base: SSAValue) -> SSAValue:
    """`row_positions` of computed index tuples, counted from a base."""
    tuples = shape_of(indices)
    for i, size in enumerate(sizes):
        column = node.reshape(taken(node, indices, len(tuples) - 1, i, 1), tuples[:-1])
        column = from_the_front(node, column, size)
        stride = prod(sizes[i + 1 :])
        base = node.apply(Fn.ADD, base, node.apply(Fn.MUL, column, node.scalar(stride, column)))
    return base


@converter("ReverseSequence")
def convert_reverse_sequence(node: Node) -> Value:
    """The first `lengths[n]` steps of sequence n in reverse, the others as they are."""
    shape, batch, time = node.shape(0), node.attribute("batch_axis", 1), node.attribute("time_axis", 0)
    if {batch, time} != {0, 1} or node.shape(1) != (shape[batch],):
        raise ValueError(
            f"expected axes 0 and 1 and a length for each sequence of {shape}, got batch_axis {batch}, "
            f"time_axis {time} and lengths of shape {node.shape(1)}"
        )
    steps, rows = shape[time], [shape[0] * shape[1], *shape[2:]]
    t = np.arange(steps).reshape([-1, 1] if time == 0 else [1, -1])
    n = np.arange(shape[batch]).reshape([-1, 1] if batch == 0 else [1, -1])
    if (known := node.known(1)) is not None:
        if known.size and not 0 <= known.min() <= known.max() <= steps:
            raise ValueError(f"expected lengths in [0, {steps}], got {known.tolist()}")
        if (known == steps).all() and node.known(0) is None:
            return taken(node, node.value(0), time, steps - 1, steps, -1)
        turned = np.where(t < known.reshape(n.shape), known.reshape(n.shape) - 1 - t, t)
        places = turned * shape[1] + n if time == 0 else n * shape[1] + turned
        return _taken_rows(node, rows, places, shape)
    every, last = node.weight(t, "steps"), node.reshape(node.cast(node.value(1), i64), n.shape)
    inside = node.apply(Fn.LESS, every, last)
    turned_at = node.apply(Fn.SUB, node.apply(Fn.SUB, last, node.scalar(1, last)), every)
    at = from_the_front(node, node.apply(Fn.WHERE, inside, turned_at, every), steps)
    stride, base = (shape[1], n) if time == 0 else (1, n * shape[1])
    flat = node.apply(Fn.ADD, node.apply(Fn.MUL, at, node.scalar(stride, at)), node.weight(base, "sequences"))
    x = node.reshape(node.value(0), rows)
    return node.reshape(node.emit(GatherOp(x, node.reshape(flat, [rows[0]]), 0)), shape)


def _taken_rows(node: Node, rows_shape: Sequence[int], rows: np.ndarray, shape: Sequence[int]) -> Value:
    """The data seen as rows, some of them taken, under the shape of the result."""
    if (known := node.known(0)) is not None:
        return known.reshape(rows_shape).take(rows.reshape(-1), 0).reshape(shape)
    return node.reshape(take(node, node.reshape(node.value(0), rows_shape), rows, 0), shape)


def wrapped(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices in [0, size), negative ones counted from the end."""
    flat = indices.astype(np.int64).reshape(-1)
    if flat.size and not (-size <= flat.min() and flat.max() < size):
        raise ValueError(f"expected indices in [-{size}, {size}), got {flat.min()} to {flat.max()}")
    return np.where(flat < 0, flat + size, flat)


def row_positions(sizes: Sequence[int], indices: np.ndarray) -> np.ndarray:
    """Index tuples along the last axis as positions in a row-major array of these sizes."""
    if indices.shape[-1] != len(sizes):
        raise ValueError(f"expected index tuples of at most {len(sizes)} positions, got {indices.shape[-1]}")
    columns = [wrapped(indices[..., i], size) for i, size in enumerate(sizes)]
    return np.ravel_multi_index(tuple(columns), tuple(sizes)).reshape(indices.shape[:-1])


def element_positions(shape: Sequence[int], indices: np.ndarray, axis: int) -> np.ndarray:
    """The flat positions that an index for every element of the result points to along an axis."""
    _check_elements(shape, indices.shape, axis)
    grid: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    grid[axis] = wrapped(indices, shape[axis]).reshape(indices.shape)
    return np.ravel_multi_index(tuple(np.broadcast_arrays(*grid)), tuple(shape)).reshape(-1)


def _check_elements(shape: Sequence[int], indices: Sequence[int], axis: int) -> None:
    if len(indices) != len(shape) or any(n > m for i, (n, m) in enumerate(zip(indices, shape)) if i != axis):
        raise ValueError(f"expected indices within {tuple(shape)} off axis {axis}, got shape {tuple(indices)}")


def take(node: Node, x: SSAValue, indices: np.ndarray, axis: int) -> SSAValue:
    """x at constant indices along one axis.

    Repeats become broadcasts, evenly spaced indices one slice, several such runs the join of their slices. What is
    too scattered for that is a gather.
    """
    flat = indices.reshape(-1)
    if not flat.size:
        return taken(node, x, axis, 0, 0)
    if (each := _repeats(flat)) > 1:
        x = take(node, x, flat[::each], axis)
        shape = list(shape_of(x))
        x = node.reshape(x, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
        x = node.emit(BroadcastOp(x, [*shape[: axis + 1], each, *shape[axis + 1 :]]))
        return node.reshape(x, [*shape[:axis], shape[axis] * each, *shape[axis + 1 :]])
    runs = _runs(flat)
    if len(runs) > 1 and (period := _period(flat)) < flat.size:
        x = take(node, x, flat[:period], axis)
        return tiled(node, x, [flat.size // period if i == axis else 1 for i in range(len(shape_of(x)))])
    if len(runs) <= _MAX_SLICES:
        parts = [taken(node, x, axis, run.start, len(run), run.step) for run in runs]
        return parts[0] if len(parts) == 1 else node.emit(ConcatOp(parts, axis))
    return node.emit(GatherOp(x, node.weight(flat, "indices"), axis))


def _repeats(flat: np.ndarray) -> int:
    """How many times each index is repeated in a row, if all are equally often: 3 in 0 0 0 5 5 5."""
    changes = np.flatnonzero(np.diff(flat)) + 1
    return int(np.gcd.reduce([*changes, flat.size])) if flat.size else 1


def _period(flat: np.ndarray) -> int:
    """The length of the part that the indices repeat as a whole: 2 in 0 5 0 5 0 5."""
    starts = np.flatnonzero(flat == flat[0])
    return next((int(s) for s in starts[1:] if flat.size % s == 0 and (flat[s:] == flat[:-s]).all()), flat.size)


def _runs(flat: np.ndarray) -> list[range]:
    """The indices as ranges, each as long as it can be; no more than one beyond what is of use."""
    runs: list[range] = []
    start, steps = 0, np.diff(flat)
    bends = np.append(np.flatnonzero(np.diff(steps)) + 1, steps.size)  # where the step is not the one before
    while start < flat.size and len(runs) <= _MAX_SLICES:
        first, step = int(flat[start]), int(steps[start]) if start < steps.size else 0
        end = int(bends[np.searchsorted(bends, start, "right")]) + 1 if step else start + 1
        runs.append(range(first, first + (end - start) * (step or 1), step or 1))
        start = end
    return runs


@converter("TopK")
def convert_top_k(node: Node) -> list[SSAValue]:
    """(values, positions). k is an attribute before opset 10, an input after; the results are sorted in any case."""
    x, shape = node.value(0), node.shape(0)
    axis = node.axis(-1, len(shape))
    k = node.attribute("k") if node.opset < 10 else node.ints(1, "k")[0]
    positions = node.emit(TopKOp(x, axis, k, smallest=not node.attribute("largest", 1)))
    return [gathered_elements(node, x, positions, axis) if node.wanted[0] else positions, positions]


@converter("OneHot")
def convert_one_hot(node: Node) -> SSAValue:
    """values[1] where the position along a new axis equals the index, values[0] elsewhere."""
    shape, depth = node.shape(0), int(node.constant(1, "depth").reshape(()))
    axis = node.axis(-1, len(shape) + 1)
    if not 0 < depth <= _MAX_PLACES:
        raise ValueError(f"expected a depth in [1, {_MAX_PLACES}], got {depth}")
    indices = node.value(0)
    counted = node.apply(Fn.ADD, indices, node.scalar(depth, indices))
    negative = node.apply(Fn.LESS, indices, node.scalar(0, indices))
    indices = node.reshape(node.apply(Fn.WHERE, negative, counted, indices), [*shape[:axis], 1, *shape[axis:]])
    every = np.arange(depth).astype(to_numpy(node.element(0)))
    every = every.reshape([-1 if i == axis else 1 for i in range(len(shape) + 1)])
    hot = node.apply(Fn.EQUAL, indices, node.weight(every, "positions"))
    off, on = (node.reshape(taken(node, node.value(2), 0, i, 1), []) for i in (0, 1))
    return node.apply(Fn.WHERE, hot, on, off)
