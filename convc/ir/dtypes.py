"""Element types: numpy's and the IR's names for the same thing."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import (
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    Signedness,
)
from xdsl.ir import Attribute

_TO_NUMPY: dict[Attribute, np.dtype] = {
    Float16Type(): np.dtype("float16"),
    Float32Type(): np.dtype("float32"),
    Float64Type(): np.dtype("float64"),
    IntegerType(1): np.dtype("bool"),
    **{IntegerType(n): np.dtype(f"int{n}") for n in (8, 16, 32, 64)},
    **{IntegerType(n, Signedness.UNSIGNED): np.dtype(f"uint{n}") for n in (8, 16, 32, 64)},
}
_FROM_NUMPY = {dtype: attribute for attribute, dtype in _TO_NUMPY.items()}


def to_numpy(element: Attribute) -> np.dtype:
    """f32 -> float32, i1 -> bool, ui8 -> uint8 ... Raises ValueError for a type that convc does not hold."""
    try:
        return _TO_NUMPY[element]
    except KeyError:
        raise ValueError(f"element type {element} is not supported; known: {_known()}") from None


def from_numpy(dtype: np.dtype | type | str) -> Attribute:
    """The inverse of `to_numpy`."""
    try:
        return _FROM_NUMPY[np.dtype(dtype)]
    except (KeyError, TypeError):
        raise ValueError(f"element type {dtype} is not supported; known: {_known()}") from None


def is_float(element: Attribute) -> bool:
    """Whether arithmetic on this element type is floating-point."""
    return to_numpy(element).kind == "f"


def _known() -> str:
    return ", ".join(str(dtype) for dtype in _FROM_NUMPY)
