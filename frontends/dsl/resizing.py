"""Images of another size."""

from __future__ import annotations

from typing import Any

import numpy as np

from convc.frontends.dsl.arguments import one_of, positive
from convc.frontends.dsl.borders import RESIZES
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape

# The element whose place the centre falls into; of two, the later one.
_MODES = {
    **RESIZES,
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_ceil",
    },
}


class Sized(Layer):
    """A layer that makes images of `height` and `width`: `[N, H, W, C]` -> `[N, height, width, C]`."""

    ranks = (4,)

    def _set_size(self, height: int, width: int, data_format: str | None) -> None:
        self.height, self.width = positive(self, "height", height), positive(self, "width", width)
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, _, _, channels = shapes[0]
        return (batch, self.height, self.width, channels)

    def _known(self, shape: Shape) -> tuple[int, int]:
        """The height and the width of the input."""
        _, height, width, _ = shape
        if height is None or width is None:
            raise self.problem(f"expected an image whose height and width are known, got {shape}")
        return height, width

    def _aspect(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result's aspect ratio: the one that goes with the width, and with the height."""
        return int(float(width * self.height) / self.width), int(float(height * self.width) / self.height)

    def _cut(self, e: Emitter, x: Value, top: int, left: int, height: int, width: int) -> Value:
        axes = [x.axis(axis) for axis in (1, 2)]
        bounds = [
            e.ints(each, what)
            for each, what in (([top, left], "starts"), ([top + height, left + width], "ends"), (axes, "axes"))
        ]
        shape = (x.shape[0], height, width, x.shape[3])
        return Value(shape, e.node("Slice", [x.name, *bounds]), first=x.is_first)

    def _cut_to_aspect(self, e: Emitter, x: Value) -> Value:
        """The largest part in the middle that has the result's aspect ratio."""
        height, width = self._known(x.shape)
        high, wide = self._aspect(height, width)
        high, wide = max(min(height, high), 1), max(min(width, wide), 1)
        return self._cut(e, x, int((height - high) / 2), int((width - wide) / 2), high, wide)

    def _resize(self, e: Emitter, x: Value, interpolation: str) -> Value:
        channels = x.shape[3]
        if channels is None:
            raise self.problem(f"expected an image whose number of channels is known, got {x.shape}")
        name = e.first(x)
        if x.shape[0] is None:
            batch = e.node("Shape", [name], start=0, end=1)
            size = e.node("Concat", [batch, e.ints([channels, self.height, self.width], "size")], axis=0)
        else:
            size = e.ints([x.shape[0], channels, self.height, self.width], "size")
        name = e.node("Resize", [name, "", "", size], **_MODES[interpolation])
        return Value(self.compute_output_shape(x.shape), name, first=True)


class Resizing(Sized):
    """Interpolates between the centres of elements, without a low-pass filter, as Keras does by default.

    `crop_to_aspect_ratio` first cuts the image to the result's aspect ratio, `pad_to_aspect_ratio` pads it."""

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set_size(height, width, data_format)
        self.interpolation = one_of(self, "interpolation", interpolation, list(_MODES))
        self.crop, self.pad = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        if self.crop and self.pad:
            raise self.problem("expected crop_to_aspect_ratio or pad_to_aspect_ratio, got both")
        one_of(self, "fill_mode", fill_mode, ("constant",))
        self.fill_value = float(fill_value)
        if antialias:
            raise self.problem("antialias: expected False, got True")

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        if self.crop:
            x = self._cut_to_aspect(emitter, x)
        elif self.pad:
            x = self._padded(emitter, x)
        return self._resize(emitter, x, self.interpolation)

    def _padded(self, e: Emitter, x: Value) -> Value:
        """Alike on both sides: an odd row that is missing stays missing, as in Keras."""
        height, width = self._known(x.shape)
        high, wide = self._aspect(height, width)
        top = int((max(height, high) - height) / 2)
        left = 0 if top else int((max(width, wide) - width) / 2)
        pads = np.zeros((2, 4), np.int64)
        pads[:, x.axis(1)], pads[:, x.axis(2)] = top, left
        value = e.constant(np.float32(self.fill_value), "fill")
        name = e.node("Pad", [x.name, e.ints(pads.reshape(-1).tolist(), "pads"), value])
        shape = (x.shape[0], height + 2 * top, width + 2 * left, x.shape[3])
        return Value(shape, name, first=x.is_first)


class CenterCrop(Sized):
    """The middle of an image; of one that is too small, the middle of the right aspect ratio, interpolated."""

    def __init__(self, height: int, width: int, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._set_size(height, width, data_format)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        height, width = self._known(x.shape)
        if height >= self.height and width >= self.width:
            top, left = (height - self.height) // 2, (width - self.width) // 2
            return self._cut(emitter, x, top, left, self.height, self.width)
        return self._resize(emitter, self._cut_to_aspect(emitter, x), "bilinear")
