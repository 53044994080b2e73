"""Layers of the networks in keras.applications that are not among keras.layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from convc.frontends import dsl
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.regularisation import Unchanged
from convc.frontends.dsl.tensor import Shape


class LayerScale(dsl.Layer):
    """x * gamma, one number a channel: of ConvNeXt (Touvron et al., 2021)."""

    def __init__(self, init_values: float, projection_dim: int, **options: Any) -> None:
        super().__init__(**options)
        self.init_values, self.projection_dim = float(init_values), projection_dim

    def build(self, *shapes: Shape) -> None:
        if self.fix(-1) != self.projection_dim:
            raise self.problem(f"expected an input of {self.projection_dim} channels, got {shapes[0]}")
        self.gamma = self.add_weight("gamma", (self.projection_dim,), lambda shape: np.full(shape, self.init_values))

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return emitter.affine(inputs[0], self.gamma.numpy(), np.zeros(1))


class StochasticDepth(Unchanged):
    """Nothing at inference: of ConvNeXt (Huang et al., 2016)."""

    def __init__(self, drop_path_rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.drop_path_rate = drop_path_rate


class CustomScaleLayer(dsl.Layer):
    """x + scale * y: the residual of Inception-ResNet v2."""

    merges = True
    counts = (2,)

    def __init__(self, scale: float, **options: Any) -> None:
        super().__init__(**options)
        self.scale = float(scale)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, y = inputs
        return emitter.apply("Add", x, emitter.apply("Mul", y, self.scale))


LAYERS: dict[tuple[str, str], type[dsl.Layer]] = {
    ("keras.src.applications.convnext", "LayerScale"): LayerScale,
    ("keras.src.applications.convnext", "StochasticDepth"): StochasticDepth,
    ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"): CustomScaleLayer,
}
"""By the module and the name that files have."""
