"""Resize and Upsample in the forms of all opsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, prod
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter, normalise_axes
from convc.ir.attributes import element_type, shape_of, tensor
from convc.ir.data import ConstantOp, ResizeOp
from convc.ir.dtypes import is_float
from convc.ir.interpreter import evaluate
from convc.ir.neural import MatMulOp


@converter("Upsample")
def convert_upsample(node: Node) -> SSAValue:
    """Scales are two attributes before opset 7, one up to 8, an input from 9 on."""
    if node.opset < 7:
        scales = [1.0, 1.0, node.attribute("height_scale"), node.attribute("width_scale")]
    else:
        scales = node.attribute("scales") or node.constant(1, "scales").reshape(-1).tolist()
    return _resized(node, scales, None, coordinates="asymmetric", nearest="floor")


@converter("Resize")
def convert_resize(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    if node.opset == 10:
        scales = node.constant(1, "scales").reshape(-1).tolist()
        return _resized(node, scales, None, coordinates="asymmetric", nearest="floor")
    axes = node.attribute("axes")
    axes = list(range(rank)) if axes is None else normalise_axes(axes, rank)
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    roi = _region(node, axes) if coordinates == "tf_crop_and_resize" else []
    scales, sizes = _scales(node, axes)
    return _resized(
        node,
        scales,
        sizes,
        coordinates=coordinates,
        nearest=node.attribute("nearest_mode", "round_prefer_floor"),
        roi=roi,
        cubic_coeff=node.attribute("cubic_coeff_a", -0.75),
        extrapolation=node.attribute("extrapolation_value", 0.0),
        exclude_outside=bool(node.attribute("exclude_outside", 0)),
        antialias=bool(node.attribute("antialias", 0)),
    )


def _region(node: Node, axes: Sequence[int]) -> list[float]:
    """The region of interest of all axes, begins, then ends, as fractions of the input."""
    given = node.constant(1, "roi").reshape(-1).tolist()
    if len(given) != 2 * len(axes):
        raise ValueError(f"expected a roi of {2 * len(axes)} numbers, got {len(given)}")
    rank = len(node.shape(0))
    begins, ends = [0.0] * rank, [1.0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = given[position], given[len(axes) + position]
    return begins + ends


def _scales(node: Node, axes: Sequence[int]) -> tuple[list[float], list[int] | None]:
    """The scales of all axes; the sizes too where they are given, and do not follow from the scales."""
    shape = node.shape(0)
    given = node.constant(2, "scales").reshape(-1).tolist() if node.has(2) else []
    wanted = node.ints(3, "sizes") if node.has(3) else []
    if bool(given) == bool(wanted) or len(given or wanted) != len(axes):
        raise ValueError(f"expected {len(axes)} scales or sizes, got {len(given)} scales and {len(wanted)} sizes")
    scales = [1.0] * len(shape)
    if given:
        for axis, scale in zip(axes, given):
            scales[axis] = scale
        return scales, None
    sizes = list(shape)
    ratios = [size / shape[axis] for axis, size in zip(axes, wanted)]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise ValueError(f"expected keep_aspect_ratio_policy stretch, not_larger or not_smaller, got {policy}")
    common = min(ratios) if policy == "not_larger" else max(ratios)
    for axis, size, ratio in zip(axes, wanted, ratios):
        scales[axis] = ratio if policy == "stretch" else common
        sizes[axis] = size if policy == "stretch" else floor(common * shape[axis] + 0.5)
    return scales, sizes


def _resized(
    node: Node,
    scales: Sequence[float],
    sizes: Sequence[int] | None,
    *,
    coordinates: str,
    nearest: str,
    roi: Sequence[float] = (),
    cubic_coeff: float = -0.75,
    extrapolation: float = 0.0,
    exclude_outside: bool = False,
    antialias: bool = False,
) -> SSAValue:
    x, mode = node.value(0), node.attribute("mode", "nearest")
    shape = shape_of(x)
    if len(scales) != len(shape) or not min(scales, default=1) > 0:
        raise ValueError(f"expected {len(shape)} positive scales, got {scales}")
    if sizes is None:
        # In float32, as the standard's shape inference has it: 0.7 * 10 is 7 there, and 6.99 in float64.
        extents = [np.float32(roi[len(shape) + i] - roi[i]) for i in range(len(shape))] if roi else [np.float32(1)]
        extents *= len(shape) // len(extents) if shape else 1
        sizes = [int(np.float32(size) * extent * np.float32(s)) for size, extent, s in zip(shape, extents, scales)]
    if min(sizes, default=1) < 1:
        raise ValueError(f"expected a result of at least one element, got the shape {sizes} from {shape}")
    if tuple(sizes) == shape and not roi:  # even by a scale of 1.1: so onnxruntime has it
        return x
    options: dict[str, Any] = {
        "mode": {"bilinear": "linear"}.get(mode, mode),
        "coordinates": coordinates,
        "nearest": nearest,
        "cubic_coeff": cubic_coeff,
        "extrapolation": extrapolation,
        "exclude_outside": exclude_outside,
    }
    if antialias and options["mode"] in ("linear", "cubic") and min(scales) < 1:
        if roi or not is_float(element_type(x)):
            raise ValueError("expected floats and no tf_crop_and_resize with antialias")
        return _filtered(node, x, sizes, scales, options)
    return node.emit(ResizeOp(x, sizes, scales=scales, roi=roi, **options))


def _filtered(
    node: Node, x: SSAValue, sizes: Sequence[int], scales: Sequence[float], options: Mapping[str, Any]
) -> SSAValue:
    """With antialias an output may take many inputs: along each axis a product with the matrix of their weights, which
    is what resizing makes of an identity matrix."""
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        shape = shape_of(x)
        n, inner = shape[axis], prod(shape[axis + 1 :])
        if (size, scale) == (n, 1):
            continue
        identity = ConstantOp(0.0, tensor(element_type(x), (n, n))).result
        resized = ResizeOp(identity, [n, size], scales=[1.0, scale], roi=[], antialias=True, **options)
        matrix = evaluate(resized, [np.eye(n)])
        if inner == 1:
            rows = node.reshape(x, [prod(shape[:axis]), n])
            y = node.emit(MatMulOp(rows, node.weight(matrix, "filter")))
        else:
            rows = node.reshape(x, [prod(shape[:axis]), n, inner])
            y = node.emit(MatMulOp(node.weight(np.ascontiguousarray(matrix.T), "filter"), rows))
        x = node.reshape(y, [*shape[:axis], size, *shape[axis + 1 :]])
    return x
