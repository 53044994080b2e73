"""What onnxruntime's static quantiser writes: every integer is onnxruntime's."""

from functools import partial

import numpy as np
import pytest

TYPES = [np.uint8, np.int8]


@pytest.fixture(name="check")
def _check(agrees):
    return partial(agrees, domain="com.microsoft", held_in=None)


def numbers(dtype):
    """Every number of 8 bits, in order."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)


def pairs(dtype):
    """All pairs of numbers: two operands of 65,536."""
    a, b = np.meshgrid(numbers(dtype), numbers(dtype))
    return a, b


def units(rng, dtype, count, largest=0.1):
    """Random (scale, zero point) of so many operands."""
    return [
        each
        for _ in range(count)
        for each in (np.float32(rng.uniform(0.01, largest)), rng.integers(-20, 20).astype(np.int8).view(dtype))
    ]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_arithmetic_of_all_pairs(check, live, op_type, dtype):
    a, b = pairs(dtype)
    for seed in range(8):
        given = units(np.random.default_rng(seed), dtype, 3)
        check(op_type, [live(a), *given[:2], live(b), *given[2:]])
    # scales that put results half-way between two integers
    half, whole = np.float32(0.5), np.float32(1)
    for zero in (dtype(2), dtype(3)):
        check(op_type, [live(a), half, dtype(1), live(b), whole, dtype(4), whole, zero])
        check(op_type, [live(a), half, dtype(1), b[:, :1], half, dtype(0), whole, zero])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 7, 7), (1, 17, 1, 5), (3, 8, 16, 16)], ids=str)
def test_global_average_pool(check, live, shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.choice(numbers(dtype), shape)
    for layout in ({}, {"channels_last": 1}):
        check("QLinearGlobalAveragePool", [live(x), *units(rng, dtype, 2)], **layout)
        check("QLinearGlobalAveragePool", [live(x), np.float32(1), dtype(3), np.float32(1), dtype(1)], **layout)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("op_type", "options"), [("QLinearLeakyRelu", {"alpha": 0.3}), ("QLinearSigmoid", {})])
def test_activations_of_all_numbers(check, live, op_type, options, dtype):
    x = live(numbers(dtype).reshape(2, 128))
    for seed in range(8):
        check(op_type, [x, *units(np.random.default_rng(seed), dtype, 2)], **options)
    check(op_type, [x, np.float32(1 / 16), None, np.float32(1 / 256), None], **options)


@pytest.mark.parametrize("dtype", TYPES)
def test_concat_brings_parts_to_one_unit(check, live, dtype):
    rng = np.random.default_rng(0)
    unit = units(rng, dtype, 1)
    x = numbers(dtype).reshape(2, 4, 32)
    check("QLinearConcat", [*unit, live(x), *unit, live(x[:, :3]), *units(rng, dtype, 1)], axis=1)


@pytest.mark.parametrize("dtype", TYPES)
def test_gemm(check, live, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.choice(numbers(dtype), (5, 70)), rng.choice(numbers(dtype), (70, 6))
    bias = rng.integers(-900, 900, 6).astype(np.int32)
    left, right, result = units(rng, dtype, 1, 0.02), units(rng, dtype, 1, 0.02), [np.float32(0.9), dtype(7)]
    check("QGemm", [live(a), *left, b, *right, bias, *result])
    check("QGemm", [live(a), *left, b, *right, None, *result], alpha=0.7)
    check("QGemm", [live(a.T.copy()), *left, b.T.copy(), *right, bias], transA=1, transB=1)
    columns = [rng.uniform(0.01, 0.02, 6).astype(np.float32), rng.choice(numbers(dtype), 6)]
    check("QGemm", [live(a), *left, b.T.copy(), *columns, bias, *result], transB=1)
