"""Convolutions: of all channels, of groups, of each channel on its own, and of both in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from convc.frontends.dsl import activations
from convc.frontends.dsl.arguments import one_of, positive, sizes
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer, Weight
from convc.frontends.dsl.tensor import Shape
from convc.frontends.dsl.windows import window_pads, window_sizes

Sizes = int | Sequence[int]


def kernel_to_onnx(kernel: np.ndarray) -> np.ndarray:
    """`[*K, I, O]` -> `[O, I, *K]`"""
    return kernel.transpose(-1, -2, *range(kernel.ndim - 2))


def depthwise_to_onnx(kernel: np.ndarray) -> np.ndarray:
    """`[*K, C, M]` -> `[C * M, 1, *K]`: the M results of one channel lie side by side, as in Keras."""
    *window, channels, multiplier = kernel.shape
    return kernel.transpose(-2, -1, *range(kernel.ndim - 2)).reshape(channels * multiplier, 1, *window)


class Window(Layer):
    """What all convolutions over `spatial` axes share."""

    spatial: ClassVar[int]
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def _set_window(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: str,
        data_format: str | None,
        dilation_rate: Sizes,
        activation: activations.Identifier,
        use_bias: bool,
    ) -> None:
        self.kernel_size = sizes(self, "kernel_size", kernel_size, self.spatial)
        self.strides = sizes(self, "strides", strides, self.spatial)
        self.dilation_rate = sizes(self, "dilation_rate", dilation_rate, self.spatial)
        self.padding = one_of(self, "padding", padding, self.paddings)
        self.set_data_format(data_format)
        self.activation = activations.get(activation, self)
        if self._channels_first and not self.activation.elementwise:
            raise self.problem(
                f"activation: expected a function of each element with data_format 'channels_first', got "
                f"'{self.activation.name}': add an Activation"
            )
        self.use_bias = use_bias
        self.bias: Weight | None = None

    def _refuse_dilated_strides(self) -> None:
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise self.problem(
                f"expected strides or dilation_rate to be 1, got strides {self.strides} and "
                f"dilation_rate {self.dilation_rate}"
            )

    def _windowed(self, shape: Shape, channels: int) -> Shape:
        """The output's shape. Raises ModelError where no window fits."""
        spatial = window_sizes(shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, self.padding)
        if any(size is not None and size < 1 for size in spatial):
            raise self.problem(
                f"expected an input that the window fits into, got {shape} for kernel_size {self.kernel_size}, "
                f"dilation_rate {self.dilation_rate} and padding '{self.padding}'"
            )
        return (shape[0], *spatial, channels)

    def _convolve(self, e: Emitter, x: Value, shape: Shape, weight: str, bias: Weight | None, group: int) -> Value:
        attributes = window_pads(x.shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, self.padding)
        inputs = [e.first(x), weight, *e.bias(bias)]
        name = e.node(
            "Conv",
            inputs,
            kernel_shape=self.kernel_size,
            strides=self.strides,
            dilations=self.dilation_rate,
            group=group,
            **attributes,
        )
        return Value(shape, name, first=True)


class Conv(Window):
    """Keras's Conv1D, Conv2D and Conv3D: `[N, *S, C]` -> `[N, *S', filters]`, kernel `[*K, C / groups, filters]`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters, self.groups = positive(self, "filters", filters), positive(self, "groups", groups)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._refuse_dilated_strides()
        if self.filters % self.groups:
            raise self.problem(f"expected filters divisible by groups, got {filters} filters and {groups} groups")
        self._initializers = kernel_initializer, bias_initializer

    def build(self, *shapes: Shape) -> None:
        channels = self.fix(-1)
        if channels % self.groups:
            raise self.problem(f"expected input channels divisible by {self.groups} groups, got {channels}")
        self.compute_output_shape(*shapes)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape, self._initializers[0])
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.filters,), self._initializers[1])

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return self._windowed(shapes[0], self.filters)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        weight = emitter.weight(self.kernel, "OIHW", kernel_to_onnx)
        shape = self.compute_output_shape(inputs[0].shape)
        y = self._convolve(emitter, inputs[0], shape, weight, self.bias, self.groups)
        return self.activation.emit(emitter, y)


class Conv1D(Conv):
    spatial = 1
    ranks = (3,)
    paddings = ("valid", "same", "causal")


class Conv2D(Conv):
    spatial = 2
    ranks = (4,)


class Conv3D(Conv):
    spatial = 3
    ranks = (5,)


class DepthwiseConv(Window):
    """Each channel convolved with `depth_multiplier` kernels of its own:
    `[N, *S, C]` -> `[N, *S', C * depth_multiplier]`, kernel `[*K, C, depth_multiplier]`."""

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.depth_multiplier = positive(self, "depth_multiplier", depth_multiplier)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._initializers = depthwise_initializer, bias_initializer

    def build(self, *shapes: Shape) -> None:
        channels = self.fix(-1)
        self.compute_output_shape(*shapes)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight("kernel", shape, self._initializers[0])
        if self.use_bias:
            self.bias = self.add_weight("bias", (channels * self.depth_multiplier,), self._initializers[1])

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        channels = shapes[0][-1]
        assert channels is not None, "build refuses unknown channels"
        return self._windowed(shapes[0], channels * self.depth_multiplier)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        weight = emitter.weight(self.kernel, "depthwise", depthwise_to_onnx)
        y = self._convolve(
            emitter, x, self.compute_output_shape(x.shape), weight, self.bias, group=self.kernel.shape[-2]
        )
        return self.activation.emit(emitter, y)


class DepthwiseConv1D(DepthwiseConv):
    spatial = 1
    ranks = (3,)


class DepthwiseConv2D(DepthwiseConv):
    spatial = 2
    ranks = (4,)


class SeparableConv(Window):
    """A depthwise convolution, then one of 1x1 over its results: `[N, *S, C]` -> `[N, *S', filters]`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer = "glorot_uniform",
        pointwise_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = positive(self, "filters", filters)
        self.depth_multiplier = positive(self, "depth_multiplier", depth_multiplier)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._initializers = depthwise_initializer, pointwise_initializer, bias_initializer

    def build(self, *shapes: Shape) -> None:
        channels = self.fix(-1)
        self.compute_output_shape(*shapes)
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        pointwise = (*[1] * self.spatial, channels * self.depth_multiplier, self.filters)
        self.depthwise_kernel = self.add_weight("depthwise_kernel", depthwise, self._initializers[0])
        self.pointwise_kernel = self.add_weight("pointwise_kernel", pointwise, self._initializers[1])
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.filters,), self._initializers[2])

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return self._windowed(shapes[0], self.filters)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        shape = self.compute_output_shape(x.shape)
        channels, multiplier = self.depthwise_kernel.shape[-2:]
        weight = emitter.weight(self.depthwise_kernel, "depthwise", depthwise_to_onnx)
        y = self._convolve(emitter, x, (*shape[:-1], channels * multiplier), weight, None, group=channels)
        pointwise = [emitter.first(y), emitter.weight(self.pointwise_kernel, "OIHW", kernel_to_onnx)]
        y = Value(shape, emitter.node("Conv", [*pointwise, *emitter.bias(self.bias)]), first=True)
        return self.activation.emit(emitter, y)


class SeparableConv1D(SeparableConv):
    spatial = 1
    ranks = (3,)


class SeparableConv2D(SeparableConv):
    spatial = 2
    ranks = (4,)
