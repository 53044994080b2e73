"""Operators that take boxes out of a tensor or put margins around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, Value, converter, normalise_axes
from convc.ir.attributes import PadMode, shape_of
from convc.ir.data import PadOp, SliceOp
from convc.ir.dtypes import is_float
from convc.ir.functions import Fn

# As onnxruntime has it, in both directions; by the letter of the standard, backwards they would leave nothing.
_TO_THE_END = (2**31 - 1, 2**63 - 1)


@converter("Slice")
def convert_slice(node: Node) -> Value:
    """Bounds are attributes before opset 10, inputs after; they are clamped to the axis."""
    shape = node.shape(0)
    if node.opset < 10:
        begins, ends, axes, steps = node.attribute("starts"), node.attribute("ends"), node.attribute("axes"), None
    else:
        begins, ends = node.ints(1, "starts"), node.ints(2, "ends")
        axes = node.ints(3, "axes") if node.has(3) else None
        steps = node.ints(4, "steps") if node.has(4) else None
    axes = normalise_axes(list(range(len(begins))) if axes is None else axes, len(shape))
    steps = [1] * len(axes) if steps is None else steps
    if not len(begins) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(f"expected as many starts, ends and steps as axes, got {begins}, {ends}, {steps}, {axes}")
    kept = [range(size) for size in shape]
    for begin, end, axis, step in zip(begins, ends, axes, steps):
        kept[axis] = _positions(shape[axis], begin, end, step)
    if (known := node.known(0)) is not None:
        return known[tuple(slice(p.start, p.stop if p.stop >= 0 else None, p.step) if p else slice(0) for p in kept)]
    if all(positions == range(size) for positions, size in zip(kept, shape)):
        return node.value(0)
    starts = [positions.start if positions else 0 for positions in kept]
    strides = [positions.step if positions else 1 for positions in kept]
    return node.emit(SliceOp(node.value(0), starts, [len(positions) for positions in kept], strides))


def _positions(size: int, begin: int, end: int, step: int) -> range:
    """`begin:end:step` on an axis: negative bounds count from the end, and then all are clamped to the axis
    (backwards, to [0, size - 1] and [-1, size - 1])."""
    if step < 0 and end in _TO_THE_END:
        end = -size - 1
    begin += size if begin < 0 else 0
    end += size if end < 0 else 0
    low, high = (0, size) if step > 0 else (-1, size - 1)
    return range(min(max(begin, max(low, 0)), high), min(max(end, low), high), step)


@converter("Split")
def convert_split(node: Node) -> list[SSAValue]:
    """One slice an output: sizes from an attribute, an input, or equal shares (since opset 18 the last is the rest)."""
    shape, count = node.shape(0), len(node.wanted)
    axis = node.axis(0, len(shape))
    if node.has(1):
        sizes = node.ints(1, "split")
    elif (given := node.attribute("split")) is not None:
        sizes = given
    else:
        parts = node.attribute("num_outputs", count)
        if parts != count or (shape[axis] % count and node.opset < 18):
            raise ValueError(f"expected {parts} equal parts in as many outputs, got {shape[axis]} for {count}")
        share = -(-shape[axis] // count)
        sizes = [max(min(share, shape[axis] - share * i), 0) for i in range(count)]
    if sum(sizes) != shape[axis] or len(sizes) != count or min(sizes) < 0:
        raise ValueError(f"expected {count} sizes that add up to {shape[axis]}, got {sizes}")
    x, starts = node.value(0), [sum(sizes[:i]) for i in range(count)]
    return [taken(node, x, axis, start, size) for start, size in zip(starts, sizes)]


def taken(node: Node, x: SSAValue, axis: int, start: int, size: int, step: int = 1) -> SSAValue:
    """`size` elements of one axis, from `start` on, `step` apart."""
    shape = list(shape_of(x))
    if (start, size, step) == (0, shape[axis], 1):
        return x
    starts = [start if i == axis else 0 for i in range(len(shape))]
    steps = [step if i == axis else 1 for i in range(len(shape))]
    return node.emit(SliceOp(x, starts, [*shape[:axis], size, *shape[axis + 1 :]], steps))


@converter("Pad")
def convert_pad(node: Node) -> SSAValue:
    """Pads are begins, then ends: an attribute before opset 11, an input after, of some axes only from opset 18 on."""
    shape, rank = node.shape(0), len(node.shape(0))
    pads = node.attribute("pads") if node.opset < 11 else node.ints(1, "pads")
    axes = normalise_axes(node.ints(3, "axes"), rank) if node.has(3) else list(range(rank))
    mode = node.attribute("mode", "constant")
    if mode not in set(PadMode) or len(pads) != 2 * len(axes):
        raise ValueError(f"expected a mode of {', '.join(PadMode)} and {2 * len(axes)} pads, got {mode} and {pads}")
    full = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        full[axis], full[rank + axis] = pads[position], pads[len(axes) + position]
    if mode == PadMode.REFLECT and any(pad >= size for size, pad in zip(shape * 2, full) if pad > 0):
        raise ValueError(f"expected reflected pads smaller than the axis, got {full} for {shape}")
    if not any(full):
        return node.value(0)
    if mode == PadMode.CONSTANT and node.opset >= 11 and node.has(2) and node.known(2) is None:
        return _padded_with(node, full, node.value(2))
    return node.emit(PadOp(node.value(0), full, mode=PadMode(mode), value=_pad_value(node)))


def _padded_with(node: Node, pads: Sequence[int], value: SSAValue) -> SSAValue:
    """x between elements of a computed value: what is padding is known."""
    x = node.emit(PadOp(node.value(0), pads))
    inside = np.zeros(shape_of(x), bool)
    rank = inside.ndim
    inside[tuple(slice(max(pads[i], 0), size - max(pads[rank + i], 0)) for i, size in enumerate(inside.shape))] = True
    return node.apply(Fn.WHERE, node.weight(inside, "inside"), x, node.reshape(value, []))


def _pad_value(node: Node) -> float:
    if node.opset < 11:
        return float(node.attribute("value", 0.0))
    value = node.known(2)
    if value is None or not value.size:
        return 0.0
    number = value.reshape(-1)[0]
    if not is_float(node.element()) and abs(int(number)) > 2**53:
        raise ValueError(f"expected a constant_value of at most 2**53, got {number}")
    return float(number)
