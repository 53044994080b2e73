"""Convolutions as products in tiles, on the software device."""

from __future__ import annotations

import pytest

from convc.targets.cuda.conv import ImplicitGemm
from convc.targets.cuda.target import parse_cuda

SM_90 = "cuda:sm_90a"


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
TOLERANCES = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3, "tf32": 2e-3}
"""max|diff| / max|ref|: half a unit in the last place of the result's type, and what rounded factors add up to."""


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, dtype, conv, check):
    x, outputs, window, rest = SHAPES[name]
    kernel = conv(x, outputs, window, dtype=dtype, **rest)
    check(kernel, ImplicitGemm(), target=SM_90, tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", ["bfloat16", "tf32"])
@pytest.mark.parametrize("name", ["3x3", "odd channels"])
def test_other_types(name, dtype, conv, check):
    x, outputs, window, rest = SHAPES[name]
    stored = "float32" if dtype == "tf32" else dtype
    kernel = conv(x, outputs, window, dtype=stored, **rest)
    target = SM_90 + "+tf32" if dtype == "tf32" else SM_90
    check(kernel, ImplicitGemm(), target=target, tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("number", range(5))
def test_tiles(number, dtype, conv, check):
    """Every so-many-th tile of a problem, those with split sums among them."""
    kernel = conv((1, 64, 12, 11), 72, (3, 3), dtype=dtype, pads=(1, 1, 1, 1))
    candidates = ImplicitGemm().candidates(kernel, parse_cuda(SM_90))
    config = candidates[number * len(candidates) // 5]
    check(kernel, ImplicitGemm(), target=SM_90, config=config, tolerance=TOLERANCES[dtype])
