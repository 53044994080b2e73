"""Convolutions as products in tiles, on the software device."""

from __future__ import annotations

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.layout import chunked_weight
from convc.ir.neural import ConvOp
from convc.targets.cuda.conv import ImplicitGemm
from convc.targets.cuda.target import parse_cuda

SM_90 = "cuda:sm_90a"


def conv(build_kernel, x, outputs, window, *, group=1, bias=True, residual=False, **geometry):
    """A kernel of a convolution, its bias, a residual sum and a ReLU."""
    rank = len(x)
    layout = "NC" + "DHW"[5 - rank :] + "4c"
    weight = ((outputs, x[1] // group, *window), "float32", str(chunked_weight(rank, 4)))
    operands = [(x, "float32", layout), weight, *([((outputs,), "float32", "O4o")] if bias else [])]

    def body(x, w, b=None):
        op = ConvOp(x, w, b, group=group, **geometry)
        return ElementwiseOp(Fn.RELU, op.result).result

    return build_kernel(operands, body, layout)


SHAPES = {
    "1x1": ((1, 64, 14, 14), 32, (1, 1), {}),
    "3x3": ((1, 32, 15, 13), 40, (3, 3), {"pads": (1, 1, 1, 1)}),
    "batch": ((3, 16, 7, 7), 64, (3, 3), {"pads": (1, 1, 1, 1)}),
    "stem": ((1, 3, 31, 29), 16, (7, 7), {"strides": (2, 2), "pads": (3, 3, 3, 3)}),
    "odd channels": ((1, 17, 11, 9), 13, (3, 3), {"pads": (1, 1, 1, 1)}),
    "one pixel": ((1, 24, 1, 1), 12, (1, 1), {}),
    "one wide": ((1, 8, 23, 1), 8, (3, 1), {"pads": (1, 0, 1, 0)}),
    "stride beyond the window": ((1, 8, 13, 13), 8, (2, 2), {"strides": (3, 3)}),
    "uneven pads": ((1, 8, 9, 10), 20, (3, 2), {"pads": (0, 1, 2, 0)}),
    "dilation": ((2, 8, 12, 12), 8, (3, 3), {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
    "groups": ((1, 24, 9, 9), 48, (3, 3), {"group": 3, "pads": (1, 1, 1, 1)}),
    "1-D": ((1, 12, 37), 24, (5,), {"pads": (2, 2)}),
    "3-D": ((1, 8, 5, 6, 7), 16, (3, 3, 3), {"pads": (1, 1, 1, 1, 1, 1)}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, build_kernel, check):
    x, outputs, window, rest = SHAPES[name]
    check(conv(build_kernel, x, outputs, window, **rest), ImplicitGemm(), target=SM_90)


@pytest.mark.parametrize("number", range(6))
def test_tiles(number, build_kernel, check):
    """Every so-many-th tile of a problem, those with split sums among them."""
    kernel = conv(build_kernel, (1, 64, 12, 11), 72, (3, 3), pads=(1, 1, 1, 1))
    candidates = ImplicitGemm().candidates(kernel, parse_cuda(SM_90))
    check(kernel, ImplicitGemm(), target=SM_90, config=candidates[number * len(candidates) // 6])
