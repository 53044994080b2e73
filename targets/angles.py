"""Sines and cosines in single precision, of angles of any size.

What an angle leaves of whole turns is exact: 1 / (2 pi) comes in parts so short that the product of each with the angle
is a double, and so is what that leaves of whole turns (Payne and Hanek, "Radian reduction for trigonometric functions",
SIGNUM Newsletter 18, 1983). All lanes of a vector do the same, whether or not an angle is so large that it needs it.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from convc.targets import float32, float64
from convc.targets.lets import Lets

_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561
"""The first 256 bits of 2 / pi behind the point."""
_BITS = 29
"""Of a part: with 24 of the angle they fit in a double."""
_PARTS = 7
"""The last bits have the weight 2**-205: of the largest angle, 2**128, they make 2**-77 of a turn."""
# (sin(x) - x) / x**3 and (cos(x) - 1 + x**2 / 2) / x**4 in x**2 for |x| <= pi / 4, highest power first.
# Cephes, single/sinf.c.
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def sin(x: Any) -> Any:
    """NaN at the infinities."""
    return _circular(x, 0)


def cos(x: Any) -> Any:
    """NaN at the infinities."""
    return _circular(x, 1)


def _circular(x: Any, quarters: int) -> Any:
    """The sine of an angle and so many quarters of a turn."""
    let = Lets()
    wide = let(float64.widened(x))
    products = [let(wide * float64.const(part)) for part in _parts()]
    turns = [let(product - tirx.nearbyint(product)) for product in products]
    total = turns[0]
    for turn in turns[1:]:
        total = total + turn
    n = let(float64.nearest(total * float64.const(4)))
    # The largest parts first, less the quarters: only small numbers are added then, and nothing is rounded off.
    rest = turns[0] - float64.widened(n) * float64.const(0.25)
    for turn in turns[1:]:
        rest = rest + turn
    angle = let(tirx.Cast("float32", rest * float64.const(2 * math.pi)))
    square = let(angle * angle)
    sine = float32.polynomial(square, _SIN) * square * angle + angle
    cosine = float32.polynomial(square, _COS) * square * square - float32.const(0.5) * square + float32.const(1)
    quarter = let(n + quarters)
    value = let(tirx.Select((quarter & 1) == 0, sine, cosine))
    return let.result(tirx.Select((quarter & 2) == 0, value, -value))


def _parts() -> list[float]:
    """1 / (2 pi), the highest bits first."""
    first = 256 - _BITS
    fields = [(_TWO_OVER_PI >> (first - i * _BITS)) & ((1 << _BITS) - 1) for i in range(_PARTS)]
    return [math.ldexp(field, -(i + 1) * _BITS - 2) for i, field in enumerate(fields)]
