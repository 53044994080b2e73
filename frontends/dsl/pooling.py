"""Pooling over windows and over whole images."""

from __future__ import annotations

from typing import Any, ClassVar

from convc.frontends.dsl.arguments import one_of, sizes
from convc.frontends.dsl.convolution import Sizes
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape
from convc.frontends.dsl.windows import window_pads, window_sizes


class Pooling(Layer):
    """Keras's MaxPooling and AveragePooling: `[N, *S, C]` -> `[N, *S', C]`. Padding counts neither in a maximum nor
    in an average."""

    spatial: ClassVar[int]
    operator: ClassVar[str]
    stateless = True

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.pool_size = sizes(self, "pool_size", pool_size, self.spatial)
        self.strides = self.pool_size if strides is None else sizes(self, "strides", strides, self.spatial)
        self.padding = one_of(self, "padding", padding, ("valid", "same"))
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, *spatial, channels = shapes[0]
        found = window_sizes(tuple(spatial), self.pool_size, self.strides, (1,) * self.spatial, self.padding)
        if any(size is not None and size < 1 for size in found):
            raise self.problem(
                f"expected an input that the window fits into, got {shapes[0]} for pool_size {self.pool_size} and "
                f"padding '{self.padding}'"
            )
        return (batch, *found, channels)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        pads = window_pads(x.shape[1:-1], self.pool_size, self.strides, (1,) * self.spatial, self.padding)
        name = emitter.node(
            self.operator, [emitter.first(x)], kernel_shape=self.pool_size, strides=self.strides, **pads
        )
        return Value(self.compute_output_shape(x.shape), name, first=True)


class MaxPooling1D(Pooling):
    spatial, operator, ranks = 1, "MaxPool", (3,)


class MaxPooling2D(Pooling):
    spatial, operator, ranks = 2, "MaxPool", (4,)


class MaxPooling3D(Pooling):
    spatial, operator, ranks = 3, "MaxPool", (5,)


class AveragePooling1D(Pooling):
    spatial, operator, ranks = 1, "AveragePool", (3,)


class AveragePooling2D(Pooling):
    spatial, operator, ranks = 2, "AveragePool", (4,)


class AveragePooling3D(Pooling):
    spatial, operator, ranks = 3, "AveragePool", (5,)


class GlobalPooling(Layer):
    """One number a channel: `[N, *S, C]` -> `[N, C]`, or `[N, 1..., C]` with `keepdims`."""

    operators: ClassVar[tuple[str, str]]
    """(pool, reduction): what computes it channels first, and channels last."""
    stateless = True

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.set_data_format(data_format)
        self.keepdims = keepdims

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, *spatial, channels = shapes[0]
        return (batch, *(1 for _ in spatial if self.keepdims), channels)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        shape = self.compute_output_shape(x.shape)
        pool, reduction = self.operators
        if x.is_first:
            name = emitter.node(pool, [x.name])
            return Value(shape, name if self.keepdims else emitter.node("Flatten", [name], axis=1), first=True)
        axes = list(range(1, x.rank - 1))
        return Value(shape, emitter.node(reduction, [x.name], axes=axes, keepdims=int(self.keepdims)), first=False)


class GlobalAveragePooling1D(GlobalPooling):
    operators, ranks = ("GlobalAveragePool", "ReduceMean"), (3,)


class GlobalAveragePooling2D(GlobalPooling):
    operators, ranks = ("GlobalAveragePool", "ReduceMean"), (4,)


class GlobalAveragePooling3D(GlobalPooling):
    operators, ranks = ("GlobalAveragePool", "ReduceMean"), (5,)


class GlobalMaxPooling1D(GlobalPooling):
    operators, ranks = ("GlobalMaxPool", "ReduceMax"), (3,)


class GlobalMaxPooling2D(GlobalPooling):
    operators, ranks = ("GlobalMaxPool", "ReduceMax"), (4,)


class GlobalMaxPooling3D(GlobalPooling):
    operators, ranks = ("GlobalMaxPool", "ReduceMax"), (5,)
