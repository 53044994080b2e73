"""Single-precision functions as polynomials, so that a loop over them stays one vector instruction after another.

A call into the C library inside a vectorised loop is made lane by lane, at 10 to 30 times the cost. Errors are
within 4 ulp (tests/targets/test_functions.py sweeps all magnitudes); NaN stays NaN.

TVM's simplifier treats floats as reals in places (`(x + c) - c` becomes `x`). What depends on rounding goes
through integer bits, which it leaves alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import tirx

from convc.targets.lets import Lets

_LOG2_E = 1.44269504088896341
# ln 2 in two parts; n * _LN2_HIGH is exact for every exponent n (Cephes).
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# 1.5 * 2**23: adding it rounds to an integer, which then lies in the lowest bits.
_ROUNDER, _ROUNDER_BITS = 12582912.0, 0x4B400000
# (e**r - 1 - r) / r**2 on |r| <= ln(2) / 2, highest power first: e**r is then within 4e-9 of itself. Weighted least
# squares with the weights moved to where the error is largest (Lawson's algorithm).
_EXP = (1.381454011e-3, 8.368745149e-3, 4.166839079e-2, 1.66665204e-1, 4.999999343e-1)
# The same with a term less, by the same method: within 1.05e-7, one in the last place.
_EXP_SHORT = (8.312501432e-3, 4.189033218e-2, 1.666711539e-1, 4.999923030e-1)
# (log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) <= 1 + f < sqrt(2). Cephes, single/logf.c.
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
# erf(x) / x - 1 in x**2 for |x| <= _ERF_SPLIT, and log(1 - erf(x)) / x + 1 in x above: N. Juffa's erff, with the
# same coefficients as in onnxruntime's MLAS (erf.cpp).
_ERF_SPLIT = 0.921875
_ERF_SMALL = (
    -5.96761703e-4,
    4.99119423e-3,
    -2.67681349e-2,
    1.12819925e-1,
    -3.76125336e-1,
    1.28379166e-1,
)
_ERF_LARGE = (
    -1.72853470e-5,
    3.83197126e-4,
    -3.88396438e-3,
    2.42546219e-2,
    -1.06777877e-1,
    -6.34846687e-1,
    -1.28717512e-1,
)

# (atan(x) - x) / x**3 in x**2 for |x| <= 1, highest power first: N. Juffa's atanf.
_ATAN = (
    2.78569828e-3,
    -1.58660226e-2,
    4.24722321e-2,
    -7.49753043e-2,
    1.06448799e-1,
    -1.42070308e-1,
    1.99934542e-1,
    -3.33331466e-1,
)
_HALF_PI, _HALF_PI_LOW = 1.57079637, -4.37113883e-8


def const(value: float) -> Any:
    return tirx.const(value, "float32")


def at_most(x: Any, bound: float) -> Any:
    """min(x, bound) that keeps NaN; one instruction on x86 (its min returns the second operand then)."""
    return tirx.Select(x > const(bound), const(bound), x)


def at_least(x: Any, bound: float) -> Any:
    """max(x, bound) that keeps NaN."""
    return tirx.Select(x < const(bound), const(bound), x)


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's rule, highest power first."""
    result = const(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + const(coefficient)
    return result


def exp(x: Any) -> Any:
    """e**x over the whole range: denormal results are rounded once, overflow is infinity."""
    let = Lets()
    n, r = _reduce(let, at_least(at_most(let(x), 89.0), -104.0))
    value = polynomial(r, (*_EXP, 1, 1))
    # 2**n in two factors, either of which has an exponent: n is in [-150, 128].
    half = let(n >> 1)
    return let.result(value * _power_of_two(half) * _power_of_two(n - half))


def exp_flushing(x: Any, sign: int = 1, coefficients: Sequence[float] = _EXP_SHORT) -> Any:
    """e**(sign x) where results outside [2**-126.5, 2**127.5] may become 0 and infinity, and all are within 2 ulp:
    cheaper, and enough where it is added to something else."""
    let = Lets()
    low, high = sorted((sign * -88.0, sign * 88.5))
    n, r = _reduce(let, at_least(at_most(let(x), high), low), sign)
    return let.result(polynomial(r, (*coefficients, 1, 1)) * _power_of_two(n))


def expm1(x: Any) -> Any:
    """e**x - 1 for x <= 88, exact to a few ulp around 0 too."""
    let = Lets()
    n, r = _reduce(let, at_least(let(x), -30.0))
    scale = let(_power_of_two(n))
    return let.result(scale * (r * r * polynomial(r, _EXP) + r) + (scale - const(1)))


def log(x: Any) -> Any:
    """The natural logarithm; -inf at 0, NaN below."""
    let = Lets()
    x = let(x)
    denormal = x < const(2.0**-126)
    bits = let(tirx.reinterpret("int32", tirx.Select(denormal, x * const(2.0**23), x)))
    exponent = let((bits - 0x3F3504F3) >> 23)  # of bits / sqrt(1/2)
    f = let(tirx.reinterpret("float32", bits - (exponent << 23)) - const(1))
    e = let(tirx.Cast("float32", exponent) - tirx.Select(denormal, const(23), const(0)))
    square = let(f * f)
    y = polynomial(f, _LOG) * f * square + e * const(_LN2_LOW) - square * const(0.5)
    value = f + y + e * const(_LN2_HIGH)
    value = tirx.Select(x < const(math.inf), value, x)  # infinity and NaN
    outside = tirx.Select(x < const(0), const(math.nan), const(-math.inf))
    return let.result(tirx.Select(x <= const(0), outside, value))


def log1p_of_unit(u: Any) -> Any:
    """log(1 + u) for 0 <= u <= 1, by the series 2 atanh(s), s = u / (2 + u) <= 1/3."""
    let = Lets()
    u = let(u)
    s = let(u / (u + const(2)))
    square = let(s * s)
    series = polynomial(square, [1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3])
    return let.result(const(2) * (s + s * square * series))


def tanh(x: Any) -> Any:
    """t / (t + 2), t = e**2x - 1; it rounds to 1 from 9.02."""
    let = Lets()
    t = let(expm1(const(2) * at_least(at_most(let(x), 10.0), -10.0)))
    return let.result(t / (t + const(2)))


def sigmoid(x: Any) -> Any:
    return const(1) / (const(1) + exp_flushing(x, -1))


def silu(x: Any) -> Any:
    let = Lets()
    x = let(x)
    return let.result(x / (const(1) + exp_flushing(x, -1)))


def erf(x: Any) -> Any:
    let = Lets()
    x = let(x)
    t = let(tirx.abs(x))
    large = let(const(1) - _erfc_large(t))
    return let.result(tirx.Select(t > const(_ERF_SPLIT), tirx.Select(x < const(0), -large, large), _erf_small(let, x)))


def atan(x: Any) -> Any:
    """pi / 2 - atan(1 / x) where x is larger than 1."""
    let = Lets()
    x = let(x)
    size = let(tirx.abs(x))
    t = let(tirx.Select(size > const(1), const(1) / size, size))
    square = let(t * t)
    near = let(square * polynomial(square, _ATAN) * t + t)
    far = const(_HALF_PI) - (near - const(_HALF_PI_LOW))
    angle = let(tirx.Select(size > const(1), far, near))
    return let.result(tirx.Select(tirx.reinterpret("int32", x) < 0, -angle, angle))


def gelu(x: Any) -> Any:
    """x (1 + erf(x / sqrt 2)) / 2, without the cancellation in 1 + erf for negative x."""
    let = Lets()
    x = let(x)
    z = let(x * const(math.sqrt(0.5)))
    t = let(tirx.abs(z))
    tail = let(const(0.5) * _erfc_large(t))
    small = const(0.5) + const(0.5) * _erf_small(let, z)
    large = tirx.Select(x > const(0), const(1) - tail, tail)
    return let.result(x * tirx.Select(t > const(_ERF_SPLIT), large, small))


def mish(x: Any) -> Any:
    """x tanh(log(1 + e**x)) = x n / (n + 2), n = e**x (e**x + 2); the factor rounds to 1 from 9."""
    let = Lets()
    x = let(x)
    e = let(exp_flushing(at_most(x, 20.0), coefficients=_EXP))  # its square matters
    n = let(e * (e + const(2)))
    return let.result(x * (n / (n + const(2))))


def softplus(x: Any) -> Any:
    """log(1 + e**x) = max(x, 0) + log(1 + e**-|x|)."""
    let = Lets()
    x = let(x)
    return let.result(at_least(x, 0.0) + log1p_of_unit(exp_flushing(-tirx.abs(x))))


def _reduce(let: Lets, x: Any, sign: int = 1) -> tuple[Any, Any]:
    """(n, r) with sign x = n ln 2 + r, |r| <= ln(2) / 2 and n an int32."""
    x = let(x)
    bits = let(tirx.reinterpret("int32", x * const(sign * _LOG2_E) + const(_ROUNDER)))
    n = let(tirx.reinterpret("float32", bits) - const(_ROUNDER))
    r = let((x if sign > 0 else -x) - n * const(_LN2_HIGH))
    return let(bits - _ROUNDER_BITS), let(r - n * const(_LN2_LOW))


def _power_of_two(n: Any) -> Any:
    """2**n for an int32 n in [-126, 127]; 0 and infinity at -127 and 128."""
    return tirx.reinterpret("float32", (n + 127) << 23)


def _erf_small(let: Lets, x: Any) -> Any:
    return x + x * polynomial(let(x * x), _ERF_SMALL)


def _erfc_large(t: Any) -> Any:
    return exp_flushing(polynomial(t, _ERF_LARGE) * t - t)
