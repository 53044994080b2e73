"""Pools of too few channels for a block, in plain layout."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from convc.ir.attributes import PoolKind
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import PoolOp
from convc.targets.choosing import candidates, modelled_cycles
from convc.targets.cpu.plain_pool import PlainPool
from convc.targets.target import parse_target

# shape, kernel, and further arguments
CASES = {
    "3x3, stride 2": ((1, 3, 20, 36), (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "2x2, stride 2": ((2, 3, 20, 50), (2, 2), {"strides": (2, 2)}),
    "9x9, stride 1": ((1, 1, 24, 40), (9, 9), {"pads": (4, 4, 4, 4)}),
    "windows wider than the image": ((1, 2, 5, 4), (9, 9), {"pads": (4, 4, 4, 4)}),
    "one column": ((1, 2, 9, 1), (3, 1), {}),
    "one row": ((1, 2, 1, 33), (1, 5), {"pads": (0, 2, 0, 2)}),
    "stride 3, of a prime width": ((1, 3, 17, 41), (2, 3), {"strides": (1, 3), "pads": (0, 1, 1, 0)}),
    "stride wider than the window": ((1, 1, 13, 40), (1, 1), {"strides": (3, 5)}),
    "dilated": ((1, 2, 16, 29), (3, 3), {"dilations": (2, 4), "pads": (2, 4, 2, 4)}),
    "pads of one side": ((1, 2, 7, 19), (3, 3), {"pads": (2, 0, 0, 2)}),
    "rounded up": ((1, 2, 10, 22), (3, 3), {"strides": (2, 2), "ceil_mode": True}),
    "a waveform": ((2, 1, 101), (4,), {"strides": (2,), "pads": (1, 1)}),
    "a volume": ((1, 2, 5, 6, 19), (3, 3, 3), {"strides": (2, 2, 2), "pads": (1, 1, 1, 1, 1, 1)}),
    "a volume, unevenly": (
        (1, 1, 7, 4, 11),
        (2, 3, 1),
        {"strides": (3, 1, 2), "dilations": (2, 1, 1), "pads": (1, 0, 0, 0, 2, 0)},
    ),
    "planes of a volume": ((2, 1, 3, 9, 18), (1, 2, 2), {"strides": (1, 2, 2), "ceil_mode": True}),
    "large enough for threads": ((1, 3, 130, 140), (3, 3), {"pads": (1, 1, 1, 1)}),
}


def kernel_of(build_kernel, case, kind, dtype="float32", **more):
    shape, window, options = CASES[case]
    return build_kernel([(shape, dtype)], lambda x: PoolOp(kind, x, window, **options, **more).result)


@pytest.mark.parametrize("case", CASES)
def test_largest(case, build_kernel, check):
    check(kernel_of(build_kernel, case, PoolKind.MAX), PlainPool())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_average(case, count_include_pad, build_kernel, check):
    check(kernel_of(build_kernel, case, PoolKind.AVERAGE, count_include_pad=count_include_pad), PlainPool())


def test_double_precision(build_kernel, check):
    check(kernel_of(build_kernel, "3x3, stride 2", PoolKind.AVERAGE, "float64"), PlainPool())


def test_infinities_are_no_padding(build_kernel, check):
    x = np.random.default_rng(0).standard_normal(CASES["3x3, stride 2"][0]).astype(np.float32)
    x[0, 0], x[0, 1, 3], x[0, 2, :, 5] = -np.inf, np.inf, -np.inf
    check(kernel_of(build_kernel, "3x3, stride 2", PoolKind.MAX), PlainPool(), [x])


@pytest.mark.parametrize("kind", [PoolKind.MAX, PoolKind.AVERAGE])
def test_what_stands_around_a_pool_is_part_of_it(kind, build_kernel, check):
    def body(x, scale, other):
        scaled = ElementwiseOp(Fn.MUL, x, scale).result
        pooled = PoolOp(kind, scaled, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)).result
        return ElementwiseOp(Fn.EQUAL if kind is PoolKind.MAX else Fn.ADD, pooled, other).result

    shapes = [(1, 3, 12, 34), (1, 3, 1, 1), (1, 3, 6, 17)]
    check(build_kernel([(shape, "float32") for shape in shapes], body), PlainPool())


def test_separate_steps_make_wide_windows_cheap(build_kernel):
    """Fewer cycles than a vector operation for each tap of each result would take."""
    target, kernel = parse_target("cpu:haswell"), kernel_of(build_kernel, "9x9, stride 1", PoolKind.MAX)
    assert next(candidates(kernel, target))[0] == "plain_pool"
    assert modelled_cycles(kernel, target) < prod(CASES["9x9, stride 1"][0]) * 81 / target.lanes()
