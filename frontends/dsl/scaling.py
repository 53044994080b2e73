"""The scaling of raw inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convc.frontends.dsl.arguments import axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape

_EPSILON = 1e-7  # the least deviation that Keras divides by


def _array(layer: Layer, name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise layer.problem(f"{name}: expected a number or an array, got {value!r}") from None


class Rescaling(Layer):
    """x * scale + offset; each a number or an array that broadcasts, one number a channel for example."""

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale, self.offset = _array(self, "scale", scale), _array(self, "offset", offset)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        for name, array in (("scale", self.scale), ("offset", self.offset)):
            tail = shapes[0][len(shapes[0]) - array.ndim :]
            if array.ndim >= len(shapes[0]) or any(size not in (1, want) for size, want in zip(array.shape, tail)):
                raise self.problem(f"{name}: expected a shape that broadcasts to {shapes[0]}, got {array.shape}")
        return shapes[0]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return emitter.affine(inputs[0], self.scale, self.offset)


class Normalization(Layer):
    """(x - mean) / deviation with given moments along `axis`, or with weights; `invert` undoes it.

    What Keras's `adapt` would have set goes in by `set_weights([mean, variance, 0])`.
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (mean is None) != (variance is None):
            raise self.problem(f"expected mean and variance or neither, got {mean!r} and {variance!r}")
        self.axis, self.invert = axis, invert
        self._moments = None if mean is None else [_array(self, "mean", mean), _array(self, "variance", variance)]

    def build(self, *shapes: Shape) -> None:
        axes = [] if self.axis is None else [self.axis] if isinstance(self.axis, int) else list(self.axis)
        rank = len(shapes[0])
        sizes = {axis: self.fix(axis, "elements") for axis in sorted(axis_of(self, axis, rank) for axis in axes)}
        shape = list(sizes.values())
        self._line = [sizes.get(axis, 1) for axis in range(rank)]
        if self._moments is None:
            self.mean = self.add_weight("mean", shape, "zeros", trainable=False)
            self.variance = self.add_weight("variance", shape, "ones", trainable=False)
            self.add_weight("count", (), "zeros", trainable=False)  # Keras has it for older files
            return
        try:
            self._moments = [np.broadcast_to(array, shape) for array in self._moments]
        except ValueError:
            found = " and ".join(str(array.shape) for array in self._moments)
            raise self.problem(
                f"expected a mean and a variance that broadcast to {tuple(shape)}, got {found}"
            ) from None

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        moments = self._moments or [self.mean.numpy(), self.variance.numpy()]
        mean, variance = (array.reshape(self._line).astype(np.float64) for array in moments)
        deviation = np.maximum(np.sqrt(variance), _EPSILON)
        if self.invert:
            return emitter.affine(inputs[0], deviation, mean)
        return emitter.affine(inputs[0], 1 / deviation, -mean / deviation)
