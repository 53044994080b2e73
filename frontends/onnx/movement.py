"""Operators that keep the elements of a tensor and change where they are: reshapes, transposes, repeats, joins."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, Value, converter, normalise_axes
from convc.ir.attributes import shape_of
from convc.ir.data import BroadcastOp, ConcatOp
from convc.ir.shapes import broadcast


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
    return node.reshape(node.value(0), shape)


@converter("Flatten")
def convert_flatten(node: Node) -> SSAValue:
    """A matrix: the axes before `axis`, and those from it on; `axis` may be the rank."""
    shape, axis = node.shape(0), node.attribute("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} is outside [-{len(shape)}, {len(shape)}]")
    axis += len(shape) if axis < 0 else 0
    return node.reshape(node.value(0), [prod(shape[:axis]), prod(shape[axis:])])


@converter("Squeeze")
def convert_squeeze(node: Node) -> SSAValue:
    """Axes are an attribute before opset 13, an input after; without them all axes of size 1 go."""
    shape = node.shape(0)
    axes = node.ints(1, "axes") if node.has(1) else node.attribute("axes")
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    drop = ones if axes is None else normalise_axes(axes, len(shape))
    if any(shape[axis] != 1 for axis in drop):
        raise ValueError(f"expected axes of size 1 to squeeze, got axes {drop} of {shape}")
    return node.reshape(node.value(0), [size for axis, size in enumerate(shape) if axis not in drop])


@converter("Unsqueeze")
def convert_unsqueeze(node: Node) -> SSAValue:
    """The axes are those of the result: an attribute before opset 13, an input after."""
    axes = node.ints(1, "axes") if node.opset >= 13 else node.attribute("axes")
    shape = list(node.shape(0))
    for axis in sorted(normalise_axes(axes, len(shape) + len(axes))):
        shape.insert(axis, 1)
    return node.reshape(node.value(0), shape)


@converter("Transpose")
def convert_transpose(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    perm = node.attribute("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise ValueError(f"expected a permutation of {rank} axes, got {perm}")
    return node.transpose(node.value(0), perm)


@converter("Expand")
def convert_expand(node: Node) -> SSAValue:
    shape = broadcast(node.shape(0), node.ints(1, "shape"))
    return node.value(0) if shape == node.shape(0) else node.emit(BroadcastOp(node.value(0), shape))


@converter("Tile")
def convert_tile(node: Node) -> SSAValue:
    repeats = node.ints(1, "repeats")
    if len(repeats) != len(node.shape(0)) or min(repeats, default=0) < 0:
        raise ValueError(f"expected {len(node.shape(0))} repeats of at least 0, got {repeats}")
    return tiled(node, node.value(0), repeats)


def tiled(node: Node, x: SSAValue, repeats: list[int]) -> SSAValue:
    """x repeated along each axis, by way of a broadcast axis in front of each."""
    shape = shape_of(x)
    if all(repeat == 1 for repeat in repeats):
        return x
    split = [part for repeat, size in zip(repeats, shape) for part in ([1, size] if repeat != 1 else [size])]
    wide = [part for repeat, size in zip(repeats, shape) for part in ([repeat, size] if repeat != 1 else [size])]
    x = node.emit(BroadcastOp(node.reshape(x, split), wide))
    return node.reshape(x, [repeat * size for repeat, size in zip(repeats, shape)])


@converter("Concat")
def convert_concat(node: Node) -> Value:
    """Empty parts are left out: exporters start a list of results with one."""
    axis, ranks = node.axis(0, len(node.shape(0))), {len(node.shape(i)) for i in range(len(node))}
    if len(ranks) > 1:
        raise ValueError(f"expected parts of one rank, got {', '.join(str(node.shape(i)) for i in range(len(node)))}")
    parts = [i for i in range(len(node)) if node.shape(i)[axis] > 0] or [0]
    if len(parts) == 1:
        return node.given(parts[0])
    return node.emit(ConcatOp([node.value(i) for i in parts], axis))


@converter("DepthToSpace", "SpaceToDepth")
def convert_depth_space(node: Node) -> SSAValue:
    """Blocks of b x b pixels to channels and back; DCR has the position in the block before the depth, CRD after."""
    shape, b = node.shape(0), node.attribute("blocksize")
    mode = node.attribute("mode", "DCR")
    if len(shape) != 4 or b < 1 or mode not in ("DCR", "CRD"):
        raise ValueError(f"expected an image [N, C, H, W], a blocksize and a mode DCR or CRD, got {shape}, {b}, {mode}")
    n, c, h, w = shape
    if node.op_type == "SpaceToDepth":
        if h % b or w % b:
            raise ValueError(f"{h}x{w} does not divide into blocks of {b}x{b}")
        split, result = [n, c, h // b, b, w // b, b], [n, c * b * b, h // b, w // b]
        perm = [0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4]
    else:
        if c % (b * b):
            raise ValueError(f"{c} channels do not divide into blocks of {b}x{b}")
        depth = c // (b * b)
        split = [n, b, b, depth, h, w] if mode == "DCR" else [n, depth, b, b, h, w]
        perm = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
        result = [n, depth, h * b, w * b]
    return node.reshape(node.transpose(node.reshape(node.value(0), split), perm), result)
