"""Convolutions and products of 8-bit integers: every integer is onnxruntime's."""

import numpy as np
import pytest

RNG = np.random.default_rng(0)
TYPES = [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]


def numbers(dtype, shape, beside=None):
    """Of all that a type holds; signed ones `beside` unsigned ones of half as much, whose products onnxruntime can add
    on every processor: without VNNI it adds two in 16 bits, and takes the largest number where they overflow."""
    info = np.iinfo(dtype)
    halves = 2 if beside is np.uint8 and dtype is np.int8 else 1
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True) // halves


CONVOLUTIONS = [
    ((2, 3, 7, 8), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 4, 9, 9), (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "dilations": [1, 2]}),
    ((1, 512, 3, 3), (2, 512, 3, 3), {"pads": [1, 1, 1, 1]}),
]


@pytest.mark.parametrize(("x", "w", "attributes"), CONVOLUTIONS, ids=str)
def test_conv_integer(agrees, live, x, w, attributes):
    operands = [live(numbers(np.uint8, x)), numbers(np.uint8, w)]
    agrees("ConvInteger", operands, opset=10, **attributes)
    agrees("ConvInteger", [*operands, np.uint8(7), np.uint8(130)], opset=10, **attributes)


@pytest.mark.parametrize(("x", "w", "attributes"), CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("types", TYPES, ids=str)
def test_qlinear_conv(agrees, live, types, x, w, attributes):
    dtype, weight = types
    scale = np.float32(0.02)
    tail = [np.float32(3.5), dtype(3)]
    operands = [live(numbers(dtype, x)), scale, dtype(5)]
    agrees("QLinearConv", [*operands, numbers(weight, w, dtype), scale, weight(0), *tail], opset=10, **attributes)
    scales, bias = np.linspace(0.01, 0.03, w[0]).astype(np.float32), numbers(np.int16, w[0]).astype(np.int32)
    channels = [numbers(weight, w, dtype), scales, np.zeros(w[0], weight), *tail, bias]
    agrees("QLinearConv", [*operands, *channels], opset=10, **attributes)


PRODUCTS = [((5, 7), (7, 3)), ((2, 4, 300), (300, 6)), ((2, 3, 4, 5), (3, 5, 2))]


@pytest.mark.parametrize(("a", "b"), PRODUCTS, ids=str)
@pytest.mark.parametrize("types", TYPES[:2], ids=str)
def test_matmul_integer(agrees, live, types, a, b):
    operands = [live(numbers(types[0], a)), numbers(types[1], b, types[0])]
    agrees("MatMulInteger", operands, opset=10)
    agrees("MatMulInteger", [*operands, types[0](9), types[1](4)], opset=10)


def test_matmul_integer_with_a_zero_point_for_each_column(agrees, live):
    operands = [live(numbers(np.uint8, (5, 7))), numbers(np.uint8, (7, 3))]
    agrees("MatMulInteger", [*operands, np.uint8(9), np.array([1, 2, 200], np.uint8)], opset=10)


@pytest.mark.parametrize(("a", "b"), PRODUCTS, ids=str)
@pytest.mark.parametrize("types", TYPES, ids=str)
def test_qlinear_matmul(agrees, live, types, a, b):
    left, right = types
    first = [live(numbers(left, a)), np.float32(0.02), left(3)]
    second = [numbers(right, b, left), np.float32(0.03), right(2)]
    agrees("QLinearMatMul", [*first, *second, np.float32(1.7), left(10)], opset=10)
