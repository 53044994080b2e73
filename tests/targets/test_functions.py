"""The elementwise functions against the numpy column of their table, over all magnitudes of every element type."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convc.ir.attributes import tensor
from convc.ir.data import ConstantOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import FUNCTIONS, Fn
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

UNARY = [fn for fn, spec in FUNCTIONS.items() if spec.arity == 1 and fn not in (Fn.NOT, Fn.BITWISE_NOT)]
PARAMS = {Fn.CLIP: {"min": -1.0, "max": 2.5}, Fn.CELU: {"alpha": 1.7}, Fn.ELU: {"alpha": 0.6}, Fn.SHRINK: {"bias": 0.2}}
EXACT = {Fn.ABS, Fn.CEIL, Fn.CLIP, Fn.FLOOR, Fn.NEG, Fn.RELU, Fn.ROUND, Fn.SIGN, Fn.THRESHOLDED_RELU}
ULPS = {Fn.GELU_TANH: 256, Fn.MISH: 5, Fn.RECIPROCAL: 0.5, Fn.SQRT: 0.5}
"""Units in the last place of the result; 4 for all others. At -9 the argument of GELU_TANH's exponential is -67: each
unit of that is 64 units of the result."""
FLOORS = {Fn.GELU: 2**-24, Fn.HARD_SIGMOID: 2**-23, Fn.HARD_SWISH: 2**-21}
"""Absolute errors that are allowed whatever the result: what is small beside a sum of 1; for all others what is left of
an exponential that flushes to 0 times a number near 100."""
FLOOR = 2**-120


def special(dtype="float32"):
    """The ends of a type's range, and where exponentials leave it."""
    info = np.finfo(dtype)
    edges = [0, 0.5, 1, 1.5, 2, 2.5, 3, info.tiny, info.smallest_subnormal, info.max, info.eps, np.inf]
    exponents = [math.log(float(info.max)), -math.log(float(info.tiny)), -math.log(float(info.smallest_subnormal))]
    positive = np.array([*edges, *exponents], dtype)
    return np.concatenate([positive, -positive, np.nextafter(positive, positive[0]), [np.nan]]).astype(dtype)


