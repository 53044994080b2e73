"""Scatters and the inverse of max-pools. At constant indices a plain scatter is a gather from data and updates."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from convc.frontends.onnx.convolution import window_pads, window_steps
from convc.frontends.onnx.gathering import (
    computed_positions,
    computed_rows,
    element_positions,
    from_the_front,
    row_positions,
    take,
    wrapped,
)
from convc.frontends.onnx.registry import Node, Value, converter, static_shape
from convc.ir.attributes import element_type, shape_of
from convc.ir.data import BroadcastOp, ConcatOp
from convc.ir.dtypes import to_numpy
from convc.ir.functions import Fn
from convc.ir.sampling import ScatterOp

_MAX_PLACES = 1 << 26
_COMBINED: Mapping[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


@converter("ScatterND")
def convert_scatter_nd(node: Node) -> Value:
    shape, depth = node.shape(0), node.shape(1)[-1]
    if depth > len(shape):
        raise ValueError(f"expected index tuples of at most {len(shape)} positions, got {depth}")
    sizes = shape[:depth]
    if (indices := node.known(1)) is not None:
        rows: Value = row_positions(sizes, indices).reshape(-1)
    else:
        start = node.weight(np.zeros(node.shape(1)[:-1], np.int64), "start")
        rows = computed_rows(node, sizes, node.cast(node.value(1), i64), start)
    return _scattered(node, [prod(sizes), *shape[depth:]], rows)


@converter("ScatterElements", "Scatter")
def convert_scatter_elements(node: Node) -> Value:
    shape = node.shape(0)
    axis = node.axis(0, len(shape))
    if (indices := node.known(1)) is not None:
        return _scattered(node, [prod(shape)], element_positions(shape, indices, axis))
    return _scattered(node, [prod(shape)], computed_positions(node, shape, node.value(1), axis))


@converter("TensorScatter")
def convert_tensor_scatter(node: Node) -> Value:
    """A run of rows along an axis of each sequence, from a place of its batch on; a circular one goes on in front."""
    shape, new, mode = node.shape(0), node.shape(1), node.attribute("mode", "linear")
    axis = node.axis(-2, len(shape))
    size, length = shape[axis], new[axis] if len(new) == len(shape) else -1
    if axis == 0 or not 0 <= length <= size or (*new[:axis], size, *new[axis + 1 :]) != shape:
        raise ValueError(
            f"expected an update of {shape} with at most {size} on an axis after 0, got {new}, axis {axis}"
        )
    if mode not in ("linear", "circular"):
        raise ValueError(f"expected mode to be linear or circular, got {mode}")
    begins = (np.arange(prod(shape[:axis])) * size).reshape(shape[0], prod(shape[1:axis]), 1)
    steps = np.arange(length)
    starts = node.given(2) if node.has(2) else np.zeros(shape[0], np.int64)
    if static_shape(starts) != shape[:1]:
        raise ValueError(f"expected {shape[0]} write_indices, got shape {static_shape(starts)}")
    if isinstance(starts, np.ndarray):
        places = starts.reshape(-1, 1, 1) + steps
        places = places % size if mode == "circular" else wrapped(places, size).reshape(places.shape)
        rows: Value = (begins + places).reshape(-1)
    else:
        first = node.cast(node.reshape(starts, [shape[0], 1, 1]), i64)
        place = node.apply(Fn.ADD, first, node.weight(steps, "steps"))
        circular = mode == "circular"
        place = node.apply(Fn.MOD, place, node.scalar(size, place)) if circular else from_the_front(node, place, size)
        rows = node.apply(Fn.ADD, place, node.weight(begins, "begins"))
    return _scattered(node, [prod(shape[: axis + 1]), *shape[axis + 1 :]], rows, updates=1)


def _scattered(node: Node, rows_shape: list[int], rows: Value, updates: int = 2) -> Value:
    """The rows of the data, some replaced by those of the updates (an input) or combined with them, one after the
    other."""
    mode = node.attribute("reduction", "none")
    if mode != "none" and mode not in _COMBINED:
        raise ValueError(f"expected a reduction of none, {', '.join(_COMBINED)}, got {mode}")
    if rows_shape[0] > _MAX_PLACES:
        raise ValueError(f"expected at most {_MAX_PLACES} places to scatter to, got {rows_shape[0]}")
    updates_shape = [prod(rows.shape if isinstance(rows, np.ndarray) else shape_of(rows)), *rows_shape[1:]]
    if prod(node.shape(updates)) != prod(updates_shape):
        raise ValueError(f"expected {prod(updates_shape)} elements of updates, got shape {node.shape(updates)}")
    if not prod(node.shape(updates)):
        return node.given(0)
    known, new = node.known(0), node.known(updates)
    if isinstance(rows, np.ndarray):
        if known is not None and new is not None:
            result = known.reshape(rows_shape).copy()
            if mode == "none":
                result[rows] = new.reshape(updates_shape)
            else:
                _COMBINED[mode].at(result, rows, new.reshape(updates_shape))
            return result.reshape(known.shape)
        if mode == "none":
            return _gathered(node, rows_shape, rows, updates)
        rows = node.weight(rows, "rows")
    width = prod(rows_shape[1:])
    y = node.emit(
        ScatterOp(
            node.reshape(node.value(0), [rows_shape[0], width]),
            node.reshape(rows, updates_shape[:1]),
            node.reshape(node.value(updates), [updates_shape[0], width]),
            mode="replace" if mode == "none" else mode,
        )
    )
    return node.reshape(y, node.shape(0))


def _gathered(node: Node, rows_shape: list[int], rows: np.ndarray, updates: int) -> SSAValue:
    """Each row taken from the data, or from the last update of it."""
    data = node.reshape(node.value(0), rows_shape)
    new = node.reshape(node.value(updates), [rows.size, *rows_shape[1:]])
    source = np.arange(rows_shape[0])
    source[rows] = rows_shape[0] + np.arange(rows.size)  # of equal indices the last one counts
    both = node.emit(ConcatOp([data, new], 0))
    return node.reshape(take(node, both, source, 0), node.shape(0))


@converter("MaxUnpool")
def convert_max_unpool(node: Node) -> SSAValue:
    """Elements back to the places that a MaxPool found them at, zeros elsewhere. Places count in the result, whose
    size is the `output_shape` or follows from strides, kernel and pads: that is onnxruntime's reading, and what undoes
    a pool that left a rest."""
    shape, kernel = node.shape(0), node.attribute("kernel_shape")
    spatial = len(shape) - 2
    if spatial < 1 or len(kernel) != spatial or node.shape(1) != shape:
        raise ValueError(f"expected a kernel_shape of {max(spatial, 1)} axes and indices {shape}, got {kernel}")
    strides, dilations = window_steps(node, kernel)
    pads = window_pads(node, shape[2:], kernel, strides, dilations)
    least = [
        *shape[:2],
        *(
            (size - 1) * stride + k - before - after
            for size, stride, k, before, after in zip(shape[2:], strides, kernel, pads[:spatial], pads[spatial:])
        ),
    ]
    result = node.ints(2, "output_shape") if node.has(2) else least
    if len(result) != len(shape) or result[:2] != least[:2]:
        raise ValueError(f"expected an output_shape that begins with {least[:2]}, got {result}")
    x, count = node.value(0), prod(shape)
    zeros = node.emit(BroadcastOp(node.weight(np.zeros((1, 1), to_numpy(element_type(x))), "zero"), [prod(result), 1]))
    y = node.emit(ScatterOp(zeros, node.reshape(node.value(1), [count]), node.reshape(x, [count, 1])))
    return node.reshape(y, result)
