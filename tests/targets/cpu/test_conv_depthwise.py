"""A convolution and the depthwise one that reads it, in one kernel, over maps and windows that fit nothing."""

from __future__ import annotations

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp
from convc.targets.cpu.conv_depthwise import ConvDepthwise
from convc.targets.cpu.depthwise import Depthwise
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.window import BlockedWindow
from convc.targets.target import parse_target

ONE, ALONE = (1, 1), {}
# input, channels between, first window and what is not the default of it, the same of the second
PAIRS = {
    "1x1, 3x3": ((1, 32, 14, 14), 48, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "at stride 2": ((1, 16, 15, 13), 32, ONE, ALONE, (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "pads at the end": ((1, 16, 14, 14), 32, ONE, ALONE, (3, 3), {"strides": (2, 2), "pads": (0, 0, 1, 1)}),
    "5x5": ((1, 24, 7, 7), 48, ONE, ALONE, (5, 5), {"pads": (2, 2, 2, 2)}),
    "a window past the map": ((1, 16, 3, 9), 16, ONE, ALONE, (7, 7), {"pads": (3, 3, 3, 3)}),
    "no pads": ((1, 16, 9, 11), 32, ONE, ALONE, (3, 3), {}),
    "stride past the window": ((1, 16, 17, 19), 32, ONE, ALONE, (2, 3), {"strides": (3, 5)}),
    "uneven pads": ((1, 16, 8, 9), 32, ONE, ALONE, (4, 3), {"strides": (2, 1), "pads": (0, 2, 3, 1)}),
    "pads past the window": ((1, 16, 8, 9), 32, ONE, ALONE, (2, 2), {"pads": (4, 3, 5, 3)}),
    "dilation": ((1, 16, 15, 14), 16, ONE, ALONE, (3, 3), {"dilations": (2, 3), "pads": (2, 3, 1, 2)}),
    "channels that fill no block": ((1, 19, 9, 10), 37, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "many blocks": ((1, 16, 6, 6), 112, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "two columns": ((1, 16, 31, 2), 32, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "two rows": ((1, 16, 2, 23), 32, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "batch of three": ((3, 16, 5, 6), 32, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
    "first at stride 2": ((1, 16, 15, 14), 32, ONE, {"strides": (2, 2)}, (3, 3), {"pads": (1, 1, 1, 1)}),
    "3x3, 3x3": (
        (2, 16, 11, 13),
        32,
        (3, 3),
        {"pads": (1, 1, 1, 1), "dilations": (1, 2)},
        (3, 3),
        {"pads": (1, 1, 1, 1)},
    ),
    "a first layer": (
        (1, 3, 35, 33),
        32,
        (3, 3),
        {"strides": (2, 2), "pads": (0, 0, 1, 1)},
        (3, 3),
        {"pads": (1, 1, 1, 1)},
    ),
    "enough for threads": ((1, 32, 40, 40), 96, ONE, ALONE, (3, 3), {"pads": (1, 1, 1, 1)}),
}


def pair(build_kernel, case, between=lambda y: y, epilogue=lambda y: y, extra=()):
    """The kernel of both; `extra` are shapes of more operands of `between`."""
    x, channels, first, first_attributes, second, second_attributes = PAIRS[case]
    plain = x[1] == 3
    operands = [
        (x, "float32") if plain else (x, "float32", "NCHW16c"),
        ((channels, x[1], *first), "float32", "OIHW16o" if plain else "OIHW16i16o"),
        ((channels,), "float32", "O16o"),
        *((shape, "float32", "NCHW16c") for shape in extra),
    ]
    alone = build_kernel(
        operands, lambda x, w, b, *rest: between(ConvOp(x, w, b, **first_attributes).result, *rest), "NCHW16c"
    )

    def both(w, b, *inputs):
        inner = KernelOp(inputs, alone.body.clone(), [alone.outputs[0].type])
        return epilogue(ConvOp(inner.outputs[0], w, b, group=channels, **second_attributes).result)

    weights = [((channels, 1, *second), "float32", "OIHW16o"), ((channels,), "float32", "O16o")]
    return build_kernel([*weights, *operands], both, "NCHW16c")


@pytest.mark.parametrize("case", PAIRS)
def test_both_in_one_kernel(case, build_kernel, check):
    kernel, template = pair(build_kernel, case), ConvDepthwise()
    config = template.candidates(kernel, parse_target("cpu"))[0]
    check(kernel, template, config=config)
    for change in ({"band": 3, "lines": 1}, {"band": 5, "lines": 2, "share": 1}, {"share": 2, "lines": 3}):
        check(kernel, template, config={**config, **change})


@pytest.mark.parametrize("case", ["at stride 2", "channels that fill no block", "a first layer"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = pair(build_kernel, case)
    for config in ConvDepthwise().candidates(kernel, parse_target("cpu")):
        check(kernel, ConvDepthwise(), config=config)


@pytest.mark.parametrize("target", ["cpu:x86-64-v3", "cpu:skylake-avx512", "cpu:cortex-a72"])
def test_other_processors_have_candidates(target, build_kernel):
    block = parse_target(target)
    kernel = pair(build_kernel, "enough for threads")
    assert ConvDepthwise().candidates(kernel, block)


@pytest.mark.parametrize("function", [Fn.RELU, Fn.SILU])
@pytest.mark.parametrize("case", ["1x1, 3x3", "channels that fill no block", "at stride 2"])
def test_activations_and_sums_on_both_sides(case, function, build_kernel, check):
    x, channels, *_ = PAIRS[case]

    def between(y, a):
        return ElementwiseOp(function, ElementwiseOp(Fn.ADD, y, a).result).result

    kernel = pair(
        build_kernel, case, between, lambda y: ElementwiseOp(function, y).result, extra=[(x[0], channels, *x[2:])]
    )
    check(kernel, ConvDepthwise())


def test_the_fallback_computes_kernels_within_kernels(build_kernel, check):
    check(pair(build_kernel, "at stride 2", lambda y: ElementwiseOp(Fn.RELU, y).result), Generic())


def test_no_template_for_one_convolution_takes_both(build_kernel):
    kernel, target = pair(build_kernel, "1x1, 3x3"), parse_target("cpu")
    assert not Depthwise().applies(kernel, target)
    assert not BlockedWindow().applies(kernel, target)
