"""Operators that move data: reshapes, transposes, slices, joins, pads, gathers."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, Value, converter, normalise_axis
from convc.ir.attributes import PadMode, shape_of
from convc.ir.data import BroadcastOp, ConcatOp, PadOp, ReshapeOp, SliceOp, TransposeOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.shapes import broadcast


def reshaped(node: Node, x: SSAValue, shape: list[int]) -> SSAValue:
    """x under another shape, with no operation where it has that shape already."""
    return x if shape_of(x) == tuple(shape) else node.emit(ReshapeOp(x, shape))


@converter("Reshape")
def convert_reshape(node: Node) -> SSAValue:
    before, shape = node.shape(0), node.ints(1, "shape")
    if not node.attribute("allowzero", 0):
        if any(size == 0 and axis >= len(before) for axis, size in enumerate(shape)):
            raise ValueError(f"shape {shape} copies an axis that {before} does not have")
        shape = [before[axis] if size == 0 else size for axis, size in enumerate(shape)]
    if shape.count(-1) > 1 or min(shape, default=1) < -1:
        raise ValueError(f"expected one -1 at most and no other negative size, got {shape}")
    if -1 in shape:
        rest = prod(size for size in shape if size != -1)
        if rest == 0 or prod(before) % rest:
            raise ValueError(f"{before} does not reshape to {shape}")
        shape[shape.index(-1)] = prod(before) // rest
    return reshaped(node, node.value(0), shape)


@converter("Flatten")
def convert_flatten(node: Node) -> SSAValue:
    shape = node.shape(0)
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return reshaped(node, node.value(0), [prod(shape[:axis]), prod(shape[axis:])])


@converter("Squeeze", "Unsqueeze")
def convert_squeeze(node: Node) -> SSAValue:
    """Axes are an attribute before opset 13, an input after."""
    shape = list(node.shape(0))
    axes = node.ints(1, "axes") if node.has(1) else node.attribute("axes")
    if node.op_type == "Unsqueeze":
        if axes is None:
            raise ValueError("expected axes, got none")
        rank = len(shape) + len(axes)
        for axis in sorted(normalise_axis(axis, rank) for axis in axes):
            shape.insert(axis, 1)
        return reshaped(node, node.value(0), shape)
    if axes is None:
        drop = [axis for axis, size in enumerate(shape) if size == 1]
    else:
        drop = [normalise_axis(axis, len(shape)) for axis in axes]
    if any(shape[axis] != 1 for axis in drop):
        raise ValueError(f"expected axes of size 1 to squeeze, got axes {drop} of {shape}")
    return reshaped(node, node.value(0), [size for axis, size in enumerate(shape) if axis not in drop])


@converter("Transpose")
def convert_transpose(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    perm = node.attribute("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"expected a permutation of {rank} axes, got {perm}")
    return node.value(0) if perm == list(range(rank)) else node.emit(TransposeOp(node.value(0), perm))


@converter("Expand")
def convert_expand(node: Node) -> SSAValue:
    before, wanted = node.shape(0), node.ints(1, "shape")
    shape = broadcast(before, wanted)
    return node.value(0) if shape == before else node.emit(BroadcastOp(node.value(0), shape))


@converter("Tile")
def convert_tile(node: Node) -> SSAValue:
    """Each axis is repeated by way of a broadcast axis in front of it."""
    shape, repeats = node.shape(0), node.ints(1, "repeats")
    if len(repeats) != len(shape):
        raise ValueError(f"expected {len(shape)} repeats, got {repeats}")
    split = [size for axis in shape for size in (1, axis)]
    wide = [size for repeat, axis in zip(repeats, shape) for size in (repeat, axis)]
    x = node.emit(BroadcastOp(node.emit(ReshapeOp(node.value(0), split)), wide))
    return node.emit(ReshapeOp(x, [repeat * size for repeat, size in zip(repeats, shape)]))


@converter("Concat")
def convert_concat(node: Node) -> SSAValue:
    axis = node.axis(0, len(node.shape(0)))
    values = [value for value in node.values() if shape_of(value)[axis] > 0] or node.values()[:1]
    return values[0] if len(values) == 1 else node.emit(ConcatOp(values, axis))


@converter("Split")
def convert_split(node: Node) -> list[SSAValue]:
    """One slice an output. Sizes are an attribute, an input, or equal shares (the last may be smaller)."""
    shape = node.shape(0)
    axis = node.axis(0, len(shape))
    count = len(node.outputs)
    if node.has(1):
        sizes = node.ints(1, "split")
    elif (given := node.attribute("split")) is not None:
        sizes = [int(size) for size in given]
    else:
        share = -(-shape[axis] // node.attribute("num_outputs", count))
        sizes = [min(share, shape[axis] - share * i) for i in range(count)]
    if sum(sizes) != shape[axis] or len(sizes) != count:
        raise ValueError(f"expected {count} sizes that add up to {shape[axis]}, got {sizes}")
    results, start = [], 0
    for size in sizes:
        starts = [start if i == axis else 0 for i in range(len(shape))]
        results.append(node.emit(SliceOp(node.value(0), starts, [*shape[:axis], size, *shape[axis + 1 :]])))
        start += size
    return results


@converter("Slice")
def convert_slice(node: Node) -> SSAValue:
    """Bounds are attributes before opset 10, inputs after; they are clamped as Python clamps slices."""
    shape = node.shape(0)
    if node.opset < 10:
        begins, ends, axes, steps = node.attribute("starts"), node.attribute("ends"), node.attribute("axes"), None
    else:
        begins, ends = node.ints(1, "starts"), node.ints(2, "ends")
        axes = node.ints(3, "axes") if node.has(3) else None
        steps = node.ints(4, "steps") if node.has(4) else None
    axes = list(range(len(begins))) if axes is None else [normalise_axis(axis, len(shape)) for axis in axes]
    steps = steps or [1] * len(axes)
    if not len(begins) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(f"expected as many starts, ends and steps as axes, got {begins}, {ends}, {steps}, {axes}")
    starts, sizes, strides = [0] * len(shape), list(shape), [1] * len(shape)
    for begin, end, axis, step in zip(begins, ends, axes, steps):
        taken = range(shape[axis])[slice(begin, end if end >= -shape[axis] or step > 0 else None, step)]
        starts[axis], sizes[axis], strides[axis] = taken.start if taken else 0, len(taken), step if taken else 1
    if tuple(sizes) == shape and strides == [1] * len(shape):
        return node.value(0)
    return node.emit(SliceOp(node.value(0), starts, sizes, strides))


@converter("Pad")
def convert_pad(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    if node.opset < 11:
        pads, value = node.attribute("pads", node.attribute("paddings")), float(node.attribute("value", 0.0))
    else:
        pads = node.ints(1, "pads")
        value = float(node.constant(2, "constant_value").reshape(-1)[0]) if node.has(2) else 0.0
    if node.has(3):
        axes = [normalise_axis(axis, rank) for axis in node.ints(3, "axes")]
        full = [0] * (2 * rank)
        for position, axis in enumerate(axes):
            full[axis], full[rank + axis] = pads[position], pads[len(axes) + position]
        pads = full
    mode = node.attribute("mode", "constant")
    if mode not in set(PadMode) or len(pads) != 2 * rank:
        raise ValueError(f"expected a mode of {', '.join(PadMode)} and {2 * rank} pads, got {mode} and {pads}")
    if mode == PadMode.REFLECT and any(
        pad >= size for size, pad in zip(node.shape(0) * 2, pads) if pad > 0 and size > 1
    ):
        raise ValueError(f"reflecting pads must be smaller than the axis: {pads} of {node.shape(0)}")
    if not any(pads):
        return node.value(0)
    return node.emit(PadOp(node.value(0), pads, mode=PadMode(mode), value=value))


@converter("Gather")
def convert_gather(node: Node) -> SSAValue:
    """Constant indices: one slice where they are evenly spaced, else the join of single slices."""
    shape = node.shape(0)
    axis = node.axis(0, len(shape))
    indices = node.constant(1, "indices").astype(np.int64)
    flat = [int(i) + shape[axis] if i < 0 else int(i) for i in indices.reshape(-1)]
    if any(not 0 <= i < shape[axis] for i in flat) or not flat:
        raise ValueError(f"indices {flat} leave axis {axis} of {shape[axis]}")

    def take(start: int, size: int, step: int) -> SSAValue:
        starts = [start if i == axis else 0 for i in range(len(shape))]
        steps = [step if i == axis else 1 for i in range(len(shape))]
        return node.emit(SliceOp(node.value(0), starts, [*shape[:axis], size, *shape[axis + 1 :]], steps))

    gaps = {after - before for before, after in zip(flat, flat[1:])} or {1}
    if len(gaps) == 1 and gaps != {0}:
        x = take(flat[0], len(flat), gaps.pop())
    elif len(flat) <= 64:
        x = node.emit(ConcatOp([take(i, 1, 1) for i in flat], axis))
    else:
        raise ValueError(f"gathers {len(flat)} scattered indices, at most 64 are supported")
    return reshaped(node, x, [*shape[:axis], *indices.shape, *shape[axis + 1 :]])


@converter("DepthToSpace", "SpaceToDepth")
def convert_depth_space(node: Node) -> SSAValue:
    n, c, h, w = node.shape(0)
    b = node.attribute("blocksize")
    if node.op_type == "SpaceToDepth":
        if h % b or w % b:
            raise ValueError(f"{h}x{w} does not divide into blocks of {b}")
        split, perm, shape = [n, c, h // b, b, w // b, b], [0, 3, 5, 1, 2, 4], [n, c * b * b, h // b, w // b]
    else:
        if c % (b * b):
            raise ValueError(f"{c} channels do not divide into blocks of {b}x{b}")
        depth = c // (b * b)
        if node.attribute("mode", "DCR") == "DCR":
            split, perm = [n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]
        else:
            split, perm = [n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]
        shape = [n, depth, h * b, w * b]
    return node.emit(ReshapeOp(node.emit(TransposeOp(node.emit(ReshapeOp(node.value(0), split)), perm)), shape))


@converter("Constant", "ConstantOfShape", "Shape", "Size", "Range")
def convert_known(node: Node) -> Value:
    """Always evaluated at import when their inputs are known, so reaching here means they are not."""
    raise ValueError("expected constant inputs: its result's shape depends on values computed at run time")


@converter("EyeLike")
def convert_eye_like(node: Node) -> Value:
    dtype = node.attribute("dtype")
    import onnx

    element = onnx.helper.tensor_dtype_to_np_dtype(dtype) if dtype else node.dtype(0)
    return np.eye(*node.shape(0), k=node.attribute("k", 0), dtype=element)


@converter("Trilu")
def convert_trilu(node: Node) -> SSAValue:
    """Multiply by a constant mask would turn infinities into NaN: choose instead."""
    shape = node.shape(0)
    k = int(node.constant(1, "k").reshape(-1)[0]) if node.has(1) else 0
    keep = (
        np.triu(np.ones(shape[-2:], bool), k) if node.attribute("upper", 1) else np.tril(np.ones(shape[-2:], bool), k)
    )
    zero = node.weight(np.zeros((), node.dtype(0)), "zero")
    return node.emit(ElementwiseOp(Fn.WHERE, node.weight(keep, "mask"), node.value(0), zero))