def sweep(count, seed=0):
    """Single-precision numbers: of all bit patterns, of all magnitudes below 100, and evenly spread."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 1 << 32, count // 2, dtype=np.uint32).view(np.float32)
    small = rng.uniform(-1, 1, count // 4) * np.exp(rng.uniform(-25, 5, count // 4))
    even = [rng.uniform(-limit, limit, count // 8) for limit in (110, 3)]
    return np.concatenate([special(), patterns, *(x.astype(np.float32) for x in (small, *even))])


def meaning(fn, x, **params):
    """The function in double precision, where the table's own expression cancels by another."""
    match fn:
        case Fn.GELU:
            return x * np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5)) / 2
        case Fn.GELU_TANH:
            return x * FUNCTIONS[Fn.SIGMOID].numpy(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
    return FUNCTIONS[fn].numpy(x, **params)


def assert_within(actual, exact, ulps, floor):
    """Errors are at most so many units in the last place plus `floor`; infinities and NaN are where they must be."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(actual.dtype)
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(actual[~finite], rounded[~finite])
        error = np.abs(actual.astype(np.float64) - exact)[finite]
        allowed = ulps * np.spacing(np.abs(rounded[finite])).astype(np.float64) + floor
    worst = np.argmax(error / allowed)
    assert (error <= allowed).all(), f"{actual[finite][worst]} instead of {exact[finite][worst]}"


def check_unary(fn, x, build_kernel, run_kernel):
    params = PARAMS.get(fn, {})
    kernel = build_kernel([(x.shape, "float32")], lambda x: ElementwiseOp(fn, x, **params).result)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(all="ignore"):
        exact = meaning(fn, x.astype(np.float64), **{**FUNCTIONS[fn].params, **params})
    if FUNCTIONS[fn].predicate:
        np.testing.assert_array_equal(actual, exact)
    elif fn in EXACT:
        np.testing.assert_array_equal(actual, exact.astype(np.float32))
    else:
        assert_within(actual, exact, ULPS.get(fn, 4), FLOORS.get(fn, FLOOR))


@pytest.mark.parametrize("fn", UNARY)
def test_single_precision(fn, build_kernel, run_kernel):
    check_unary(fn, sweep(1 << 16), build_kernel, run_kernel)


@pytest.mark.slow
@pytest.mark.parametrize("fn", UNARY)
def test_single_precision_by_the_million(fn, build_kernel, run_kernel):
    check_unary(fn, sweep(1 << 23, seed=1), build_kernel, run_kernel)


@pytest.mark.parametrize("fn", UNARY)
def test_half_precision_is_rounded_once(fn, build_kernel, run_kernel):
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    kernel = build_kernel([(x.shape, "float16")], lambda x: ElementwiseOp(fn, x).result)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(all="ignore"):
        exact = meaning(fn, x.astype(np.float64), **FUNCTIONS[fn].params)
    if FUNCTIONS[fn].predicate:
        np.testing.assert_array_equal(actual, exact)
    else:
        assert_within(actual, exact, 0.51, FLOORS.get(fn, 0))


@pytest.mark.parametrize("fn", UNARY)
def test_double_precision(fn, build_kernel, run_kernel):
    rng = np.random.default_rng(2)
    x = np.concatenate([special("float64"), rng.uniform(-30, 30, 2000), rng.uniform(-1, 1, 2000)])
    kernel = build_kernel([(x.shape, "float64")], lambda x: ElementwiseOp(fn, x).result)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(all="ignore"):
        exact = meaning(fn, x, **FUNCTIONS[fn].params)
    if FUNCTIONS[fn].predicate:
        np.testing.assert_array_equal(actual, exact)
    else:
        assert_within(actual, exact, 4096 if fn is Fn.GELU_TANH else 8, 2**-1000 if fn not in FLOORS else 2**-50)


BINARY = {
    Fn.ADD: 0.5,
    Fn.SUB: 0.5,
    Fn.MUL: 0.5,
    Fn.DIV: 0.5,
    Fn.MAX: 0,
    Fn.MIN: 0,
    Fn.FMOD: 0,
    Fn.MOD: 1,
    Fn.POW: 1,
    Fn.PRELU: 0.5,
}
"""Functions of two operands, and their errors in units in the last place."""


@pytest.mark.parametrize("fn", BINARY)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_functions_of_two_numbers(fn, dtype, build_kernel, run_kernel):
    ends = special(dtype)
    rng = np.random.default_rng(3)
    a, b = (
        np.concatenate([each.reshape(-1), rng.uniform(-9, 9, 4000)]).astype(dtype) for each in np.meshgrid(ends, ends)
    )
    kernel = build_kernel([(a.shape, dtype)] * 2, lambda a, b: ElementwiseOp(fn, a, b).result)
    (actual,) = run_kernel(kernel, Injective(), [a, b])
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[fn].numpy(a.astype(np.float64), b.astype(np.float64))
    assert_within(actual, exact, BINARY[fn] + 0.01, 0)


@pytest.mark.parametrize("exponent", [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, -0.5, -0.75, -1, -2, 2.2, -3.5, 7])
def test_powers_with_a_known_exponent(exponent, build_kernel, run_kernel):
    x = np.abs(sweep(1 << 12))
    x = x[(x > 1e-9) & (x < 1e9)]
    if exponent == int(exponent):
        x[::2] *= -1

    def body(x):
        return ElementwiseOp(Fn.POW, x, ConstantOp(exponent, tensor(from_numpy("float32"), ())).result).result

    (actual,) = run_kernel(build_kernel([(x.shape, "float32")], body), Injective(), [x])
    assert_within(actual, x.astype(np.float64) ** np.float32(exponent), 4, 0)


@pytest.mark.parametrize("exponent", [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 2.2, -0.25, -0.5, -1, -1.5, -2, -3, -3.5, -2.2])
def test_powers_at_the_ends_of_numbers(exponent, build_kernel, run_kernel):
    """IEEE 754: all of -0 and of -inf are positive but those with odd exponents."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1], np.float32)

    def body(x):
        return ElementwiseOp(Fn.POW, x, ConstantOp(exponent, tensor(from_numpy("float32"), ())).result).result

    (actual,) = run_kernel(build_kernel([(x.shape, "float32")], body), Injective(), [x])
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[Fn.POW].numpy(x, np.float32(exponent))
    np.testing.assert_array_equal(actual, exact)
    numbers = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(actual[numbers]), np.signbit(exact[numbers]))


