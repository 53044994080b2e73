"""Convolution in plain NCHW: groups of any size, depth multipliers, a single output, one to three dimensions."""

from __future__ import annotations

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import ConvOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.plain_conv import PlainConv
from convc.targets.target import parse_target

# input, weight, what is not the default
CASES = {
    "three groups of odd channels": ((1, 15, 9, 11), (21, 5, 3, 3), {"group": 3, "pads": (1, 1, 1, 1)}),
    "a depth multiplier of 3": ((1, 5, 8, 7), (15, 1, 3, 3), {"group": 5, "pads": (1, 1, 1, 1)}),
    "depthwise": ((2, 7, 10, 9), (7, 1, 3, 5), {"group": 7, "strides": (2, 1), "pads": (0, 2, 1, 2)}),
    "one output": ((1, 13, 12, 17), (1, 13, 3, 3), {"pads": (1, 1, 1, 1)}),
    "one output of 1x1": ((1, 13, 12, 17), (1, 13, 1, 1), {}),
    "one input and one output": ((1, 1, 40, 3), (1, 1, 5, 3), {}),
    "dense": ((2, 6, 9, 19), (10, 6, 3, 3), {"pads": (1, 1, 1, 1)}),
    "1x1, rows without a seam": ((1, 6, 5, 7), (11, 6, 1, 1), {}),
    "1x1 stride 2": ((1, 6, 5, 7), (11, 6, 1, 1), {"strides": (2, 2)}),
    "narrower than a vector": ((1, 4, 9, 3), (4, 4, 3, 2), {"pads": (1, 1, 1, 0)}),
    "one column": ((1, 4, 19, 1), (6, 2, 3, 1), {"group": 2, "pads": (1, 0, 1, 0)}),
    "one pixel": ((2, 8, 1, 1), (6, 4, 1, 1), {"group": 2}),
    "wide": ((1, 3, 4, 211), (7, 3, 1, 7), {"pads": (0, 3, 0, 3)}),
    "stride past the kernel": ((1, 6, 13, 37), (9, 2, 2, 2), {"group": 3, "strides": (3, 4)}),
    "uneven pads": ((1, 3, 8, 20), (5, 3, 3, 4), {"strides": (2, 1), "pads": (0, 3, 2, 1)}),
    "pads past the kernel": ((1, 3, 4, 5), (5, 3, 3, 3), {"pads": (4, 3, 5, 4)}),
    "dilation": (
        (1, 6, 15, 33),
        (4, 3, 3, 3),
        {"group": 2, "dilations": (2, 3), "strides": (1, 2), "pads": (2, 1, 2, 1)},
    ),
    "one dimension": ((3, 6, 57), (9, 2, 5), {"group": 3, "strides": (2,), "pads": (2, 1)}),
    "three dimensions": ((1, 6, 4, 5, 18), (4, 3, 2, 3, 3), {"group": 2, "pads": (1, 0, 1, 1, 1, 1)}),
    "1x1 in three dimensions": ((2, 6, 3, 2, 5), (4, 3, 1, 1, 1), {"group": 2}),
    "large enough for threads": ((1, 24, 40, 40), (36, 8, 3, 3), {"group": 3, "pads": (1, 1, 1, 1)}),
}


def kernel_of(build_kernel, case, epilogue=lambda y: y, dtype="float32", extra=()):
    x, w, attributes = CASES[case]
    return build_kernel(
        [(x, dtype), (w, dtype), ((w[0],), dtype), *((shape, dtype) for shape in extra)],
        lambda x, w, b, *rest: epilogue(ConvOp(x, w, b, **attributes).result, *rest),
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("template", [PlainConv(), Generic()], ids=lambda t: t.name)
def test_a_plain_convolution(case, template, build_kernel, check):
    check(kernel_of(build_kernel, case), template)


@pytest.mark.parametrize("case", ["three groups of odd channels", "1x1 stride 2", "one dimension"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = kernel_of(build_kernel, case)
    for config in PlainConv().candidates(kernel, parse_target("cpu")):
        check(kernel, PlainConv(), config=config)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floating_point_types(dtype, build_kernel, check):
    kernel = kernel_of(build_kernel, "three groups of odd channels", dtype=dtype)
    check(kernel, PlainConv(), tolerance=1e-2 if dtype == "float16" else None)


@pytest.mark.parametrize("case", ["one output", "a depth multiplier of 3", "1x1, rows without a seam", "one pixel"])
def test_residual_and_activation_are_part_of_the_store(case, build_kernel, check):
    def epilogue(y, other, gain):
        added = ElementwiseOp(Fn.ADD, y, other).result
        scaled = ElementwiseOp(Fn.MUL, added, gain).result
        return ElementwiseOp(Fn.SIGMOID, scaled).result

    result = kernel_of(build_kernel, case).outputs[0].type.get_shape()
    gain = (result[0], result[1], 1, 1)
    check(kernel_of(build_kernel, case, epilogue, extra=[result, gain]), PlainConv())
