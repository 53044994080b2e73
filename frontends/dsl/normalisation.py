"""Normalisations as they are at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convc.frontends.dsl.arguments import axes_of, axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer, Weight
from convc.frontends.dsl.tensor import Shape


class BatchNormalization(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta with the moving statistics, `[C]` along one axis."""

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initializer = "zeros",
        gamma_initializer: Initializer = "ones",
        moving_mean_initializer: Initializer = "zeros",
        moving_variance_initializer: Initializer = "ones",
        **options: Any,
    ) -> None:
        """`momentum` is taken for Keras's sake: only training uses it."""
        super().__init__(**options)
        self.axis, self.epsilon = axis, float(epsilon)
        self.center, self.scale = center, scale
        self.gamma: Weight | None = None
        self.beta: Weight | None = None
        self._initializers = gamma_initializer, beta_initializer, moving_mean_initializer, moving_variance_initializer

    def build(self, *shapes: Shape) -> None:
        axis_of(self, self.axis, len(shapes[0]))
        shape = (self.fix(self.axis),)
        gamma, beta, mean, variance = self._initializers
        if self.scale:
            self.gamma = self.add_weight("gamma", shape, gamma)
        if self.center:
            self.beta = self.add_weight("beta", shape, beta)
        self.moving_mean = self.add_weight("moving_mean", shape, mean, trainable=False)
        self.moving_variance = self.add_weight("moving_variance", shape, variance, trainable=False)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, size = inputs[0], self.moving_mean.size
        axis = axis_of(self, self.axis, x.rank)
        if axis != x.rank - 1:
            return self._along(emitter, x, axis)
        gamma, beta = (
            emitter.weight(weight, "C", np.asarray) if weight else emitter.constant(np.full(size, other), what)
            for weight, other, what in ((self.gamma, np.float32(1), "gamma"), (self.beta, np.float32(0), "beta"))
        )
        moments = [emitter.weight(weight, "C", np.asarray) for weight in (self.moving_mean, self.moving_variance)]
        inputs_ = [emitter.first(x), gamma, beta, *moments]
        return Value(x.shape, emitter.node("BatchNormalization", inputs_, epsilon=self.epsilon), first=True)

    def _along(self, emitter: Emitter, x: Value, axis: int) -> Value:
        """Along another axis than the channels': x * scale + shift, which broadcast."""
        scale = 1 / np.sqrt(self.moving_variance.numpy().astype(np.float64) + self.epsilon)
        scale = scale * self.gamma.numpy() if self.gamma else scale
        shift = (self.beta.numpy() if self.beta else 0) - self.moving_mean.numpy() * scale
        line = [-1] + [1] * (x.rank - 1 - axis)
        return emitter.affine(x, scale.reshape(line), shift.reshape(line))


class LayerNormalization(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta with the moments of each example over `axis`."""

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initializer = "zeros",
        gamma_initializer: Initializer = "ones",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.axis, self.epsilon = axis, float(epsilon)
        self.center, self.scale = center, scale
        self.gamma: Weight | None = None
        self.beta: Weight | None = None
        self._initializers = gamma_initializer, beta_initializer

    def _axes(self, rank: int) -> list[int]:
        axes = sorted(axes_of(self, self.axis, rank))
        if len(set(axes)) != len(axes) or 0 in axes:
            raise self.problem(f"axis: expected distinct axes other than the batch's, got {self.axis!r}")
        return axes

    def build(self, *shapes: Shape) -> None:
        self._sizes = shape = [self.fix(axis, "elements") for axis in self._axes(len(shapes[0]))]
        if self.scale:
            self.gamma = self.add_weight("gamma", shape, self._initializers[0])
        if self.center:
            self.beta = self.add_weight("beta", shape, self._initializers[1])

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        axes = self._axes(x.rank)
        if axes == list(range(axes[0], x.rank)):
            gamma = (
                emitter.weight(self.gamma, "last", np.asarray)
                if self.gamma
                else emitter.constant(np.ones(self._sizes, np.float32), "gamma")
            )
            beta = [emitter.weight(self.beta, "last", np.asarray)] if self.beta else []
            operands = [emitter.last(x), gamma, *beta]
            name = emitter.node("LayerNormalization", operands, axis=axes[0], epsilon=self.epsilon)
            return Value(x.shape, name, first=False)
        return self._over(emitter, x, axes)

    def _over(self, emitter: Emitter, x: Value, axes: Sequence[int]) -> Value:
        """Over axes that are not the last ones, which ONNX's operator cannot: written out in the order that x has."""
        places = sorted(x.axis(axis) for axis in axes)

        def mean(value: Value) -> Value:
            return Value(x.shape, emitter.node("ReduceMean", [value.name], axes=places), first=x.is_first)

        centred = emitter.apply("Sub", x, mean(x))
        variance = mean(emitter.apply("Mul", centred, centred))
        y = emitter.apply("Div", centred, emitter.apply("Sqrt", emitter.apply("Add", variance, self.epsilon)))
        shape = [self._sizes[axes.index(axis)] if axis in axes else 1 for axis in range(x.rank)]
        for op, weight in (("Mul", self.gamma), ("Add", self.beta)):
            if weight:
                order = "first" if x.is_first else "last"
                name = emitter.weight(weight, order, lambda array: x.arranged(array.reshape(shape)))
                y = Value(x.shape, emitter.node(op, [y.name, name]), first=x.is_first)
        return y
