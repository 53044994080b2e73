"""Powers in single precision, computed in double: x**y = 2**(y log2 x). A logarithm in single precision would lose as
many bits as y log2 x has before the point, up to seven."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import tirx

from convc.targets import float32, float64
from convc.targets.lets import Lets

# log2(m) = 2 / ln 2 * (s + s**3 / 3 + s**5 / 5 ...), s = (m - 1) / (m + 1), highest power first. On sqrt(1/2) <= m <
# sqrt(2) what is left out is 2**-39 of the sum.
_LOG2 = tuple(2 / math.log(2) / (2 * k + 1) for k in reversed(range(7)))
# 2**r = sum of (r ln 2)**k / k! for |r| <= 1/2: what is left out is 2**-27 of the sum, an eighth of a unit.
_EXP2 = tuple(math.log(2) ** k / math.factorial(k) for k in reversed(range(8)))
_BEYOND = 160.0
"""2 to this power is infinite in single precision, and 2 to its negative is 0."""


def pow(x: Any, y: Any) -> Any:
    """x**y within a unit in the last place, with C's results at zeros, infinities, NaN and negative x."""
    let = Lets()
    x, y = let(_single(x)), let(_single(y))
    logarithm, factor = _log2(let, tirx.abs(x)), let(float64.widened(y))
    # Not even NaN or an infinity makes 1**y or x**0 other than 1.
    one = tirx.Or(logarithm == float64.const(0), factor == float64.const(0))
    t = tirx.Select(one, float64.const(0), factor * logarithm)
    return let.result(_with_sign(x, y, let(tirx.Cast("float32", _exp2(let, t)))))


def _log2(let: Lets, x: Any) -> Any:
    """The logarithm of what is not negative: infinities at its ends."""
    x = let(x)
    denormal = x < float32.const(2.0**-126)
    bits = let(tirx.reinterpret("int32", tirx.Select(denormal, x * float32.const(2.0**23), x)))
    exponent = let((bits - 0x3F3504F3) >> 23)  # of bits / sqrt(1/2)
    m = let(float64.widened(tirx.reinterpret("float32", bits - (exponent << 23))))
    s = let((m - float64.const(1)) / (m + float64.const(1)))
    shift = tirx.Select(denormal, tirx.const(23, "int32"), tirx.const(0, "int32"))
    value = s * float64.polynomial(let(s * s), _LOG2) + float64.widened(exponent - shift)
    value = let(tirx.Select(x < float32.const(math.inf), value, float64.widened(x)))  # infinity and NaN
    zero, lowest = float32.const(0), float64.const(-math.inf)
    return let(tirx.Select(x > zero, value, tirx.Select(x == zero, lowest, value)))


def _exp2(let: Lets, x: Any) -> Any:
    x = let(tirx.Select(x > float64.const(_BEYOND), float64.const(_BEYOND), x))
    x = let(tirx.Select(x < float64.const(-_BEYOND), float64.const(-_BEYOND), x))
    n = let(float64.nearest(x))
    scale = tirx.reinterpret("float64", tirx.Cast("int64", n + 1023) << tirx.const(52, "int64"))
    return float64.polynomial(let(x - float64.widened(n)), _EXP2) * scale


def _with_sign(x: Any, y: Any, magnitude: Any) -> Any:
    """The power of x from that of |x|: negative for odd y, and no number for a y that is no integer, unless x is
    infinite."""
    zero = float32.const(0)
    whole = tirx.floor(y) == y
    even = tirx.floor(y * float32.const(0.5)) * float32.const(2) == y
    below = tirx.reinterpret("int32", x) < 0  # -0, too
    odd = tirx.And(below, tirx.And(whole, tirx.Not(even)))
    signed = tirx.Select(odd, -magnitude, magnitude)
    finite = tirx.And(x < zero, x > float32.const(-math.inf))
    return tirx.Select(finite, tirx.Select(whole, signed, float32.const(math.nan)), signed)


def _single(x: Any) -> Any:
    """TVM keeps the digits of a constant that its type has no room for, and would hand them on to double precision."""
    return float32.const(float(np.float32(x.value))) if isinstance(x, tirx.FloatImm) else x
