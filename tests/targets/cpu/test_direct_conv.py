"""Direct convolution against float64 numpy, over shapes that fit no tile."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import shape_of, tensor
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ConvOp
from convc.ir.shapes import convolution
from convc.targets.cpu.direct_conv import DirectConv


def reference(x, w, bias, strides, pads, dilations, group):
    """Convolution in float64, one tap at a time."""
    rank = x.ndim - 2
    shape = convolution(x.shape, w.shape, strides, pads, dilations, group)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:])])
    outputs, inputs = w.shape[0] // group, w.shape[1]
    y = np.zeros(shape)
    for tap in np.ndindex(*w.shape[2:]):
        at = tuple(slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in zip(tap, dilations, shape[2:], strides))
        for g in range(group):
            part = x[(slice(None), slice(g * inputs, (g + 1) * inputs), *at)]
            weight = w[(slice(g * outputs, (g + 1) * outputs), slice(None), *tap)].astype(np.float64)
            y[:, g * outputs : (g + 1) * outputs] += np.einsum("nc...,oc->no...", part, weight)
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


# input, weight, strides, pads, dilations, group
CASES = {
    "3x3": ((1, 16, 14, 14), (32, 16, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "1x1": ((1, 24, 7, 7), (40, 24, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "1x1 stride 2": ((1, 16, 11, 9), (16, 16, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    "channels that fill no block": ((1, 11, 9, 9), (13, 11, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "one pixel": ((1, 16, 1, 1), (24, 16, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "one column": ((1, 8, 17, 1), (16, 8, 3, 1), (1, 1), (1, 0, 1, 0), (1, 1), 1),
    "one row": ((1, 8, 1, 19), (16, 8, 1, 5), (1, 1), (0, 2, 0, 2), (1, 1), 1),
    "prime sizes": ((1, 8, 23, 13), (24, 8, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "stride past the kernel": ((1, 8, 17, 17), (16, 8, 2, 2), (3, 3), (0, 0, 0, 0), (1, 1), 1),
    "uneven pads": ((1, 8, 10, 11), (16, 8, 3, 4), (2, 1), (0, 3, 2, 1), (1, 1), 1),
    "dilation": ((1, 8, 15, 15), (16, 8, 3, 3), (1, 2), (2, 1, 2, 1), (2, 3), 1),
    "two groups": ((1, 16, 9, 9), (48, 8, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
    "groups of one block": ((1, 32, 6, 6), (32, 8, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 4),
    "batch of two": ((2, 16, 7, 7), (24, 16, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "batch of three, 1x1": ((3, 16, 5, 5), (24, 16, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "one dimension": ((2, 12, 31), (20, 12, 5), (2,), (2, 1), (1,), 1),
    "three dimensions": ((1, 8, 5, 6, 7), (16, 8, 3, 2, 3), (1, 2, 1), (1, 0, 1, 1, 1, 1), (1, 1, 1), 1),
    "large enough for threads": ((1, 64, 28, 28), (64, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
}


def operands(case, rng):
    x, w = CASES[case][:2]
    scale = (np.prod(w[1:])) ** -0.5
    return (
        rng.standard_normal(x).astype(np.float32),
        (rng.standard_normal(w) * scale).astype(np.float32),
        rng.standard_normal(w[0]).astype(np.float32),
    )


def conv_kernel(build_kernel, case, blocked=True, epilogue=None, extra=()):
    """conv + bias and what `epilogue` makes of its result and the extra operands, in blocks of 8."""
    x, w, strides, pads, dilations, group = CASES[case]
    rank = len(x)
    layout = "NC" + "DHW"[5 - rank :] + "8c"
    weight = "OI" + "DHW"[5 - rank :] + ("8i8o" if blocked else "8o")

    def body(x, w, bias, *rest):
        shape = convolution(shape_of(x), shape_of(w), strides, pads, dilations, group)
        result = tensor(x.type.element_type, shape, layout)
        conv = ConvOp(x, w, bias, strides=strides, pads=pads, dilations=dilations, group=group, result=result).result
        return epilogue(conv, *rest) if epilogue else conv

    operands = [
        (x, "float32", layout) if blocked else (x, "float32"),
        (w, "float32", weight),
        ((w[0],), "float32", "O8o"),
        *((shape, "float32", layout) for shape in extra),
    ]
    return build_kernel(operands, body, layout)


def assert_close(actual, expected):
    assert np.isfinite(actual).all()
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_direct_convolution_computes_the_definition(case, build_kernel, run_kernel):
    x, w, bias = operands(case, np.random.default_rng(0))
    actual = run_kernel(conv_kernel(build_kernel, case), DirectConv(), [x, w, bias])
    assert_close(actual, reference(x, w, bias, *CASES[case][2:]))


@pytest.mark.parametrize("case", ["3x3", "channels that fill no block", "uneven pads", "dilation", "batch of two"])
def test_a_plain_input_of_few_channels_needs_no_layout(case, build_kernel, run_kernel):
    x, w, bias = operands(case, np.random.default_rng(1))
    actual = run_kernel(conv_kernel(build_kernel, case, blocked=False), DirectConv(), [x, w, bias])
    assert_close(actual, reference(x, w, bias, *CASES[case][2:]))


@pytest.mark.parametrize("case", ["1x1 stride 2", "channels that fill no block", "batch of two"])
def test_residual_and_activation_are_part_of_the_store(case, build_kernel, run_kernel):
    x, w, bias = operands(case, np.random.default_rng(2))
    expected = reference(x, w, bias, *CASES[case][2:])
    residual = np.random.default_rng(3).standard_normal(expected.shape).astype(np.float32)

    def epilogue(conv, other):
        added = ElementwiseOp(Fn.ADD, conv, other, result=conv.type).result
        return ElementwiseOp(Fn.SIGMOID, added, result=conv.type).result

    kernel = conv_kernel(build_kernel, case, epilogue=epilogue, extra=[expected.shape])
    actual = run_kernel(kernel, DirectConv(), [x, w, bias, residual])
    assert_close(actual, 1 / (1 + np.exp(-(expected + residual))))
