"""Changes of layout, both ways, for every rank and block, of every element type; and what is computed on the way."""

from __future__ import annotations

import pytest

from convc.ir.data import RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

SHAPES = {
    "one dimension": (2, 21, 37),
    "an image": (1, 3, 17, 13),
    "whole blocks": (1, 32, 7, 9),
    "channels that fill no block": (2, 19, 5, 6),
    "fewer channels than a block": (1, 5, 11, 3),
    "one pixel": (3, 40, 1, 1),
    "one column": (1, 24, 33, 1),
    "one channel": (2, 1, 6, 7),
    "three dimensions": (1, 18, 3, 4, 5),
    "large enough for threads": (1, 70, 61, 53),
}


def blocked(shape, block):
    return f"NC{'DHW'[5 - len(shape) :]}{block}c"


def relayout(build_kernel, shape, dtype, before, after, epilogue=lambda y: y):
    return build_kernel([(shape, dtype, before)], lambda x: epilogue(RelayoutOp(x, after).result))


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("block", [4, 8, 16])
def test_plain_to_blocks_and_back(case, block, build_kernel, check):
    layout = blocked(SHAPES[case], block)
    check(relayout(build_kernel, SHAPES[case], "float32", None, layout), Injective())
    check(relayout(build_kernel, SHAPES[case], "float32", layout, None), Injective())


@pytest.mark.parametrize("case", ["an image", "channels that fill no block", "three dimensions"])
def test_by_the_generic_template(case, build_kernel, check):
    layout = blocked(SHAPES[case], 16)
    check(relayout(build_kernel, SHAPES[case], "float32", None, layout), Generic())
    check(relayout(build_kernel, SHAPES[case], "float32", layout, None), Generic())


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("case", ["an image", "channels that fill no block", "one dimension"])
def test_other_types(dtype, case, build_kernel, check):
    layout = blocked(SHAPES[case], 16)
    check(relayout(build_kernel, SHAPES[case], dtype, None, layout), Injective())
    check(relayout(build_kernel, SHAPES[case], dtype, layout, None), Injective())


@pytest.mark.parametrize(("before", "after"), [("NCHW8c", "NCHW16c"), ("NCHW16c", "NCHW8c"), ("NCHW16c", "NHWC")])
@pytest.mark.parametrize("case", ["an image", "whole blocks", "channels that fill no block"])
def test_blocks_to_other_blocks_and_channels_last(before, after, case, build_kernel, check):
    check(relayout(build_kernel, SHAPES[case], "float32", before, after), Injective())
    check(relayout(build_kernel, SHAPES[case], "float32", after, before), Injective())


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((40, 19, 3, 3), "OIHW16i16o"),
        ((40, 19, 3, 3), "OIHW16o"),
        ((17, 40, 2, 3), "OIHW16o16i"),
        ((9, 30), "OI16o"),
        ((20, 12, 5), "OIW8i8o"),
        ((33,), "O16o"),
    ],
)
def test_weights_known_at_run_time_only(shape, layout, build_kernel, check):
    check(relayout(build_kernel, shape, "float32", None, layout), Injective())
    check(relayout(build_kernel, shape, "float32", layout, None), Injective())


@pytest.mark.parametrize("layout", [None, "NCHW16c"])
@pytest.mark.parametrize("function", [Fn.EXP, Fn.SILU])
def test_functions_on_the_way(layout, function, build_kernel, check):
    def body(x):
        value = RelayoutOp(x, layout).result
        return ElementwiseOp(function, value, result=value.type).result

    before = "NCHW16c" if layout is None else None
    check(build_kernel([(SHAPES["channels that fill no block"], "float32", before)], body), Injective())