@pytest.mark.parametrize("exponent", [2.2, -0.45, 17.0, -33.3])
def test_powers_of_all_magnitudes(exponent, build_kernel, run_kernel):
    """Results that overflow, or have no more than some of their digits, too: rounded once."""
    x = np.abs(sweep(1 << 14))

    def body(x):
        return ElementwiseOp(Fn.POW, x, ConstantOp(exponent, tensor(from_numpy("float32"), ())).result).result

    (actual,) = run_kernel(build_kernel([(x.shape, "float32")], body), Injective(), [x])
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[Fn.POW].numpy(x.astype(np.float64), np.float64(np.float32(exponent)))
    assert_within(actual, exact, 0.75, 0)


@pytest.mark.parametrize(
    ("fn", "params"),
    [
        (Fn.ELU, {"alpha": 0.0}),
        (Fn.HARD_SIGMOID, {"alpha": 0.0, "beta": 0.25}),
        (Fn.LEAKY_RELU, {"alpha": 0.0}),
        (Fn.SELU, {"alpha": 0.0, "gamma": 1.5}),
        (Fn.SELU, {"alpha": 1.5, "gamma": 0.0}),
    ],
)
def test_zero_times_what_is_no_real(fn, params, build_kernel, run_kernel):
    x = special()
    kernel = build_kernel([(x.shape, "float32")], lambda x: ElementwiseOp(fn, x, **params).result)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[fn].numpy(x.astype(np.float64), **params)
    assert_within(actual, exact, 4, FLOORS.get(fn, FLOOR))


def divide(a, b):
    """Towards zero, in integers of any size; 0 by zero, and what overflows wraps."""
    quotients = [
        0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) for x, y in zip(a.tolist(), b.tolist())
    ]
    return np.array([q & (1 << 64) - 1 for q in quotients], np.uint64).astype(a.dtype)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
OF_INTEGERS = {
    1: [Fn.ABS, Fn.NEG, Fn.SIGN, Fn.RELU, Fn.CLIP, Fn.BITWISE_NOT],
    2: [
        *(Fn.ADD, Fn.SUB, Fn.MUL, Fn.DIV, Fn.MOD, Fn.FMOD, Fn.MAX, Fn.MIN),
        *(Fn.BITWISE_AND, Fn.BITWISE_OR, Fn.BITWISE_XOR, Fn.SHIFT_LEFT, Fn.SHIFT_RIGHT),
    ],
}


def integers(dtype):
    """All pairs of bytes, or pairs of other integers, with those that overflow."""
    info = np.iinfo(dtype)
    if info.bits == 8:
        line = np.arange(info.min, info.max + 1).astype(dtype)
        return [each.reshape(-1) for each in np.meshgrid(line, line)]
    rng = np.random.default_rng(4)
    ends = np.array([info.min, info.min + 1, info.max, 0, 1, 2, *([-1, -2] if info.min else [])], dtype)
    pairs = [each.reshape(-1) for each in np.meshgrid(ends, ends)]
    some = [rng.integers(info.min, info.max, 500, dtype), rng.integers(max(info.min, -9), 10, 500, dtype)]
    return [np.concatenate([a, b]) for a, b in zip(pairs, some)]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("arity", [1, 2])
def test_integers_wrap_and_never_trap(dtype, arity, build_kernel, run_kernel):
    operands = integers(dtype)[:arity]
    functions = OF_INTEGERS[arity]
    kernel = build_kernel(
        [(operands[0].shape, dtype)] * arity,
        lambda *x: tuple(ElementwiseOp(fn, *x, **PARAMS.get(fn, {})).result for fn in functions),
    )
    for fn, actual in zip(functions, run_kernel(kernel, Generic(), operands), strict=True):
        with np.errstate(all="ignore"):
            expected = (divide if fn is Fn.DIV else FUNCTIONS[fn].numpy)(*operands, **PARAMS.get(fn, {}))
        np.testing.assert_array_equal(actual, expected.astype(dtype), err_msg=str(fn))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 10])
