"""Activations as layers of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convc.frontends.dsl import activations
from convc.frontends.dsl.arguments import axes_of, axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape


def _at_least_zero(layer: Layer, name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not value >= 0:
        raise layer.problem(f"{name}: expected a number of at least 0, got {value!r}")
    return float(value)


class Activation(Layer):
    """Any activation, by its name or as a function."""

    stateless = True

    def __init__(self, activation: activations.Identifier, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation, self)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return self.activation.emit(emitter, inputs[0])


class ReLU(Layer):
    """x above the threshold, at most max_value; below it negative_slope * (x - threshold)."""

    stateless = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _at_least_zero(self, "max_value", max_value)
        self.negative_slope = _at_least_zero(self, "negative_slope", negative_slope)
        self.threshold = _at_least_zero(self, "threshold", threshold)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        if self.negative_slope and self.max_value is None and not self.threshold:
            return e.apply("LeakyRelu", x, alpha=self.negative_slope)
        y = e.apply("ThresholdedRelu", x, alpha=self.threshold) if self.threshold else x
        if self.max_value is not None:
            y = e.apply("Clip", y, 0, self.max_value)
        elif not self.threshold:
            y = e.apply("Relu", y)
        if not self.negative_slope:
            return y
        below = e.apply("Relu", e.apply("Sub", self.threshold, x) if self.threshold else e.apply("Neg", x))
        return e.apply("Sub", y, e.apply("Mul", below, self.negative_slope))


class LeakyReLU(Layer):
    """x, or negative_slope * x below 0."""

    stateless = True

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = _at_least_zero(self, "negative_slope", negative_slope)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return emitter.apply("LeakyRelu", inputs[0], alpha=self.negative_slope)


class ELU(Layer):
    """x, or alpha * (exp(x) - 1) below 0."""

    stateless = True

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = float(alpha)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return emitter.apply("Elu", inputs[0], alpha=self.alpha)


class PReLU(Layer):
    """x, or alpha * x below 0; alpha is of the input's shape, with 1 for each of the `shared_axes`."""

    def __init__(
        self, alpha_initializer: Initializer = "zeros", shared_axes: int | Sequence[int] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else list(shared_axes or ())
        self._initializer = alpha_initializer

    def build(self, *shapes: Shape) -> None:
        rank = len(shapes[0])
        shared = {axis_of(self, axis, rank) for axis in self.shared_axes}
        shape = [1 if axis in shared else self.fix(axis, "elements") for axis in range(1, rank)]
        self.alpha = self.add_weight("alpha", shape, self._initializer)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        alpha = emitter.weight(self.alpha, "first" if x.is_first else "last", x.arranged)
        return Value(x.shape, emitter.node("PRelu", [x.name, alpha]), first=x.is_first)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over one axis, or over several together."""

    stateless = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        axes_of(self, self.axis, len(shapes[0]))
        return shapes[0]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        axes = [x.axis(axis) for axis in axes_of(self, self.axis, x.rank)]
        if len(axes) == 1:
            return e.apply("Softmax", x, axis=axes[0])
        total = Value(x.shape, e.node("ReduceLogSumExp", [x.name], axes=sorted(axes)), first=x.is_first)
        return e.apply("Exp", e.apply("Sub", x, total))
