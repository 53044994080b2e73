"""Transposed convolution: every phase of every stride, pads, dilation, output padding, one to three dimensions."""

from __future__ import annotations

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import ConvTransposeOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.transposed_conv import TransposedConv
from convc.targets.target import parse_target

# input, weight, what is not the default
CASES = {
    "2x2 stride 2": ((1, 24, 7, 9), (24, 16, 2, 2), {"strides": (2, 2)}),
    "3x3 stride 2": (
        (1, 16, 8, 7),
        (16, 24, 3, 3),
        {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)},
    ),
    "4x4 stride 2": ((1, 16, 5, 6), (16, 16, 4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "stride 1": ((1, 16, 6, 5), (16, 16, 3, 3), {"pads": (1, 0, 1, 2)}),
    "stride past the kernel": ((1, 16, 4, 5), (16, 16, 2, 1), {"strides": (3, 4)}),
    "stride past the kernel, output padding": (
        (1, 16, 3, 3),
        (16, 16, 1, 1),
        {"strides": (3, 2), "output_padding": (2, 1)},
    ),
    "uneven pads": ((1, 16, 6, 7), (16, 16, 5, 4), {"strides": (2, 3), "pads": (0, 3, 2, 1)}),
    "pads past the kernel": ((1, 16, 9, 9), (16, 16, 2, 3), {"strides": (2, 1), "pads": (4, 3, 3, 5)}),
    "dilation": ((1, 16, 5, 6), (16, 16, 3, 3), {"strides": (2, 1), "dilations": (2, 3), "pads": (1, 2, 1, 0)}),
    "dilation that shares a factor with the stride": (
        (1, 16, 4, 4),
        (16, 16, 3, 2),
        {"strides": (4, 6), "dilations": (2, 4), "output_padding": (3, 5)},
    ),
    "channels that fill no block": ((1, 5, 6, 5), (5, 19, 3, 3), {"strides": (2, 2)}),
    "one output channel": ((1, 16, 6, 5), (16, 1, 2, 2), {"strides": (2, 2)}),
    "one pixel": ((1, 16, 1, 1), (16, 16, 4, 4), {"strides": (1, 1)}),
    "one column": ((1, 16, 11, 1), (16, 16, 3, 1), {"strides": (2, 1), "pads": (1, 0, 0, 0)}),
    "batch of three": ((3, 16, 4, 5), (16, 16, 3, 3), {"strides": (2, 2), "pads": (1, 1, 0, 0)}),
    "one dimension": ((2, 16, 13), (16, 20, 5), {"strides": (3,), "pads": (2, 1), "output_padding": (1,)}),
    "three dimensions": ((1, 16, 3, 4, 3), (16, 16, 2, 3, 2), {"strides": (2, 1, 2), "pads": (0, 1, 0, 1, 1, 1)}),
    "large enough for threads": ((1, 64, 24, 24), (64, 32, 2, 2), {"strides": (2, 2)}),
}


def kernel_of(build_kernel, case, epilogue=lambda y: y, bias=True):
    x, w, attributes = CASES[case]
    axes, layout = "DHW"[5 - len(x) :], f"NC{'DHW'[5 - len(x) :]}16c"
    biases = [((w[1],), "float32", "O16o")] if bias else []
    return build_kernel(
        [(x, "float32", layout), (w, "float32", f"{axes}IO16o16i"), *biases],
        lambda x, w, *bias: epilogue(ConvTransposeOp(x, w, *bias, **attributes).result),
        layout,
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("template", [TransposedConv(), Generic()], ids=lambda t: t.name)
def test_a_transposed_convolution(case, template, build_kernel, check):
    kernel = kernel_of(build_kernel, case)
    if not template.applies(kernel, parse_target("cpu")):
        pytest.skip("a single channel has no blocked layout")
    check(kernel, template)


@pytest.mark.parametrize("case", ["3x3 stride 2"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = kernel_of(build_kernel, case, bias=False)
    for config in TransposedConv().candidates(kernel, parse_target("cpu")):
        check(kernel, TransposedConv(), config=config)


@pytest.mark.parametrize("case", ["3x3 stride 2", "stride past the kernel", "channels that fill no block"])
def test_an_activation_is_part_of_the_store(case, build_kernel, check):
    check(kernel_of(build_kernel, case, lambda y: ElementwiseOp(Fn.SIGMOID, y).result), TransposedConv())


def test_groups_are_for_others(build_kernel, check):
    kernel = build_kernel(
        [((1, 6, 5, 4), "float32"), ((6, 2, 3, 3), "float32"), ((4,), "float32")],
        lambda x, w, b: ConvTransposeOp(x, w, b, strides=(2, 1), pads=(1, 0, 1, 1), group=2).result,
    )
    assert not TransposedConv().applies(kernel, parse_target("cpu"))
    check(kernel, Generic())
