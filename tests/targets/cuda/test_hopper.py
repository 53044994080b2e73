"""Convolutions by Hopper's own instructions, on the software device."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from convc.ir.data import CastOp
from convc.ir.dtypes import from_numpy
from convc.ir.windows import ConvOp
from convc.targets.cuda.codegen import generate
from convc.targets.cuda.hopper import HopperGemm
from convc.targets.cuda.hopper_tiling import HopperTile, best_box, box_count
from convc.targets.cuda.library import source_of
from convc.targets.cuda.target import parse_cuda

SM_90 = "cuda:sm_90a"
SAME = {"pads": (1, 1, 1, 1)}
SHAPES = {
    "1x1": ((1, 64, 14, 14), 32, (1, 1), {}),
    "3x3": ((1, 32, 15, 13), 40, (3, 3), SAME),
    "batch": ((3, 16, 7, 7), 64, (3, 3), SAME),
    "1x1, batch": ((3, 24, 7, 7), 72, (1, 1), {}),
    "stride": ((2, 16, 13, 12), 16, (3, 3), {"strides": (2, 2), **SAME}),
    "1x1, stride": ((1, 48, 9, 9), 24, (1, 1), {"strides": (2, 2)}),
    "stride beyond the window": ((1, 16, 13, 13), 8, (2, 2), {"strides": (3, 3)}),
    "stride of rows alone": ((1, 8, 13, 13), 8, (3, 3), {"strides": (2, 1), **SAME}),
    "odd channels": ((1, 17, 11, 9), 13, (3, 3), SAME),
    "three channels": ((1, 3, 31, 29), 16, (7, 7), {"pads": (3, 3, 3, 3)}),
    "one pixel": ((1, 24, 1, 1), 12, (1, 1), {}),
    "one wide": ((1, 8, 23, 1), 8, (3, 1), {"pads": (1, 0, 1, 0)}),
    "uneven pads": ((1, 8, 9, 10), 20, (3, 2), {"pads": (0, 1, 2, 0)}),
    "dilation": ((2, 8, 12, 12), 8, (3, 3), {"dilations": (2, 3), "pads": (2, 3, 2, 3)}),
    "groups": ((1, 24, 9, 9), 48, (3, 3), {"group": 3, **SAME}),
    "wide groups": ((1, 48, 9, 9), 48, (3, 3), {"group": 3, **SAME}),
    "1-D": ((1, 12, 37), 24, (5,), {"pads": (2, 2)}),
    "3-D": ((1, 8, 5, 6, 7), 16, (3, 3, 3), {"pads": (1, 1, 1, 1, 1, 1)}),
}
TOLERANCES = {"float16": 1e-3, "bfloat16": 8e-3}
"""max|diff| / max|ref|: half a unit in the last place of the result's type, and what rounded factors add up to."""

SERIALISED = "warpgroup."
"""In what the compiler says where it must keep the products of a warpgroup from overlapping."""


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float16") for name in SHAPES), ("3x3", "bfloat16"), ("odd channels", "bfloat16")]
)
def test_shapes(name, dtype, conv, check, capfd):
    x, outputs, window, rest = SHAPES[name]
    kernel = conv(x, outputs, window, dtype=dtype, **rest)
    check(kernel, HopperGemm(), target=SM_90, tolerance=TOLERANCES[dtype])
    assert SERIALISED not in capfd.readouterr().err


TILES = {
    "a ring that is filled again": (64, 64, 8, 1, 3, 1),
    "boxes of one chunk": (128, 32, 1, 8, 4, 1),
    "two boxes a stage": (64, 128, 2, 2, 6, 1),
    "weights in two runs": (128, 256, 4, 2, 3, 1),
    "four warpgroups": (256, 128, 8, 1, 3, 1),
    "columns that are no power of two": (192, 88, 8, 1, 4, 1),
    "a cluster of two": (64, 128, 8, 1, 3, 2),
    "a cluster of eight": (64, 64, 4, 1, 3, 8),
    "weights in two runs of two blocks": (128, 256, 4, 2, 3, 1, 0, 2),
}


@pytest.mark.parametrize("name", TILES)
def test_tiles(name, conv, check, capfd):
    kernel = conv((2, 72, 12, 11), 256, (3, 3), dtype="float16", **SAME)
    config = vars(HopperTile(*TILES[name]))
    assert config in HopperGemm().candidates(kernel, parse_cuda(SM_90))
    check(kernel, HopperGemm(), target=SM_90, config=config, tolerance=TOLERANCES["float16"])
    assert SERIALISED not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["3x3", "1x1, batch", "stride", "odd channels", "groups", "uneven pads", "3-D"])
