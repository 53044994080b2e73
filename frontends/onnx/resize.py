"""Resize and Upsample in the forms of opsets 7 to 19."""

from __future__ import annotations

from math import floor

from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter, normalise_axis
from convc.ir.attributes import shape_of
from convc.ir.data import ResizeOp


@converter("Upsample")
def convert_upsample(node: Node) -> SSAValue:
    scales = node.attribute("scales") or [float(s) for s in node.constant(1, "scales")]
    return _emit(node, [float(s) for s in scales], None, coordinates="asymmetric", nearest="floor")


@converter("Resize")
def convert_resize(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    if node.opset == 10:
        scales = [float(s) for s in node.constant(1, "scales")]
        return _emit(node, scales, None, coordinates="asymmetric", nearest="floor")
    axes = node.attribute("axes")
    axes = [normalise_axis(axis, rank) for axis in axes] if axes is not None else list(range(rank))
    scales_in = node.constant(2, "scales").reshape(-1) if node.has(2) else ()
    sizes_in = node.ints(3, "sizes") if node.has(3) else []
    if bool(len(scales_in)) == bool(sizes_in):
        raise ValueError("expected either scales or sizes")
    shape = node.shape(0)
    scales, sizes = [1.0] * rank, None
    if len(scales_in):
        for axis, scale in zip(axes, scales_in, strict=True):
            scales[axis] = float(scale)
    else:
        sizes = list(shape)
        ratios = [size / shape[axis] for axis, size in zip(axes, sizes_in, strict=True)]
        policy = node.attribute("keep_aspect_ratio_policy", "stretch")
        for axis, size, ratio in zip(axes, sizes_in, ratios):
            if policy == "stretch":
                sizes[axis], scales[axis] = size, ratio
            else:
                scale = min(ratios) if policy == "not_larger" else max(ratios)
                sizes[axis], scales[axis] = floor(scale * shape[axis] + 0.5), scale
    roi = [float(r) for r in node.constant(1, "roi").reshape(-1)] if node.has(1) else []
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize" and len(roi) == 2 * len(axes):
        starts, ends = [0.0] * rank, [1.0] * rank
        for position, axis in enumerate(axes):
            starts[axis], ends[axis] = roi[position], roi[len(axes) + position]
        roi = starts + ends
    else:
        roi = []
    return _emit(
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


def _emit(node: Node, scales: list[float], sizes: list[int] | None, **options: object) -> SSAValue:
    x = node.value(0)
    shape = shape_of(x)
    if len(scales) != len(shape) or min(scales) <= 0:
        raise ValueError(f"expected {len(shape)} positive scales, got {scales}")
    sizes = sizes or [floor(size * scale) for size, scale in zip(shape, scales)]
    mode = node.attribute("mode", "nearest")
    mode = {"bilinear": "linear"}.get(mode, mode)
    if tuple(sizes) == shape and options.get("coordinates") != "tf_crop_and_resize":
        return x
    return node.emit(ResizeOp(x, sizes, mode=mode, scales=scales, **options))  # type: ignore[arg-type]
