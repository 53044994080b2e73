"""Inputs and dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convc.frontends.dsl import activations
from convc.frontends.dsl.arguments import positive
from convc.frontends.dsl.convolution import kernel_to_onnx
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer, Weight
from convc.frontends.dsl.tensor import Shape, SymbolicTensor, connect

INPUT_DTYPES = ("float32", "uint8", "int8", "int16", "uint16", "int32", "int64", "bool")
"""What inputs may hold. All but float32 are converted to it before the first layer."""


class InputLayer(Layer):
    """Where a model begins: the tensor is its `output`."""

    stateless = True

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        batch_shape: Sequence[int | None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (shape is None) == (batch_shape is None):
            raise self.problem(f"expected either shape or batch_shape, got {shape!r} and {batch_shape!r}")
        given = (batch_size, *shape) if isinstance(shape, list | tuple) else batch_shape
        if not isinstance(given, list | tuple) or not all(_is_size(size) for size in given):
            raise self.problem(f"shape: expected a tuple of positive integers and None, got {shape or batch_shape!r}")
        dtype = str(dtype or "float32")
        if dtype not in INPUT_DTYPES:
            raise self.problem(f"dtype: expected one of {', '.join(INPUT_DTYPES)}, got {dtype!r}")
        node = connect(self, [], [tuple(given)], 0)
        node.outputs[0].dtype = dtype
        self._nodes.append(node)

    @property
    def tensor(self) -> SymbolicTensor:
        """What `Input` returns."""
        return self._nodes[0].outputs[0]


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, int | np.integer) and not isinstance(size, bool) and bool(size > 0))


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> SymbolicTensor:
    """The tensor of a new input. `shape` leaves the batch out; None is a size that is fixed when compiling."""
    return InputLayer(shape, batch_size, dtype, batch_shape, name=name).tensor


class Dense(Layer):
    """x @ kernel + bias over the last axis: `[..., C]` -> `[..., units]`, kernel `[C, units]`."""

    ranks = (2, 3, 4, 5)

    def __init__(
        self,
        units: int,
        activation: activations.Identifier = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation, self)
        self.use_bias = use_bias
        self.bias: Weight | None = None
        self._initializers = kernel_initializer, bias_initializer

    def build(self, *shapes: Shape) -> None:
        self.kernel = self.add_weight("kernel", (self.fix(-1, "features"), self.units), self._initializers[0])
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.units,), self._initializers[1])

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.units)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        bias = e.bias(self.bias)
        if x.is_first:  # over an image's channels it is a convolution of 1x1
            spatial = [1] * (x.rank - 2)
            weight = e.weight(self.kernel, f"OI{x.rank}", lambda k: kernel_to_onnx(k.reshape(*spatial, *k.shape)))
            name = e.node("Conv", [x.name, weight, *bias], kernel_shape=spatial)
        else:
            weight = e.weight(self.kernel, "IO", np.asarray)
            name = e.node("Gemm" if x.rank == 2 else "MatMul", [x.name, weight, *(bias if x.rank == 2 else [])])
            name = e.node("Add", [name, *bias]) if bias and x.rank > 2 else name
        return self.activation.emit(e, Value(self.compute_output_shape(x.shape), name, first=x.is_first))
