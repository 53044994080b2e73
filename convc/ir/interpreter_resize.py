"""What `convc.resize` means, in numpy: along one axis after another, weighted taps at each source coordinate.

Coordinates and scales are ONNX's. Rounding to the nearest element is done in single precision and in the order of
operations of onnxruntime, since the ties that exporters produce fall where that puts them; weights are computed in
double precision.
"""

from __future__ import annotations

import numpy as np

from convc.ir.attributes import shape_of
from convc.ir.data import ResizeOp
from convc.ir.op import float_values


def resize(op: ResizeOp, x: np.ndarray) -> np.ndarray:
    """x resampled to the shape of the operation's result."""
    y, outside = x, np.zeros([1] * x.ndim, bool)
    for axis, (before, after) in enumerate(zip(shape_of(op.x), shape_of(op.result))):
        scale, crops = float_values(op.scales)[axis], op.coordinates.data == "tf_crop_and_resize"
        if before == after and scale == 1 and not crops:
            continue
        line = [after if i == axis else 1 for i in range(x.ndim)]
        places, weights = _taps(op, axis, before, after, scale)
        places = np.clip(places, 0, before - 1)
        if weights is None:
            y = np.take(y, places[0], axis)
        else:
            weights = weights.astype(np.promote_types(x.dtype, np.float32))
            y = sum(np.take(y, place, axis) * weight.reshape(line) for place, weight in zip(places, weights))
        if crops:
            coordinate = _coordinates(op, axis, before, after, np.float32(scale))
            outside = outside | ((coordinate < 0) | (coordinate > before - 1)).reshape(line)
    return np.where(outside, op.extrapolation.value.data, y) if outside.any() else y


def _taps(op: ResizeOp, axis: int, before: int, after: int, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions and weights, each `[taps, after]`; the nearest element has no weight."""
    if op.mode.data == "nearest":
        return _nearest(op, _coordinates(op, axis, before, after, np.float32(scale)))[None], None
    coordinate = _coordinates(op, axis, before, after, np.float64(scale))
    cubic, antialias = op.mode.data == "cubic", bool(op.antialias.value.data)
    # Shrinking with antialias stretches the filter over all that one output element stands for.
    stretch = min(scale, 1.0) if antialias else 1.0
    reach = int(np.ceil((2 if cubic else 1) / stretch))
    base = np.floor(coordinate).astype(np.int64)
    places = base + np.arange(1 - reach, reach + 1)[:, None]
    distance = np.abs(places - coordinate) * stretch
    weights = keys_cubic(distance, op.cubic_coeff.value.data) if cubic else np.maximum(1 - distance, 0)
    if op.exclude_outside.value.data:
        weights = np.where((places >= 0) & (places < before), weights, 0)
    return places, weights / weights.sum(0)


def keys_cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel (Keys, 1981, eq. 4) with parameter a."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _nearest(op: ResizeOp, coordinate: np.ndarray) -> np.ndarray:
    match op.nearest.data:
        case "floor":
            place = np.floor(coordinate)
        case "ceil":
            place = np.ceil(coordinate)
        case "round_prefer_floor":
            place = np.ceil(coordinate - coordinate.dtype.type(0.5))
        case _:
            place = np.floor(coordinate + coordinate.dtype.type(0.5))
    return place.astype(np.int64)


def _coordinates(op: ResizeOp, axis: int, before: int, after: int, scale: np.floating) -> np.ndarray:
    """Where each output element lies among the `before` input elements, in the precision of `scale`."""
    real = type(scale)
    i = np.arange(after).astype(real)
    match op.coordinates.data:
        case "asymmetric":
            return i / scale
        case "align_corners":
            return i * real(before - 1) / real(after - 1) if after > 1 else i
        case "pytorch_half_pixel" if after == 1:
            return i
        case "tf_crop_and_resize":
            roi = float_values(op.roi) or (*[0.0] * len(op.scales.data), *[1.0] * len(op.scales.data))
            begin, end = real(roi[axis]), real(roi[axis + len(roi) // 2])
            if after == 1:
                return i + real(0.5) * (begin + end) * real(before - 1)
            return begin * real(before - 1) + i * (end - begin) * real(before - 1) / real(after - 1)
        case "half_pixel_symmetric":
            # The centre of the output is the centre of the input, whatever the rounding of the size did.
            shift = real(before / 2) * (real(1) - real(after) / (scale * real(before)))
            return shift + (i + real(0.5)) / scale - real(0.5)
        case _:
            return (i + real(0.5)) / scale - real(0.5)
