"""The elementwise functions as tensor expressions. Their meaning is the numpy column of convc/ir/functions.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import tirx

from convc.ir.functions import FUNCTIONS, Fn
from convc.targets import float32
from convc.targets.lets import Lets, opaque


def apply(fn: Fn, operands: Sequence[Any], params: Mapping[str, float]) -> Any:
    """The value of `fn` at scalar expressions. Besides its own, POW takes the parameter `positive`, if its base is."""
    dtype = str(operands[-1].ty.dtype)
    if dtype == "float16":
        # Single precision holds every product and sum of halves well enough that rounding twice is rounding once.
        wide = [tirx.Cast("float32", x) if str(x.ty.dtype) == "float16" else x for x in operands]
        result = apply(fn, wide, params)
        return result if FUNCTIONS[fn].predicate else tirx.Cast("float16", result)
    let = Lets()
    named = [let(x) for x in operands]
    table = _FLOAT if dtype.startswith("float") else _INTEGER
    rule = table.get(fn) or _ANY.get(fn)
    if rule is None:
        raise NotImplementedError(f"{fn} of {dtype} operands is not supported")
    return let.inlined(rule(*named, **params))


OF_EQUALS = frozenset({Fn.SUB, Fn.EQUAL, Fn.GREATER, Fn.GREATER_OR_EQUAL, Fn.LESS, Fn.LESS_OR_EQUAL})
"""What TVM's simplifier, to which floats are reals, knows of two equal operands without looking at them. x - x is not 0
where x is infinite, and NaN does not equal itself: `unlike` keeps it from knowing that they are equal."""


def unlike(x: Any) -> Any:
    """A float that TVM's simplifier does not compare with others; any other number as it is."""
    return opaque(x) if _is_float(x) else x


def _multiply(a: Any, b: Any) -> Any:
    return _hidden_zero(a) * _hidden_zero(b)


def _hidden_zero(x: Any) -> Any:
    """A factor that TVM takes a product for 0 by, whatever the other is: infinity times it is NaN."""
    return opaque(x) if isinstance(x, tirx.FloatImm) and x.value == 0 else x


def _like(x: Any, value: float) -> Any:
    return tirx.const(value, x.ty.dtype)


def _is_single(x: Any) -> bool:
    return str(x.ty.dtype) == "float32"


def _libm(name: str) -> Callable[..., Any]:
    """The C library's function: exact, and called once for each lane of a vector."""

    def call(*operands: Any) -> Any:
        dtype = operands[0].ty.dtype
        return tirx.call_pure_extern(dtype, name + ("f" if _is_single(operands[0]) else ""), *operands)

    return call


