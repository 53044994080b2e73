"""Double precision inside kernels of single precision, where that would lose bits on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

# 1.5 * 2**52: adding it rounds to an integer, which then lies in the lowest bits.
_ROUNDER = 1.5 * 2.0**52


def const(value: float) -> Any:
    return tirx.const(value, "float64")


def widened(x: Any) -> Any:
    """A number of another type."""
    return tirx.Cast("float64", x)


def nearest(x: Any) -> Any:
    """The integer next to a number that fits in 32 bits."""
    return tirx.Cast("int32", tirx.reinterpret("int64", x + const(_ROUNDER)))


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's rule, highest power first."""
    result = const(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + const(coefficient)
    return result
