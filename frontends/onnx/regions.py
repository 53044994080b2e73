"""What reads bilinear samples at computed places: regions of interest and deformable convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.convolution import window_pads, window_steps
from convc.frontends.onnx.gathering import take
from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.slicing import taken
from convc.ir import shapes
from convc.ir.attributes import ReduceKind, element_type, shape_of
from convc.ir.data import BroadcastOp, ConcatOp
from convc.ir.dtypes import to_numpy
from convc.ir.functions import Fn
from convc.ir.sampling import GridSampleOp
from convc.ir.windows import ConvOp


@converter("RoiAlign")
def convert_roi_align(node: Node) -> SSAValue:
    """Bins of each region, of `sampling_ratio` samples along either axis: their mean, or the largest of all pixels
    around them times their weights. What is farther than one element outside of the image counts as 0.

    A ratio of 0 is a sample a pixel, rounded up: regions, constant then, are computed by their numbers of samples.
    """
    ratio, mode = node.attribute("sampling_ratio", 0), node.attribute("mode", "avg")
    if ratio < 0:
        raise ValueError(f"expected a sampling_ratio of at least 0, got {ratio}")
    if mode not in ("avg", "max"):
        raise ValueError(f"expected mode to be avg or max, got {mode}")
    bins = [node.attribute("output_height", 1), node.attribute("output_width", 1)]
    if ratio or not node.shape(1)[0]:
        return _pooled(node, node.value(1), node.value(2), bins, [max(ratio, 1)] * 2)
    rois = node.constant(1, "regions at a sampling_ratio of 0")
    numbers = _numbers(node, rois, bins)
    parts, order = [], []
    for counts in np.unique(numbers, axis=0):
        members = np.flatnonzero((numbers == counts).all(1))
        order.append(members)
        if counts.all():
            images = take(node, node.value(2), members, 0)
            parts.append(_pooled(node, node.weight(rois[members], "regions"), images, bins, counts.tolist()))
        else:  # without samples their sum is 0
            zero = node.scalar(0, node.value(0))
            parts.append(node.emit(BroadcastOp(zero, [members.size, node.shape(0)[1], *bins])))
    y = node.emit(ConcatOp(parts, 0)) if len(parts) > 1 else parts[0]
    return take(node, y, np.argsort(np.concatenate(order)), 0)


def _half(node: Node) -> bool:
    """Whether pixels lie at their centres, and regions may have no size."""
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    return bool(node.attribute("coordinate_transformation_mode", default) == "half_pixel")


def _numbers(node: Node, rois: np.ndarray, bins: Sequence[int]) -> np.ndarray:
    """The samples of a bin of each region along y and x: `[K, 2]`, 0 for a region of no size."""
    half = _half(node)
    corners = rois * rois.dtype.type(node.attribute("spatial_scale", 1.0)) - rois.dtype.type(0.5 if half else 0)
    lengths = corners[:, [3, 2]] - corners[:, [1, 0]]
    lengths = np.maximum(lengths, 0 if half else 1)
    return np.ceil(lengths / np.array(bins, rois.dtype)).astype(np.int64)


def _pooled(node: Node, rois: SSAValue, images: SSAValue, bins: Sequence[int], samples: Sequence[int]) -> SSAValue:
    """Regions `[K, 4]` of images `[K]` by bins of so many samples along y and x: `[K, C, *bins]`."""
    mode = node.attribute("mode", "avg")
    channels, *sizes = node.shape(0)[1:]
    count = shape_of(rois)[0]
    at = [_places(node, rois, axis, bins[axis] * samples[axis]) for axis in range(2)]
    inside = reduce(
        lambda a, b: node.apply(Fn.AND, a, b),
        (
            node.apply(test, place, node.scalar(limit, place))
            for place, size in zip(at, sizes, strict=True)
            for test, limit in ((Fn.GREATER_OR_EQUAL, -1), (Fn.LESS_OR_EQUAL, size))
        ),
    )
    at = [node.apply(Fn.CLIP, place, min=0.0, max=size - 1.0) for place, size in zip(at, sizes, strict=True)]
    if mode == "avg":
        values = _sampled(node, images, at, "linear")
    else:
        corners = [_corners(node, place, size) for place, size in zip(at, sizes, strict=True)]
        weighted = (
            node.apply(Fn.MUL, _sampled(node, images, [y, x], "nearest"), node.apply(Fn.MUL, a, b))
            for (y, a), (x, b) in product(*corners)
        )
        values = reduce(lambda a, b: node.apply(Fn.MAX, a, b), weighted)
    values = node.apply(Fn.WHERE, inside, values, node.scalar(0, values))
    values = node.reshape(values, [channels, count, bins[0], samples[0], bins[1], samples[1]])
    y = node.reduce(ReduceKind.MEAN if mode == "avg" else ReduceKind.MAX, values, [3, 5])
    return node.transpose(node.reshape(y, [channels, count, *bins]), [1, 0, 2, 3])


def _places(node: Node, rois: SSAValue, axis: int, samples: int) -> SSAValue:
    """The coordinates of the samples of each region along y (0) or x (1): `[K, samples, 1]` or `[K, 1, samples]`."""
    rois = node.apply(Fn.MUL, rois, node.scalar(node.attribute("spatial_scale", 1.0), rois))
    if half := _half(node):
        rois = node.apply(Fn.SUB, rois, node.scalar(0.5, rois))
    start, end = (taken(node, rois, 1, column, 1) for column in (1 - axis, 3 - axis))
    length = node.apply(Fn.SUB, end, start)
    if not half:
        length = node.apply(Fn.MAX, length, node.scalar(1, length))
    steps = ((np.arange(samples) + 0.5) / samples).astype(node.dtype(1))
    at = node.apply(Fn.ADD, start, node.apply(Fn.MUL, length, node.weight(steps, f"steps{axis}")))
    return node.reshape(at, [shape_of(rois)[0], *((1, samples) if axis else (samples, 1))])


def _corners(node: Node, at: SSAValue, size: int) -> list[tuple[SSAValue, SSAValue]]:
    """The elements on either side of coordinates in [0, size - 1], and their weights."""
    low = node.apply(Fn.FLOOR, at)
    high = node.apply(Fn.CLIP, node.apply(Fn.ADD, low, node.scalar(1, low)), max=size - 1.0)
    rest = node.apply(Fn.SUB, at, low)
    return [(low, node.apply(Fn.SUB, node.scalar(1, rest), rest)), (high, rest)]


def _sampled(node: Node, images: SSAValue, at: Sequence[SSAValue], mode: str) -> SSAValue:
    """The images `[N, C, H, W]` of all regions at y `[K, A, 1]` and x `[K, 1, B]`: `[C, K, A, B]`. A batch is one
    volume, so that the image of a region is a coordinate like the others."""
    batch, channels, *sizes = node.shape(0)
    whole = [shape_of(at[0])[0], shape_of(at[0])[1], shape_of(at[1])[2]]
    axes, x = list(at[::-1]), node.value(0)
    if batch > 1:
        axes.append(node.reshape(node.cast(images, element_type(at[0])), [whole[0], 1, 1]))
        x = node.transpose(x, [1, 0, 2, 3])
    flat = whole if batch > 1 else [whole[0] * whole[1], whole[2]]
    columns = [node.reshape(node.emit(BroadcastOp(axis, whole)), [1, *flat, 1]) for axis in axes]
    volume = node.reshape(x, [1, channels, *([batch] if batch > 1 else []), *sizes])
    grid = node.emit(ConcatOp(columns, len(flat) + 1))
    y = node.emit(GridSampleOp(volume, grid, mode=mode, padding="border", align_corners=True))
    return node.reshape(y, [channels, *whole])


@converter("DeformConv")
def convert_deform_conv(node: Node) -> SSAValue:
    """A convolution whose taps are moved by offsets `[N, groups * taps * axes, *O]`, and scaled by a mask: samples of
    all taps as channels `[N, C * taps, *O]`, then a convolution of one tap."""
    batch, channels, *sizes = node.shape(0)
    outputs, inputs, *kernel = node.shape(1)
    strides, dilations = window_steps(node, kernel)
    spatial, taps, groups = len(kernel), prod(kernel), node.attribute("offset_group", 1)
    pads = window_pads(node, sizes, kernel, strides, dilations)
    result = [
        shapes.window(sizes[i], kernel[i], strides[i], dilations[i], pads[i], pads[spatial + i]) for i in range(spatial)
    ]
    wanted = (batch, groups * taps * spatial, *result)
    if channels % groups or node.shape(2) != wanted:
        raise ValueError(f"expected offsets of shape {wanted}, got {node.shape(2)}")
    offsets = node.reshape(node.value(2), [batch * groups, taps, spatial, *result])
    offsets = node.transpose(offsets, [0, 1, *range(3, 3 + spatial), 2])
    dtype = to_numpy(element_type(offsets))
    places = np.stack(
        [
            tap * dilation + at * stride - pad
            for tap, at, stride, dilation, pad in zip(
                np.indices(kernel).reshape(spatial, taps, *[1] * spatial),
                np.indices(result)[:, None],
                strides,
                dilations,
                pads,
            )
        ],
        axis=-1,
    )
    grid = node.apply(Fn.ADD, offsets, node.weight(places.astype(dtype), "places"))
    grid = taken(node, grid, spatial + 2, spatial - 1, spatial, -1)  # x comes first
    rows = [taps * result[0], *result[1:]]
    x = node.reshape(node.value(0), [batch * groups, channels // groups, *sizes])
    samples = node.emit(GridSampleOp(x, node.reshape(grid, [batch * groups, *rows, spatial]), mode="linear"))
    if node.has(4):
        samples = node.apply(Fn.MUL, samples, node.reshape(node.value(4), [batch * groups, 1, *rows]))
    ones = [1] * spatial
    return node.emit(
        ConvOp(
            node.reshape(samples, [batch, channels * taps, *result]),
            node.reshape(node.value(1), [outputs, inputs * taps, *ones]),
            node.value(3) if node.has(3) else None,
            strides=ones,
            pads=[0] * (2 * spatial),
            dilations=ones,
            group=node.attribute("group", 1),
        )
    )
