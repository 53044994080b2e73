"""Layers that add to an image's borders, take from them, or repeat its elements."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from convc.frontends.dsl.arguments import one_of, pairs, sizes
from convc.frontends.dsl.convolution import Sizes
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape

Borders = int | tuple[Any, ...] | list[Any]
"""An int for all sides, one int an axis, or one pair an axis; over one axis: an int or a pair."""


def _resized(shape: Shape, changes: list[int]) -> Shape:
    spatial = (None if size is None else size + change for size, change in zip(shape[1:-1], changes, strict=True))
    return (shape[0], *spatial, shape[-1])


class ZeroPadding(Layer):
    """Zeros around an image: `padding` as an int, an int an axis, or a pair an axis (before, after)."""

    spatial: ClassVar[int]

    def __init__(self, padding: Borders = 1, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.padding = pairs(self, "padding", padding, self.spatial)
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return _resized(shapes[0], [before + after for before, after in self.padding])

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        pads = np.zeros((2, x.rank), np.int64)
        for axis, ends in enumerate(self.padding, 1):
            pads[:, x.axis(axis)] = ends
        name = emitter.node("Pad", [x.name, emitter.ints(pads.reshape(-1).tolist(), "pads")])
        return Value(self.compute_output_shape(x.shape), name, first=x.is_first)


class ZeroPadding1D(ZeroPadding):
    spatial, ranks = 1, (3,)


class ZeroPadding2D(ZeroPadding):
    spatial, ranks = 2, (4,)


class ZeroPadding3D(ZeroPadding):
    spatial, ranks = 3, (5,)


class Cropping(Layer):
    """An image without its borders: `cropping` as `padding` of ZeroPadding."""

    spatial: ClassVar[int]

    def __init__(self, cropping: Borders = 1, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.cropping = pairs(self, "cropping", cropping, self.spatial)
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        shape = _resized(shapes[0], [-before - after for before, after in self.cropping])
        if any(size is not None and size < 1 for size in shape[1:-1]):
            raise self.problem(f"cropping: expected less than the input {shapes[0]} has, got {self.cropping}")
        return shape

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        starts = [before for before, _ in self.cropping]
        ends = [-after if after else np.iinfo(np.int64).max for _, after in self.cropping]
        axes = [x.axis(axis) for axis in range(1, x.rank - 1)]
        bounds = [emitter.ints(each, what) for each, what in ((starts, "starts"), (ends, "ends"), (axes, "axes"))]
        return Value(self.compute_output_shape(x.shape), emitter.node("Slice", [x.name, *bounds]), first=x.is_first)


class Cropping1D(Cropping):
    spatial, ranks = 1, (3,)


class Cropping2D(Cropping):
    spatial, ranks = 2, (4,)

    def __init__(self, cropping: Borders = 0, data_format: str | None = None, **options: Any) -> None:
        """Keras crops nothing by default in two dimensions, and 1 in one and three."""
        super().__init__(cropping, data_format, **options)


class Cropping3D(Cropping):
    spatial, ranks = 3, (5,)


class UpSampling(Layer):
    """Every element repeated `size` times along each axis."""

    spatial: ClassVar[int]
    interpolation = "nearest"

    def __init__(self, size: Sizes = 2, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.size = sizes(self, "size", size, self.spatial)
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, *spatial, channels = shapes[0]
        return (batch, *(None if size is None else size * by for size, by in zip(spatial, self.size)), channels)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        scales = emitter.constant(np.array([1, 1, *self.size], np.float32), "scales")
        name = emitter.node("Resize", [emitter.first(x), "", scales], **RESIZES[self.interpolation])
        return Value(self.compute_output_shape(x.shape), name, first=True)


# Keras's cubic kernel has a = -0.5, and its weights outside of the image go to those inside (Keys, 1981).
RESIZES: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "bicubic": {
        "mode": "cubic",
        "coordinate_transformation_mode": "half_pixel",
        "cubic_coeff_a": -0.5,
        "exclude_outside": 1,
    },
}


class UpSampling1D(UpSampling):
    spatial, ranks = 1, (3,)


class UpSampling2D(UpSampling):
    """Nearest repeats; bilinear and bicubic interpolate between the centres of elements."""

    spatial, ranks = 2, (4,)

    def __init__(
        self, size: Sizes = 2, data_format: str | None = None, interpolation: str = "nearest", **options: Any
    ) -> None:
        super().__init__(size, data_format, **options)
        self.interpolation = one_of(self, "interpolation", interpolation, list(RESIZES))


class UpSampling3D(UpSampling):
    spatial, ranks = 3, (5,)
