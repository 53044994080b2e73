"""Positions in row-major memory and the indices of elements there, of numbers or of expressions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx


def flattened(index: Sequence[Any], shape: Sequence[int]) -> Any:
    """Where an element lies in memory of a shape; the inverse of `unravelled`."""
    flat: Any = 0
    for i, size in zip(index, shape, strict=True):
        flat = flat * size + i
    return flat


def strides_of(shape: Sequence[int]) -> list[int]:
    """How many elements apart neighbours along each axis lie."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def unravelled(flat: Any, shape: Sequence[int]) -> list[Any]:
    """The position of an element in memory of a shape."""
    result = []
    for axis, (size, stride) in enumerate(zip(shape, strides_of(shape))):
        place = tirx.floordiv(flat, stride)
        result.append(tirx.floormod(place, size) if axis else place)
    return result
