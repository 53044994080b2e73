"""Initial values of weights, drawn from a seed: two runs of one script make the same network.

The distributions are those of Keras's initialisers; the numbers drawn are not Keras's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import numpy as np

from convc.frontends.dsl.naming import snake_case

Draw: TypeAlias = Callable[[Sequence[int], np.random.Generator], np.ndarray]
Initializer: TypeAlias = str | Callable[[Sequence[int]], np.ndarray]
"""What `kernel_initializer` and its kind take: a name, or a function from a shape to an array."""

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a normal distribution cut at two standard deviations, as Keras divides by it."""

_seed, _drawn = 0, 0


def set_random_seed(seed: int) -> None:
    """Seed the weights of the layers built from here on. It is 0 until set."""
    global _seed, _drawn
    _seed, _drawn = seed, 0


@contextmanager
def own_seed() -> Iterator[None]:
    """Weights inside are drawn as in a new process, and those outside as if there were none inside."""
    global _seed, _drawn
    outside = _seed, _drawn
    set_random_seed(0)
    try:
        yield
    finally:
        _seed, _drawn = outside


def next_generator() -> Callable[[], np.random.Generator]:
    """Makes the generator of one weight, which is the same however late it is asked for."""
    global _drawn
    _drawn += 1
    return partial(np.random.default_rng, (_seed, _drawn))


def _fans(shape: Sequence[int]) -> tuple[int, int]:
    """(inputs, outputs) of one element: a kernel's last two axes, times the size of its window."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def _uniform(limit: float, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-limit, limit, shape)


def _truncated_normal(std: float, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return values * std


def _scaled(scale: float, mode: str, normal: bool, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Variance scale / fan (Glorot and Bengio, 2010; He et al., 2015)."""
    inputs, outputs = _fans(shape)
    variance = scale / max(1.0, inputs if mode == "fan_in" else (inputs + outputs) / 2)
    if normal:
        return _truncated_normal(math.sqrt(variance) / _TRUNCATED_STD, shape, rng)
    return _uniform(math.sqrt(3 * variance), shape, rng)


def _orthogonal(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Rows or columns that are orthonormal, whichever are fewer (Saxe et al., 2014)."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return (q if rows >= columns else q.T).reshape(shape)


_DRAWS: dict[str, Draw] = {
    "zeros": lambda shape, rng: np.zeros(shape),
    "ones": lambda shape, rng: np.ones(shape),
    "glorot_uniform": partial(_scaled, 1.0, "fan_avg", False),
    "glorot_normal": partial(_scaled, 1.0, "fan_avg", True),
    "he_uniform": partial(_scaled, 2.0, "fan_in", False),
    "he_normal": partial(_scaled, 2.0, "fan_in", True),
    "lecun_uniform": partial(_scaled, 1.0, "fan_in", False),
    "lecun_normal": partial(_scaled, 1.0, "fan_in", True),
    "random_uniform": partial(_uniform, 0.05),
    "random_normal": lambda shape, rng: rng.standard_normal(shape) * 0.05,
    "orthogonal": _orthogonal,
    "truncated_normal": partial(_truncated_normal, 0.05),
}


def draw(initializer: Initializer) -> Draw:
    """The function that draws a weight. Raises ValueError for a name that is none."""
    if callable(initializer):
        return lambda shape, rng: initializer(shape)
    found = _DRAWS.get(snake_case(initializer)) if isinstance(initializer, str) else None
    if found is None:
        raise ValueError(f"expected a function of a shape or one of {', '.join(_DRAWS)}, got {initializer!r}")
    return found
