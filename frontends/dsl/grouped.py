"""Normalisations of each example: of groups of channels, and by the length of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convc.frontends.dsl.arguments import axes_of, axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer, Weight
from convc.frontends.dsl.tensor import Shape


class GroupNormalization(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta with the moments of each example over each of `groups` of
    channels (Wu and He, 2018); -1: a group a channel, which is instance normalisation."""

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Initializer = "zeros",
        gamma_initializer: Initializer = "ones",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not isinstance(groups, int) or isinstance(groups, bool) or (groups < 1 and groups != -1):
            raise self.problem(f"groups: expected a positive integer, or -1 for a group a channel, got {groups!r}")
        self.groups, self.axis, self.epsilon = groups, axis, float(epsilon)
        self.center, self.scale = center, scale
        self.gamma: Weight | None = None
        self.beta: Weight | None = None
        self._initializers = gamma_initializer, beta_initializer

    def build(self, *shapes: Shape) -> None:
        if axis_of(self, self.axis, len(shapes[0])) == 0:
            raise self.problem("axis: expected another axis than the batch's, got 0")
        size = self.fix(self.axis)
        if self.groups == -1:
            self.groups = size
        if size % self.groups:
            raise self.problem(f"expected channels divisible by {self.groups} groups, got {size}")
        if self.scale:
            self.gamma = self.add_weight("gamma", (size,), self._initializers[0])
        if self.center:
            self.beta = self.add_weight("beta", (size,), self._initializers[1])

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        """ONNX normalises instances, `[N, channels, ...]`: groups are the channels of a reshaped value."""
        x, e = inputs[0], emitter
        axis = axis_of(self, self.axis, x.rank)
        place = x.axis(axis)
        perm = [0, place, *(i for i in range(1, x.rank) if i != place)]
        name = x.name if place == 1 else e.first(x) if axis == x.rank - 1 else e.node("Transpose", [x.name], perm=perm)
        one, zero = (
            e.constant(np.full(self.groups, value, np.float32), what) for value, what in ((1, "one"), (0, "zero"))
        )
        grouped = e.node("Reshape", [name, e.ints([0, self.groups, -1], "groups")])
        grouped = e.node("InstanceNormalization", [grouped, one, zero], epsilon=self.epsilon)
        y = e.node("Reshape", [grouped, e.node("Shape", [name])])
        line = [-1] + [1] * (x.rank - 2)
        for op, weight in (("Mul", self.gamma), ("Add", self.beta)):
            if weight:
                y = e.node(op, [y, e.weight(weight, f"C{x.rank}", lambda array: array.reshape(line))])
        if place != 1 and axis != x.rank - 1:
            return Value(x.shape, e.node("Transpose", [y], perm=np.argsort(perm).tolist()), first=x.is_first)
        return Value(x.shape, y, first=axis == x.rank - 1)


def _mean_over(e: Emitter, x: Value, axes: Sequence[int]) -> Value:
    return Value(x.shape, e.node("ReduceMean", [x.name], axes=sorted(map(x.axis, axes))), first=x.is_first)


class UnitNormalization(Layer):
    """x / sqrt(sum(x^2)) over `axis`."""

    stateless = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        axes_of(self, self.axis, len(shapes[0]))
        return shapes[0]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        axes = sorted(map(x.axis, axes_of(self, self.axis, x.rank)))
        length = Value(x.shape, e.node("ReduceL2", [x.name], axes=axes), first=x.is_first)
        return e.apply("Div", x, e.apply("Max", length, 1e-12))


class RMSNormalization(Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale over the last axes (Zhang and Sennrich, 2019)."""

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(**options)
        self.axis, self.epsilon = axis, float(epsilon)

    def _axes(self, rank: int) -> list[int]:
        axes = sorted(axes_of(self, self.axis, rank))
        if axes != list(range(rank - len(axes), rank)) or 0 in axes:
            raise self.problem(f"axis: expected the last axes of an input of rank {rank}, got {self.axis!r}")
        return axes

    def build(self, *shapes: Shape) -> None:
        sizes = {axis: self.fix(axis, "elements") for axis in self._axes(len(shapes[0]))}
        self._line = [sizes.get(axis, 1) for axis in range(len(shapes[0]))]
        self.scale = self.add_weight("scale", tuple(sizes.values()), "ones")

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        square = _mean_over(e, e.apply("Mul", x, x), self._axes(x.rank))
        y = e.apply("Div", x, e.apply("Sqrt", e.apply("Add", square, self.epsilon)))
        return e.affine(y, self.scale.numpy().reshape(self._line), np.zeros(1))
