"""Depthwise convolutions and pools, on the software device."""

from __future__ import annotations

import pytest

from convc.ir.attributes import PoolKind
from convc.ir.data import CastOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import ConvOp, PoolOp
from convc.targets.cuda.window import Window

SM_90 = "cuda:sm_90a"
WINDOWS = {
    "3x3": ((1, 16, 9, 11), (3, 3), {"pads": (1, 1, 1, 1)}),
    "stride": ((2, 8, 13, 14), (5, 5), {"pads": (2, 2, 2, 2), "strides": (2, 2)}),
    "odd channels": ((1, 13, 8, 7), (3, 3), {"pads": (1, 1, 1, 1)}),
    "dilation": ((1, 8, 12, 9), (3, 3), {"pads": (2, 2, 2, 2), "dilations": (2, 2)}),
    "stride beyond the window": ((1, 8, 11, 11), (2, 2), {"strides": (3, 3)}),
    "uneven pads": ((1, 8, 7, 5), (3, 2), {"pads": (0, 1, 2, 0)}),
    "one wide": ((1, 8, 17, 1), (3, 1), {"pads": (1, 0, 1, 0)}),
    "large": ((1, 8, 16, 15), (9, 9), {"pads": (4, 4, 4, 4)}),
    "1-D": ((1, 12, 23), (3,), {"pads": (1, 1)}),
    "3-D": ((1, 8, 5, 4, 6), (3, 3, 3), {"pads": (1, 1, 1, 1, 1, 1)}),
}


def layout(rank, block):
    return "CN" + "DHW"[5 - rank :] + f"{block}c"


@pytest.mark.parametrize(
    ("name", "width"), [*((name, 1) for name in WINDOWS), ("3x3", 2), ("3x3", 4), ("stride", 4), ("odd channels", 2)]
)
def test_depthwise(name, width, build_kernel, check):
    x, window, rest = WINDOWS[name]
    blocked = layout(len(x), 4)
    weight = ((x[1], 1, *window), "float32", "OI" + "DHW"[5 - len(x) :] + "4o")

    def body(x_, w, b):
        return ElementwiseOp(Fn.SIGMOID, ConvOp(x_, w, b, group=x[1], **rest).result).result

    kernel = build_kernel([(x, "float32", blocked), weight, ((x[1],), "float32", "O4o")], body, blocked)
    check(kernel, Window(), target=SM_90, config={"width": width})


@pytest.mark.parametrize("kind", [PoolKind.MAX, PoolKind.AVERAGE], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", WINDOWS)
def test_pools(name, kind, build_kernel, check):
    x, window, rest = WINDOWS[name]
    blocked = layout(len(x), 4)
    kernel = build_kernel([(x, "float32", blocked)], lambda x_: PoolOp(kind, x_, window, **rest).result, blocked)
    check(kernel, Window(), target=SM_90)


def test_halves(build_kernel, check):
    """Values of 16 bits are converted as they are read, and summed in float32."""
    shape, f32, f16 = (1, 24, 9, 11), from_numpy("float32"), from_numpy("float16")

    def body(x, w):
        wide = [CastOp(value, f32).result for value in (x, w)]
        return CastOp(ConvOp(*wide, group=24, pads=(1, 1, 1, 1)).result, f16).result

    kernel = build_kernel([(shape, "float16", "CNHW8c"), ((24, 1, 3, 3), "float16", "OIHW8o")], body, "CNHW8c")
    check(kernel, Window(), target=SM_90)
