"""What only training uses: nothing at inference."""

from __future__ import annotations

from typing import Any

from convc.frontends.dsl.arguments import number
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer


class Unchanged(Layer):
    """Its input, as it is."""

    stateless = True

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        return inputs[0]


class Identity(Unchanged):
    """What it is given, in training too."""


class Dropout(Unchanged):
    """Nothing at inference."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **options: Any) -> None:
        """`noise_shape` and `seed` are taken for Keras's sake: only training uses them."""
        super().__init__(**options)
        self.rate = number(self, "rate", rate, 0, 1)


class AlphaDropout(Dropout):
    """Nothing at inference."""


class GaussianDropout(Unchanged):
    """Nothing at inference."""

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = number(self, "rate", rate, 0, 1)


class GaussianNoise(Unchanged):
    """Nothing at inference."""

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.stddev = number(self, "stddev", stddev, 0, 1)


class ActivityRegularization(Unchanged):
    """Nothing at inference."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.l1, self.l2 = l1, l2


class SpatialDropout(Unchanged):
    """Nothing at inference: in training, whole channels are dropped."""

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.set_data_format(data_format)
        self.rate = number(self, "rate", rate, 0, 1)


class SpatialDropout1D(SpatialDropout):
    ranks = (3,)

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, None, seed, **options)


class SpatialDropout2D(SpatialDropout):
    ranks = (4,)


class SpatialDropout3D(SpatialDropout):
    ranks = (5,)