def _by_width(single: Callable[[Any], Any], double: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: single(x) if _is_single(x) else double(x)


_exp = _by_width(float32.exp, _libm("exp"))
_tanh = _by_width(float32.tanh, _libm("tanh"))
_expm1_below = _by_width(float32.expm1, _libm("expm1"))  # for x <= 0


def _at_least(x: Any, bound: Any) -> Any:
    """max(x, bound) that keeps a NaN in x."""
    return tirx.Select(x < bound, bound, x)


def _at_most(x: Any, bound: Any) -> Any:
    return tirx.Select(x > bound, bound, x)


def _clip(x: Any, min: float, max: float) -> Any:
    dtype = np.dtype(str(x.ty.dtype))
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        low, high = math.ceil(np.clip(min, info.min, info.max)), math.floor(np.clip(max, info.min, info.max))
        return tirx.min(tirx.max(x, _like(x, low)), _like(x, high))
    let = Lets()
    if min > -math.inf:
        x = let(_at_least(x, _like(x, min)))
    if max < math.inf:
        x = _at_most(x, _like(x, max))
    return let.result(x)


def _sigmoid_double(x: Any) -> Any:
    let = Lets()
    e = let(_libm("exp")(-tirx.abs(x)))  # never overflows
    return let.result(tirx.Select(x >= 0.0, _like(x, 1), e) / (e + _like(x, 1)))


_sigmoid = _by_width(float32.sigmoid, _sigmoid_double)


def _softplus_double(x: Any) -> Any:
    return _at_least(x, _like(x, 0)) + _libm("log1p")(_libm("exp")(-tirx.abs(x)))


def _gelu_double(x: Any) -> Any:
    return x * _libm("erfc")(x * _like(x, -math.sqrt(0.5))) * _like(x, 0.5)


def _gelu_tanh(x: Any) -> Any:
    # (1 + tanh u) / 2 = sigmoid(2u)
    let = Lets()
    u = let(_like(x, math.sqrt(8 / math.pi)) * (x + _like(x, 0.044715) * x * x * x))
    return let.result(x * _sigmoid(u))


def _elu(x: Any, alpha: float) -> Any:
    return _or_below(x, _multiply(_like(x, alpha), _expm1_below(_at_most(x, _like(x, 0)))))


def _celu(x: Any, alpha: float) -> Any:
    negative = _expm1_below(_at_most(x, _like(x, 0)) * _like(x, 1 / alpha))
    return _or_below(x, _like(x, alpha) * negative)


def _or_below(x: Any, value: Any) -> Any:
    """x above 0, else the value, which is named: names inside of a choice TVM binds twice where another has a name."""
    let = Lets()
    value = let(value)
    return let.result(tirx.Select(x > 0.0, x, value))


def _sign(x: Any) -> Any:
    if not _signed(x):
        return tirx.min(x, _like(x, 1))
    negative = tirx.Select(x < _like(x, 0), _like(x, -1), x)
    return tirx.Select(x > _like(x, 0), _like(x, 1), negative)


def _signed(x: Any) -> bool:
    return np.dtype(str(x.ty.dtype)).kind in "if"


def _shrink(x: Any, bias: float, lambd: float) -> Any:
    above = tirx.Select(x > _like(x, lambd), x - _like(x, bias), _like(x, 0))
    return tirx.Select(x < _like(x, -lambd), x + _like(x, bias), above)


def _is_inf(x: Any, detect_negative: float, detect_positive: float) -> Any:
    found = tirx.const(False, "bool")
    if detect_positive:
        found = x == _like(x, math.inf)
    if detect_negative:
        found = tirx.Or(found, x == _like(x, -math.inf)) if detect_positive else x == _like(x, -math.inf)
    return found


def _max(a: Any, b: Any) -> Any:
    return tirx.Select(tirx.isnan(b), b, tirx.Select(b > a, b, a))


def _min(a: Any, b: Any) -> Any:
    return tirx.Select(tirx.isnan(b), b, tirx.Select(b < a, b, a))


def _divide(a: Any, b: Any) -> Any:
    """TVM refuses to divide by a constant zero: the quotient is a product with the infinity of its sign."""
    if isinstance(b, tirx.FloatImm) and b.value == 0:
        return _hidden_zero(a) * _like(b, math.copysign(math.inf, b.value))
    return _hidden_zero(a) / b


def _mod(a: Any, b: Any) -> Any:
    """numpy's: the sign of the divisor."""
    let = Lets()
    r = let(_libm("fmod")(a, b))
    wrong = tirx.And(r != _like(r, 0), _differ(r < _like(r, 0), b < _like(b, 0)))
    return let.result(tirx.Select(wrong, r + b, r))


def _pow(a: Any, b: Any, *, positive: bool = False) -> Any:
    if isinstance(b, tirx.FloatImm) and (cheap := _power(a, b.value, positive)) is not None:
        return cheap
    return _libm("pow")(a, b)


def _power(x: Any, exponent: float, positive: bool) -> Any | None:
    """x**exponent by products and square roots, for multiples of 1/4 up to 4; None for all others. The LRN of
    AlexNet and GoogLeNet raises to 3/4, of what is known to be `positive`, or +0."""
    quarters = abs(exponent) * 4
    if quarters > 16 or quarters != int(quarters):
        return None
    let = Lets()
    whole, rest = divmod(int(quarters), 4)
    factors = [x] * whole
    if rest:
        if not positive:  # -0 and -inf have roots of their own, but powers of 0 and inf
            ends = tirx.Select(x == _like(x, -math.inf), _like(x, math.inf), x)
            x = let(tirx.Select(x == _like(x, 0), _like(x, 0), ends))
            factors = [x] * whole
        root = let(tirx.sqrt(x))
        factors += [root] * (rest // 2) + [tirx.sqrt(root)] * (rest % 2)
    result = factors.pop(0) if factors else _like(x, 1)
    for factor in factors:
        result = result * factor
    return let.result(_like(x, 1) / result if exponent < 0 else result)


def _integer_pow(a: Any, b: Any) -> Any:
    if isinstance(b, tirx.IntImm) and 0 <= b.value <= 16:
        result = _like(a, 1)
        for _ in range(b.value):
            result = result * a
        return result
    wide = _libm("pow")(tirx.Cast("float64", a), tirx.Cast("float64", b))
    return tirx.Cast(a.ty.dtype, wide)


def _integer_divide(divide: Callable[[Any, Any], Any], by_minus_one: Callable[[Any], Any]) -> Callable[..., Any]:
    """Division that cannot trap: by zero is 0, as in numpy, and the least number by -1 wraps."""

    def rule(a: Any, b: Any) -> Any:
        traps = [(0, _like(a, 0))] + ([(-1, by_minus_one(a))] if _signed(b) else [])
        let = Lets()
        safe = b
        for value, _ in traps:
            safe = tirx.Select(b == _like(b, value), _like(b, 1), safe)
        result = divide(a, b if isinstance(b, tirx.IntImm) and b.value not in (0, -1) else let(safe))
        for value, instead in traps:
            result = tirx.Select(b == _like(b, value), instead, result)
        return let.result(result)

    return rule


def _count(b: Any) -> tuple[Any, Any]:
    """(whether a count of bits is within the width, the count where it is)."""
    width = np.dtype(str(b.ty.dtype)).itemsize * 8
    fits = b < _like(b, width)
    if _signed(b):
        fits = tirx.And(b >= _like(b, 0), fits)
    return fits, tirx.Select(fits, b, _like(b, 0))


def _shift_left(a: Any, b: Any) -> Any:
    fits, count = _count(b)
    return tirx.Select(fits, a << count, _like(a, 0))


def _shift_right(a: Any, b: Any) -> Any:
    fits, count = _count(b)
    beyond = tirx.Select(a < _like(a, 0), _like(a, -1), _like(a, 0)) if _signed(a) else _like(a, 0)
    return tirx.Select(fits, a >> count, beyond)


def truth(x: Any) -> Any:
    """Whether a number is not zero, as C and numpy have it: NaN is true."""
    if str(x.ty.dtype) == "bool":
        return x
    found = x != _like(x, 0)
    return tirx.Or(tirx.isnan(x), found) if _is_float(x) else found


def _is_float(x: Any) -> bool:
    return np.dtype(str(x.ty.dtype)).kind == "f"


def _comparable(x: Any) -> Any:
    # LLVM has no floating-point comparison of bits, which is how TVM compares booleans.
    return tirx.Cast("int8", x) if str(x.ty.dtype) == "bool" else x


def _ordered(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def rule(a: Any, b: Any) -> Any:
        # TVM's simplifier computes 0 - 1 in the type of a comparison with a constant, and fails if it is unsigned.
        if not _signed(a) and str(a.ty.dtype) != "uint64":
            a, b = tirx.Cast("int64", a), tirx.Cast("int64", b)
        return compare(a, b)

    return rule


def _differ(a: Any, b: Any) -> Any:
    return tirx.NE(_comparable(a), _comparable(b))


def _subtract(a: Any, b: Any) -> Any:
    if _signed(a):
        return a - b
    # TVM takes an unsigned difference for a number between 0 and a, and 0 - b for 0.
    dtype = str(a.ty.dtype)
    return tirx.reinterpret(dtype, _same_bits(a, dtype[1:]) - _same_bits(b, dtype[1:]))


def _same_bits(x: Any, dtype: str) -> Any:
    if isinstance(x, tirx.IntImm):  # LLVM's code generator does not reinterpret 0
        return tirx.const(int(np.array(x.value).astype(dtype)), dtype)
    return tirx.reinterpret(dtype, x)


def _integer_abs(x: Any) -> Any:
    return tirx.Select(x < _like(x, 0), _like(x, 0) - x, x) if _signed(x) else x


# What is the same for every type.
_ANY: Mapping[Fn, Callable[..., Any]] = {
    Fn.ADD: lambda a, b: a + b,
    Fn.SUB: _subtract,
    Fn.MUL: _multiply,
    Fn.CLIP: _clip,
    Fn.SIGN: _sign,
    Fn.RELU: lambda x: _at_least(x, _like(x, 0)) if _signed(x) else x,
    Fn.THRESHOLDED_RELU: lambda x, alpha: tirx.Select(x > _like(x, alpha), x, _like(x, 0)),
    Fn.PRELU: lambda x, slope: tirx.Select(x >= _like(x, 0), x, slope * x),
    Fn.NOT: lambda x: tirx.EQ(_comparable(truth(x)), tirx.const(0, "int8")),  # Not(a < b) TVM takes for a >= b
    Fn.AND: lambda a, b: tirx.And(truth(a), truth(b)),
    Fn.OR: lambda a, b: tirx.Or(truth(a), truth(b)),
    Fn.XOR: lambda a, b: _differ(truth(a), truth(b)),
    Fn.EQUAL: lambda a, b: tirx.EQ(_comparable(a), _comparable(b)),
    Fn.GREATER: _ordered(lambda a, b: a > b),
    Fn.GREATER_OR_EQUAL: _ordered(lambda a, b: a >= b),
    Fn.LESS: _ordered(lambda a, b: a < b),
    Fn.LESS_OR_EQUAL: _ordered(lambda a, b: a <= b),
    Fn.WHERE: lambda condition, a, b: tirx.Select(truth(condition), a, b),
}

_FLOAT: Mapping[Fn, Callable[..., Any]] = {
    Fn.ABS: tirx.abs,
    Fn.ACOS: _libm("acos"),
    Fn.ACOSH: _libm("acosh"),
    Fn.ASIN: _libm("asin"),
    Fn.ASINH: _libm("asinh"),
    Fn.ATAN: _by_width(float32.atan, _libm("atan")),
    Fn.ATANH: _libm("atanh"),
    Fn.CEIL: tirx.ceil,
    Fn.CELU: _celu,
    Fn.COS: _libm("cos"),
    Fn.COSH: _libm("cosh"),
    Fn.ELU: _elu,
    Fn.ERF: _by_width(float32.erf, _libm("erf")),
    Fn.EXP: _exp,
    Fn.FLOOR: tirx.floor,
    Fn.GELU: _by_width(float32.gelu, _gelu_double),
    Fn.GELU_TANH: _gelu_tanh,
    Fn.HARD_SIGMOID: lambda x, alpha, beta: _clip(_multiply(_like(x, alpha), x) + _like(x, beta), 0.0, 1.0),
    Fn.HARD_SWISH: lambda x: x * _clip(x * _like(x, 1 / 6) + _like(x, 0.5), 0.0, 1.0),
    Fn.LEAKY_RELU: lambda x, alpha: tirx.Select(x >= _like(x, 0), x, _multiply(_like(x, alpha), x)),
    Fn.LOG: _by_width(float32.log, _libm("log")),
    Fn.MISH: _by_width(float32.mish, lambda x: x * _libm("tanh")(_softplus_double(x))),
    Fn.NEG: lambda x: -x,
    Fn.RECIPROCAL: lambda x: _divide(_like(x, 1), x),
    Fn.ROUND: tirx.nearbyint,
    Fn.SELU: lambda x, alpha, gamma: _multiply(_like(x, gamma), _elu(x, alpha)),
    Fn.SHRINK: _shrink,
    Fn.SIGMOID: _sigmoid,
    Fn.SILU: _by_width(float32.silu, lambda x: x * _sigmoid_double(x)),
    Fn.SIN: _libm("sin"),
    Fn.SINH: _libm("sinh"),
    Fn.SOFTPLUS: _by_width(float32.softplus, _softplus_double),
    Fn.SOFTSIGN: lambda x: x / (tirx.abs(x) + _like(x, 1)),
    Fn.SQRT: tirx.sqrt,
    Fn.TAN: _libm("tan"),
    Fn.TANH: _tanh,
    Fn.IS_INF: _is_inf,
    Fn.IS_NAN: tirx.isnan,
    Fn.DIV: _divide,
    Fn.MAX: _max,
    Fn.MIN: _min,
    Fn.MOD: _mod,
    Fn.FMOD: _libm("fmod"),
    Fn.POW: _pow,
}

_INTEGER: Mapping[Fn, Callable[..., Any]] = {
    Fn.ABS: _integer_abs,
    Fn.NEG: lambda x: _subtract(_like(x, 0), x),
    Fn.DIV: _integer_divide(tirx.truncdiv, lambda a: _like(a, 0) - a),
    Fn.MOD: _integer_divide(tirx.floormod, lambda a: _like(a, 0)),
    Fn.FMOD: _integer_divide(tirx.truncmod, lambda a: _like(a, 0)),
    Fn.MAX: tirx.max,
    Fn.MIN: tirx.min,
    Fn.POW: _integer_pow,
    Fn.BITWISE_AND: lambda a, b: a & b,
    Fn.BITWISE_NOT: lambda x: ~x,
    Fn.BITWISE_OR: lambda a, b: a | b,
    Fn.BITWISE_XOR: lambda a, b: a ^ b,
    Fn.SHIFT_LEFT: _shift_left,
    Fn.SHIFT_RIGHT: _shift_right,
}
