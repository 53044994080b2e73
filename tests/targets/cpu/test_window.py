"""Depthwise convolutions and pools in blocks of channels, over windows and maps that fit no tile."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import PoolKind
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import ConvOp, PoolOp
from convc.targets.cpu.depthwise import Depthwise
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.window import BlockedWindow
from convc.targets.target import parse_target

# input, window, what is not the default
WINDOWS = {
    "3x3": ((1, 32, 14, 14), (3, 3), {"pads": (1, 1, 1, 1)}),
    "3x3 stride 2": ((1, 16, 15, 13), (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "3x3 stride 2, pads at the end": ((1, 16, 14, 14), (3, 3), {"strides": (2, 2), "pads": (0, 0, 1, 1)}),
    "5x5": ((1, 24, 7, 7), (5, 5), {"pads": (2, 2, 2, 2)}),
    "7x7, more taps than are unrolled": ((1, 16, 9, 20), (7, 7), {"pads": (3, 3, 3, 3)}),
    "13x13 as in spatial pyramids": ((1, 16, 13, 13), (13, 13), {"pads": (6, 6, 6, 6)}),
    "channels that fill no block": ((1, 19, 9, 10), (3, 3), {"pads": (1, 1, 1, 1)}),
    "2x2 without overlap": ((1, 16, 9, 11), (2, 2), {"strides": (2, 2)}),
    "stride past the window": ((1, 16, 17, 19), (2, 3), {"strides": (3, 5)}),
    "uneven pads": ((1, 16, 8, 9), (4, 3), {"strides": (2, 1), "pads": (0, 2, 3, 1)}),
    "dilation": ((1, 16, 15, 14), (3, 3), {"strides": (1, 2), "dilations": (2, 3), "pads": (2, 3, 1, 2)}),
    "the whole map": ((1, 16, 7, 6), (7, 6), {}),
    "one pixel": ((1, 16, 1, 1), (3, 3), {"pads": (1, 1, 1, 1)}),
    "one column": ((1, 16, 23, 1), (3, 1), {"pads": (1, 0, 1, 0)}),
    "one row": ((1, 16, 1, 23), (1, 3), {"pads": (0, 1, 0, 1)}),
    "two columns": ((1, 16, 31, 2), (3, 3), {"pads": (1, 1, 1, 1)}),
    "batch of three": ((3, 16, 5, 6), (3, 3), {"pads": (1, 1, 1, 1)}),
    "one dimension": ((2, 20, 37), (5,), {"strides": (2,), "pads": (2, 1)}),
    "three dimensions": ((1, 16, 4, 5, 6), (2, 3, 3), {"strides": (1, 2, 1), "pads": (1, 1, 1, 0, 1, 1)}),
    "large enough for threads": ((1, 64, 40, 40), (3, 3), {"pads": (1, 1, 1, 1)}),
}


def layout_of(x, block=16):
    return f"NC{'DHW'[5 - len(x) :]}{block}c"


def depthwise(build_kernel, case, epilogue=lambda y: y, extra=()):
    x, window, attributes = WINDOWS[case]
    axes = "DHW"[5 - len(x) :]
    channels = x[1]
    weights = [((channels, 1, *window), "float32", f"OI{axes}16o"), ((channels,), "float32", "O16o")]
    return build_kernel(
        [(x, "float32", layout_of(x)), *weights, *((shape, "float32", layout_of(x)) for shape in extra)],
        lambda x, w, b, *rest: epilogue(ConvOp(x, w, b, group=x.type.get_shape()[1], **attributes).result, *rest),
        layout_of(x),
    )


def pool(build_kernel, case, kind, dtype="float32", block=16, epilogue=lambda y: y, **options):
    x, window, attributes = WINDOWS[case]
    return build_kernel(
        [(x, dtype, layout_of(x, block))],
        lambda x: epilogue(PoolOp(kind, x, window, **attributes, **options).result),
        layout_of(x, block),
    )


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("template", [BlockedWindow(), Generic()], ids=lambda t: t.name)
def test_a_depthwise_convolution(case, template, build_kernel, check):
    check(depthwise(build_kernel, case), template)


IMAGES = [case for case, (x, *_) in WINDOWS.items() if len(x) == 4]


@pytest.mark.parametrize("case", IMAGES)
def test_rows_of_a_depthwise_convolution(case, build_kernel, check):
    kernel = depthwise(build_kernel, case)
    configs = Depthwise().candidates(kernel, parse_target("cpu"))
    for config in [*configs, {**configs[0], "band": 2}]:
        check(kernel, Depthwise(), config=config)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_wide_taps_and_types(dtype, build_kernel, check):
    x, w = (1, 16, 9, 33), (16, 1, 5, 31)
    kernel = build_kernel(
        [(x, dtype, "NCHW16c"), (w, dtype, "OIHW16o")],
        lambda x, w: ConvOp(x, w, group=16, pads=(2, 15, 2, 15)).result,
        "NCHW16c",
    )
    check(kernel, Depthwise())


def test_padding_that_most_tiles_read_is_left_to_windows(build_kernel, check):
    operands = [((1, 16, 3, 400), "float32", "NCHW16c"), ((16, 1, 3, 3), "float32", "OIHW16o")]
    attributes = {"group": 16, "dilations": (1, 180), "pads": (1, 180, 1, 180)}
    kernel = build_kernel(operands, lambda x, w: ConvOp(x, w, **attributes).result, "NCHW16c")
    assert not Depthwise().applies(kernel, parse_target("cpu"))
    check(kernel, BlockedWindow())


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("kind", PoolKind)
def test_a_pool(case, kind, build_kernel, check):
    check(pool(build_kernel, case, kind), BlockedWindow())


@pytest.mark.parametrize("case", ["3x3 stride 2", "2x2 without overlap", "dilation", "uneven pads", "one dimension"])
@pytest.mark.parametrize("kind", PoolKind)
def test_a_pool_with_windows_beyond_the_end(case, kind, build_kernel, check):
    check(pool(build_kernel, case, kind, ceil_mode=True), BlockedWindow())


@pytest.mark.parametrize("case", ["3x3", "3x3 stride 2", "uneven pads", "dilation", "three dimensions"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("template", [BlockedWindow(), Generic()], ids=lambda t: t.name)
def test_an_average_that_counts_its_padding(case, ceil_mode, template, build_kernel, check):
    check(pool(build_kernel, case, PoolKind.AVERAGE, ceil_mode=ceil_mode, count_include_pad=True), template)


@pytest.mark.parametrize("kind", PoolKind)
def test_infinities_stay_in_their_windows(kind, build_kernel, check):
    x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
    x[0, 0, 3, 3], x[0, 1, 5, 5], x[0, 3] = np.inf, -np.inf, -np.inf
    check(pool(build_kernel, "3x3", kind), BlockedWindow(), [x])


def test_padding_is_below_the_lowest_number(build_kernel, check):
    kernel = pool(build_kernel, "3x3", PoolKind.MAX)
    check(kernel, BlockedWindow(), [np.full((1, 32, 14, 14), np.finfo(np.float32).min, np.float32)])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint8", "int32"])
def test_largest_elements_of_other_types(dtype, build_kernel, check):
    check(pool(build_kernel, "3x3 stride 2", PoolKind.MAX, dtype), BlockedWindow())


@pytest.mark.parametrize("block", [4, 8, 32])
def test_blocks_of_other_sizes_than_a_vector(block, build_kernel, check):
    check(pool(build_kernel, "channels that fill no block", PoolKind.AVERAGE, block=block), BlockedWindow())


@pytest.mark.parametrize("case", ["3x3", "5x5", "one dimension"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = depthwise(build_kernel, case)
    for config in BlockedWindow().candidates(kernel, parse_target("cpu")):
        check(kernel, BlockedWindow(), config=config)


@pytest.mark.parametrize("case", ["3x3", "channels that fill no block", "one dimension"])
def test_residual_and_activation_are_part_of_the_store(case, build_kernel, check):
    def epilogue(y, a, b):
        added = ElementwiseOp(Fn.ADD, ElementwiseOp(Fn.ADD, y, a).result, b).result
        return ElementwiseOp(Fn.HARD_SWISH, added).result

    result = depthwise(build_kernel, case).outputs[0].type.get_shape()
    template = Depthwise() if case in IMAGES else BlockedWindow()
    check(depthwise(build_kernel, case, epilogue, extra=[result, result]), template)


@pytest.mark.parametrize("case", ["3x3 stride 2", "5x5", "channels that fill no block", "two columns"])
def test_a_long_epilogue_is_a_loop_over_the_tile(case, build_kernel, check):
    check(depthwise(build_kernel, case, lambda y: ElementwiseOp(Fn.SILU, y).result), Depthwise())


@pytest.mark.parametrize("case", ["2x2 without overlap", "channels that fill no block"])
def test_functions_of_zero_that_are_not_zero_leave_the_padding_alone(case, build_kernel, check):
    kernel = pool(build_kernel, case, PoolKind.AVERAGE, epilogue=lambda y: ElementwiseOp(Fn.EXP, y).result)
    check(kernel, BlockedWindow())
