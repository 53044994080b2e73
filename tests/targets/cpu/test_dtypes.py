"""Kernels over every element type: casts between all of them, comparisons, choices, and vectors of mixed widths."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import tensor
from convc.ir.data import CastOp, ConcatOp, ConstantOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

FLOATS = ["float16", "float32", "float64"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
TYPES = [*FLOATS, *INTEGERS, "bool"]


def samples(dtype, count=67):
    """Numbers of a type over all its magnitudes that every other type can be asked for."""
    rng = np.random.default_rng(0)
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        inner = rng.integers(info.min, info.max, count - 3, dtype, endpoint=True)
        return np.concatenate([inner, np.array([0, info.min, info.max], dtype)])
    return np.concatenate([rng.uniform(-1, 1, count - 5) * 100, [0.0, -0.0, 0.5, -0.5, 1.0]]).astype(dtype)


def within(x, dtype):
    """The numbers that fit a type: casting others is undefined in C."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        if x.dtype.kind == "f":
            return np.clip(x.astype(np.float64), max(info.min, -100), min(info.max, 100)).astype(x.dtype)
    return x


@pytest.mark.parametrize("before", TYPES)
def test_casts_between_all_types(before, build_kernel, run_kernel, assert_close):
    operands = [((67,), before)]
    kernel = build_kernel(operands, lambda x: tuple(CastOp(x, from_numpy(dtype)).result for dtype in TYPES))
    x = within(samples(before), "uint8") if before in FLOATS else samples(before)
    found = run_kernel(kernel, Generic(), [x])
    for dtype, actual in zip(TYPES, found, strict=True):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(actual, x.astype(dtype), err_msg=f"{before} to {dtype}")


@pytest.mark.parametrize("before", TYPES)
@pytest.mark.parametrize("after", ["float32", "int64", "bool", "uint8", "float16"])
def test_casts_in_vectors(before, after, build_kernel, run_kernel):
    kernel = build_kernel([((67,), before)], lambda x: CastOp(x, from_numpy(after)).result)
    x = within(samples(before), after)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(actual, x.astype(after))


def test_floats_are_cut_towards_zero_and_nan_is_true(build_kernel, run_kernel):
    x = np.array([1.9, -1.9, 0.5, -0.5, -0.0, 2**31 - 128.0, -(2.0**31)], np.float32)
    kernel = build_kernel([(x.shape, "float32")], lambda x: CastOp(x, from_numpy("int32")).result)
    assert run_kernel(kernel, Injective(), [x])[0].tolist() == [1, -1, 0, 0, 0, 2147483520, -(2**31)]
    x = np.array([np.nan, np.inf, -0.0, 1e-45], np.float32)
    kernel = build_kernel([(x.shape, "float32")], lambda x: CastOp(x, from_numpy("bool")).result)
    assert run_kernel(kernel, Injective(), [x])[0].tolist() == [True, True, False, True]


COMPARISONS = [Fn.EQUAL, Fn.GREATER, Fn.GREATER_OR_EQUAL, Fn.LESS, Fn.LESS_OR_EQUAL]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)
def test_comparisons(dtype, template, build_kernel, check):
    x = samples(dtype)
    y = np.where(np.arange(x.size) % 3 == 0, x, x[::-1])
    for function in COMPARISONS if dtype != "bool" else [Fn.EQUAL]:
        kernel = build_kernel([(x.shape, dtype)] * 2, lambda a, b, f=function: ElementwiseOp(f, a, b).result)
        check(kernel, template, [x, y])


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("value", [0.0, 1.0, 7.0])
def test_comparisons_with_a_constant(dtype, value, build_kernel, check):
    def body(x):
        constant = ConstantOp(value, tensor(from_numpy(dtype), ())).result
        return tuple(ElementwiseOp(function, x, constant).result for function in COMPARISONS)

    check(build_kernel([((67,), dtype)], body), Generic())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)
def test_choices(dtype, template, build_kernel, check):
    operands = [((5, 1), "bool"), ((5, 37), dtype), ((37,), dtype)]
    check(build_kernel(operands, lambda c, a, b: ElementwiseOp(Fn.WHERE, c, a, b).result), template)


def test_logic_of_comparisons(build_kernel, check):
    def body(a, b):
        more, less = ElementwiseOp(Fn.GREATER, a, b).result, ElementwiseOp(Fn.LESS, a, b).result
        either = ElementwiseOp(Fn.OR, more, ElementwiseOp(Fn.NOT, less).result).result
        both = ElementwiseOp(Fn.XOR, ElementwiseOp(Fn.AND, more, either).result, less).result
        return ElementwiseOp(Fn.WHERE, both, a, b).result

    check(build_kernel([((3, 50), "float32")] * 2, body), Injective())


@pytest.mark.parametrize("dtype", TYPES)
def test_joins(dtype, build_kernel, check):
    check(build_kernel([((3, 17), dtype), ((3, 20), dtype)], lambda *parts: ConcatOp(parts, 1).result), Injective())


def test_images_of_bytes_become_floats(build_kernel, check):
    def body(x, mean):
        return ElementwiseOp(Fn.SUB, CastOp(x, from_numpy("float32")).result, mean).result

    check(build_kernel([((1, 9, 11, 3), "uint8"), ((3,), "float32")], body), Injective())