def test_division_by_a_known_number(dtype, divisor, build_kernel, run_kernel):
    x = integers(dtype)[0]

    def body(x):
        constant = ConstantOp(divisor, tensor(from_numpy(dtype), ())).result
        return tuple(ElementwiseOp(fn, x, constant).result for fn in (Fn.DIV, Fn.MOD, Fn.FMOD))

    found = run_kernel(build_kernel([(x.shape, dtype)], body), Generic(), [x])
    by = np.full_like(x, divisor)
    for expected, actual in zip((divide(x, by), np.mod(x, by), np.fmod(x, by)), found, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_division_by_a_known_zero_of_either_sign(dtype, build_kernel, run_kernel):
    x = special(dtype)

    def body(x):
        zeros = (ConstantOp(zero, tensor(from_numpy(dtype), ())).result for zero in (0.0, -0.0))
        return tuple(ElementwiseOp(Fn.DIV, x, zero).result for zero in zeros)

    found = run_kernel(build_kernel([(x.shape, dtype)], body), Generic(), [x])
    with np.errstate(all="ignore"):
        for zero, actual in zip((0.0, -0.0), found, strict=True):
            np.testing.assert_array_equal(actual, x / np.array(zero, dtype))


@pytest.mark.parametrize("template", [Generic(), Injective()])
@pytest.mark.parametrize(
    "body",
    [
        lambda x, zero, apply: apply(Fn.SUB, x, x),
        lambda x, zero, apply: apply(Fn.MUL, x, zero),
        lambda x, zero, apply: apply(Fn.MUL, zero, x),
        lambda x, zero, apply: apply(Fn.DIV, zero, x),
        lambda x, zero, apply: apply(Fn.EQUAL, x, x),
        lambda x, zero, apply: apply(Fn.GREATER_OR_EQUAL, x, x),
        lambda x, zero, apply: apply(Fn.NOT, apply(Fn.LESS, x, zero)),
        lambda x, zero, apply: apply(Fn.NOT, apply(Fn.EQUAL, *[apply(Fn.ABS, x)] * 2)),
    ],
    ids=["x - x", "x * 0", "0 * x", "0 / x", "x == x", "x >= x", "not x < 0", "|x| != |x|"],
)
def test_infinities_and_nan_are_no_reals(body, template, build_kernel, run_kernel):
    x = special()

    def region(x):
        zero = ConstantOp(0.0, tensor(from_numpy("float32"), ())).result
        return body(x, zero, lambda fn, *operands: ElementwiseOp(fn, *operands).result)

    (actual,) = run_kernel(build_kernel([(x.shape, "float32")], region), template, [x])
    with np.errstate(all="ignore"):
        exact = body(x, np.float32(0), lambda fn, *operands: FUNCTIONS[fn].numpy(*operands))
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_powers_of_integers(dtype, build_kernel, run_kernel):
    a, b = (each.reshape(-1).astype(dtype) for each in np.meshgrid(np.arange(0, 12), np.arange(0, 6)))
    (actual,) = run_kernel(
        build_kernel([(a.shape, dtype)] * 2, lambda a, b: ElementwiseOp(Fn.POW, a, b).result), Injective(), [a, b]
    )
    expected = a.astype(np.int64) ** b.astype(np.int64)
    fits = expected <= np.iinfo(dtype).max
    np.testing.assert_array_equal(actual[fits], expected[fits])


@pytest.mark.parametrize("fn", [Fn.AND, Fn.OR, Fn.XOR])
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_logic(fn, dtype, build_kernel, run_kernel):
    line = np.array([0, 1, -0.0, np.nan, 3.5] if dtype == "float32" else [0, 1], dtype)
    a, b = (np.tile(each.reshape(-1), 7) for each in np.meshgrid(line, line))
    kernel = build_kernel([(a.shape, dtype)] * 2, lambda a, b: ElementwiseOp(fn, a, b).result)
    np.testing.assert_array_equal(run_kernel(kernel, Injective(), [a, b])[0], FUNCTIONS[fn].numpy(a, b))
    kernel = build_kernel([(a.shape, dtype)], lambda a: ElementwiseOp(Fn.NOT, a).result)
    np.testing.assert_array_equal(run_kernel(kernel, Injective(), [a])[0], np.logical_not(a))


@pytest.mark.parametrize("negative", [0.0, 1.0])
@pytest.mark.parametrize("positive", [0.0, 1.0])
def test_infinities_of_one_sign(negative, positive, build_kernel, run_kernel):
    x = np.array([np.inf, -np.inf, np.nan, 0, 1], np.float32)
    kernel = build_kernel(
        [(x.shape, "float32")],
        lambda x: ElementwiseOp(Fn.IS_INF, x, detect_negative=negative, detect_positive=positive).result,
    )
    assert run_kernel(kernel, Injective(), [x])[0].tolist() == [bool(positive), bool(negative), False, False, False]
