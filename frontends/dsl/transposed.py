"""Transposed convolutions."""

from __future__ import annotations

from typing import Any

from convc.frontends.dsl import activations
from convc.frontends.dsl.arguments import positive, sizes
from convc.frontends.dsl.convolution import Sizes, Window, kernel_to_onnx
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.tensor import Shape
from convc.frontends.dsl.windows import transposed_pads, transposed_size


class ConvTranspose(Window):
    """The gradient of a convolution: `[N, *S, C]` -> `[N, *S', filters]`, kernel `[*K, filters, C]`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: Sizes | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = positive(self, "filters", filters)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._refuse_dilated_strides()
        self.output_padding: tuple[int | None, ...] = (None,) * self.spatial
        if output_padding is not None:
            extra = sizes(self, "output_padding", output_padding, self.spatial, minimum=0)
            if any(more >= stride for more, stride in zip(extra, self.strides)):
                raise self.problem(f"output_padding: expected less than the strides {self.strides}, got {extra}")
            self.output_padding = extra
        self._initializers = kernel_initializer, bias_initializer

    def build(self, *shapes: Shape) -> None:
        shape = (*self.kernel_size, self.filters, self.fix(-1))
        self.kernel = self.add_weight("kernel", shape, self._initializers[0])
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.filters,), self._initializers[1])

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        spatial = tuple(
            transposed_size(size, span, stride, self.padding, extra)
            for size, span, stride, extra in zip(shapes[0][1:-1], self._spans, self.strides, self.output_padding)
        )
        if any(size is not None and size < 1 for size in spatial):
            raise self.problem(f"expected an output of at least one element, input {shapes[0]} gives {spatial}")
        return (shapes[0][0], *spatial, self.filters)

    @property
    def _spans(self) -> list[int]:
        return [rate * (size - 1) + 1 for size, rate in zip(self.kernel_size, self.dilation_rate)]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        ends = [
            transposed_pads(span, stride, self.padding, extra)
            for span, stride, extra in zip(self._spans, self.strides, self.output_padding)
        ]
        name = emitter.node(
            "ConvTranspose",
            [
                emitter.first(x),
                emitter.weight(self.kernel, "IOHW", kernel_to_onnx),
                *emitter.bias(self.bias),
            ],
            kernel_shape=self.kernel_size,
            strides=self.strides,
            dilations=self.dilation_rate,
            pads=[begin for begin, _ in ends] + [max(end, 0) for _, end in ends],
            output_padding=[max(-end, 0) for _, end in ends],
        )
        y = Value(self.compute_output_shape(x.shape), name, first=True)
        return self.activation.emit(emitter, y)


class Conv1DTranspose(ConvTranspose):
    spatial = 1
    ranks = (3,)


class Conv2DTranspose(ConvTranspose):
    spatial = 2
    ranks = (4,)


class Conv3DTranspose(ConvTranspose):
    spatial = 3
    ranks = (5,)
