"""Element types that are only stored: every code of each, and numbers of all magnitudes rounded to them."""

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from convc.ir.attributes import tensor
from convc.ir.data import CastOp, ConcatOp, ConstantOp, PadOp
from convc.ir.dtypes import from_numpy, is_storage, to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import FUNCTIONS, Fn
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

FLOATS = [
    *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("float8_e8m0fnu", "float4_e2m1fn"),
]
INTEGERS = ["int4", "uint4", "int2", "uint2"]


def codes(dtype):
    """Every element of a type."""
    dtype = to_numpy(from_numpy(dtype))
    bits = {"4": 4, "2": 2}.get(str(dtype).removeprefix("u").removeprefix("int")[:1], 8 * dtype.itemsize)
    bits = 4 if str(dtype).startswith("float4") else bits
    return np.arange(1 << bits).astype(f"u{dtype.itemsize}").view(dtype)


def numbers(dtype):
    """Single-precision numbers of all bit patterns, every number of the type, those halfway between two, and their
    neighbours."""
    patterns = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    own = np.unique(codes(dtype).astype(np.float32)[np.isfinite(codes(dtype).astype(np.float32))])
    with np.errstate(over="ignore"):
        own = np.concatenate([own, (own[1:] + own[:-1]) / 2, own * 2])
    ends = np.array([0, np.inf, np.nan, 1e-45], np.float32)
    near = [np.nextafter(own, np.float32(side)) for side in (-np.inf, np.inf)]
    found = np.concatenate([patterns, own, *near, ends, -ends]).astype(np.float32)
    return found[~np.isnan(found)] if dtype == "float4_e2m1fn" else found  # which has no NaN


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda template: template.name)
def test_every_code_is_read_as_the_number_that_it_stands_for(dtype, template, build_kernel, run_kernel):
    x = codes(dtype)
    assert is_storage(from_numpy(dtype))
    kernel = build_kernel([(x.shape, dtype)], lambda x: CastOp(x, f32).result)
    np.testing.assert_array_equal(run_kernel(kernel, template, [x])[0], x.astype(np.float32))


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_are_rounded_to_nearest_even(dtype, build_kernel, run_kernel):
    x = numbers(dtype)
    kernel = build_kernel([(x.shape, "float32")], lambda x: CastOp(x, from_numpy(dtype)).result)
    (actual,) = run_kernel(kernel, Injective(), [x])
    with np.errstate(all="ignore"):
        expected = x.astype(actual.dtype)
    np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))
    zeros = expected.astype(np.float32) == 0
    signs = (array.astype(np.float32)[zeros] for array in (actual, expected))
    np.testing.assert_array_equal(*map(np.signbit, signs))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_a_few_bits(dtype, build_kernel, run_kernel):
    x = codes(dtype).astype(np.float32)
    kernel = build_kernel([(x.shape, "float32")], lambda x: CastOp(x, from_numpy(dtype)).result)
    np.testing.assert_array_equal(run_kernel(kernel, Injective(), [x])[0].astype(np.int8), x)
    kernel = build_kernel([(x.shape, dtype)], lambda x: CastOp(x, from_numpy("int64")).result)
    np.testing.assert_array_equal(run_kernel(kernel, Injective(), [codes(dtype)])[0], x.astype(np.int64))


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_moves_data_moves_them(dtype, build_kernel, run_kernel):
    x = codes(dtype)[:16]

    def body(x):
        ones = ConstantOp(1.0, tensor(from_numpy(dtype), (3,))).result
        return PadOp(ConcatOp([x, ones], 0).result, [2, 0], value=0.5).result

    (actual,) = run_kernel(build_kernel([(x.shape, dtype)], body), Injective(), [x])
    expected = [0.5, 0.5, *x.astype(np.float32), 1, 1, 1]
    expected = np.array(expected, np.float32).astype(actual.dtype)
    np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("fn", [Fn.CELU, Fn.ELU, Fn.SELU])
def test_a_choice_with_names_of_its_own_is_rounded(fn, build_kernel, run_kernel):
    def body(x):
        return CastOp(ElementwiseOp(fn, x, **FUNCTIONS[fn].params).result, from_numpy("bfloat16")).result

    x = np.linspace(-4, 4, 16, dtype=np.float32)
    (actual,) = run_kernel(build_kernel([(x.shape, "float32")], body), Injective(), [x])
    expected = FUNCTIONS[fn].numpy(x.astype(np.float64), **FUNCTIONS[fn].params)
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=2**-8)  # half a unit in the last place