def test_blocks_that_stay_do_all_tiles(name, conv, check, capfd):
    """One block does all of them, in the smallest tiles; its ring is in the midst of a round from one to the next."""
    x, outputs, window, rest = SHAPES[name]
    kernel, one = conv(x, outputs, window, dtype="float16", **rest), replace(parse_cuda(SM_90), multiprocessors=1)
    whole = [config for config in HopperGemm().candidates(kernel, one) if config["splits"] == 1]
    config = min(whole, key=lambda c: (c["rows"] * c["columns"], c["blocks"] * c["boxes"], c["stages"]))
    check(kernel, HopperGemm(), target=one, config=config | {"resident": 1}, tolerance=TOLERANCES["float16"])
    assert SERIALISED not in capfd.readouterr().err


@pytest.mark.parametrize("resident", [0, 1])
@pytest.mark.parametrize("name", ["3x3", "stride", "odd channels", "wide groups", "1x1, batch"])
def test_blocks_load_weights_for_each_other(name, resident, conv, check, capfd):
    """Also where a cluster's last block has no rows to compute."""
    x, outputs, window, rest = SHAPES[name]
    kernel, few = conv(x, outputs, window, dtype="float16", **rest), replace(parse_cuda(SM_90), multiprocessors=2)
    pairs = [config for config in HopperGemm().candidates(kernel, few) if config["sharing"] == 2]
    config = min(pairs, key=lambda c: (c["rows"] * c["columns"], c["blocks"] * c["boxes"], c["stages"]))
    check(kernel, HopperGemm(), target=few, config=config | {"resident": resident}, tolerance=TOLERANCES["float16"])
    assert SERIALISED not in capfd.readouterr().err


def test_several_blocks_that_stay_share_the_tiles(conv, check, machine_code):
    """Where the model lets them; a multiprocessor has registers for as many as it says."""
    kernel = conv((5, 64, 28, 27), 136, (1, 1), dtype="float16")
    few = replace(parse_cuda(SM_90), multiprocessors=3)
    config = HopperGemm().candidates(kernel, few)[0]
    assert config["resident"] > 0
    check(kernel, HopperGemm(), target=few, config=config, tolerance=TOLERANCES["float16"])
    code = generate("kernel", HopperGemm().schedule(kernel, config, few), few)
    (launch,) = code.launches
    taken = machine_code(source_of([code]), launch.function, "sm_90a")
    assert launch.grid == (few.multiprocessors * config["resident"], 1, 1)
    assert few.resident(launch.block[0], taken.registers, launch.dynamic_bytes) >= config["resident"]


def test_infinities_stay_where_they_are(build_kernel, operands_of, check):
    """What a tile reads beyond the channels of its group, or of a tap, is multiplied by nothing."""

    def body(x, w):
        wide = [CastOp(value, from_numpy("float32")).result for value in (x, w)]
        return CastOp(ConvOp(*wide, group=2, pads=(1, 1, 1, 1)).result, from_numpy("float16")).result

    operands = [((1, 48, 8, 8), "float16", "CNHW8c"), ((16, 24, 3, 3), "float16", "IHWO8i")]
    kernel = build_kernel(operands, body, "CNHW8c")
    x, w = map(np.abs, operands_of(kernel))
    x[0, 25, 2, 3] = x[0, 3, 7, 7] = np.inf
    check(kernel, HopperGemm(), [x, w], target=SM_90)


def test_where_it_does_not_apply(conv):
    narrow = ((1, 32, 8, 8), 32, (3, 3), SAME)
    assert not HopperGemm().applies(conv(*narrow[:3], dtype="float16", **SAME), parse_cuda("cuda:sm_90"))
    assert not HopperGemm().applies(conv(*narrow[:3], dtype="float32", **SAME), parse_cuda(SM_90))
    strided = conv((1, 16, 5, 6, 7), 16, (1, 1, 1), dtype="float16", strides=(2, 2, 2))
    assert not HopperGemm().applies(strided, parse_cuda(SM_90)), "a tensor map has five dimensions"


@pytest.mark.parametrize(
    ("rows", "extents", "most"),
    [
        (64, (1, 14, 14), 4),
        (64, (1, 49), 1),
        (128, (32, 7, 7), 16),
        (128, (32, 49), 14),
        (256, (1, 1000), 8),
        (64, (2, 1, 1), 1),
    ],
)
def test_boxes(rows, extents, most):
    """They fit into a tile and into what TMA can copy, and few are needed."""
    limits = (256,) * (len(extents) - 1) + (128,)
    box = best_box(rows, extents, limits)
    assert prod(box) <= rows
    assert all(1 <= side <= limit for side, limit in zip(box, limits, strict=True))
    assert box_count(box, extents) <= most
