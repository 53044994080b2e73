"""Transposed convolutions as products, on the software device."""

from __future__ import annotations

import pytest

from convc.ir.data import CastOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.layout import chunked_transposed_weight
from convc.ir.windows import ConvTransposeOp
from convc.targets.cuda.target import parse_cuda
from convc.targets.cuda.transposed_conv import TransposedGemm

SM_90 = "cuda:sm_90a"
SHAPES = {
    "no overlap": ((1, 16, 7, 5), 24, (2, 2), {"strides": (2, 2)}),
    "overlap": ((1, 16, 7, 5), 8, (4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "uneven phases": ((2, 8, 6, 5), 13, (3, 3), {"strides": (2, 2), "pads": (1, 1, 0, 0)}),
    "stride 1": ((1, 12, 6, 7), 16, (3, 3), {"pads": (1, 1, 1, 1)}),
    "stride beyond the window": ((1, 8, 5, 4), 8, (2, 2), {"strides": (3, 3)}),
    "uneven strides": ((1, 8, 5, 6), 8, (3, 4), {"strides": (1, 2), "pads": (1, 1, 1, 1)}),
    "1-D": ((1, 12, 9), 16, (4,), {"strides": (2,), "pads": (1, 1)}),
}


def transposed(build_kernel, x, outputs, window, *, dtype="float32", **geometry):
    rank, block = len(x), 4 if dtype == "float32" else 8
    layout = "CN" + "DHW"[5 - rank :] + f"{block}c"
    weight = ((x[1], outputs, *window), dtype, str(chunked_transposed_weight(rank, block)))

    def body(x, w, b):
        wide = [x, w] if dtype == "float32" else [CastOp(value, from_numpy("float32")).result for value in (x, w)]
        result = ElementwiseOp(Fn.RELU, ConvTransposeOp(*wide, b, **geometry).result).result
        return result if dtype == "float32" else CastOp(result, from_numpy(dtype)).result

    return build_kernel([(x, dtype, layout), weight, ((outputs,), "float32", f"O{block}o")], body, layout)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, build_kernel, check):
    x, outputs, window, rest = SHAPES[name]
    check(transposed(build_kernel, x, outputs, window, **rest), TransposedGemm(), target=SM_90)


@pytest.mark.parametrize("name", ["no overlap", "uneven phases"])
def test_halves(name, build_kernel, check):
    x, outputs, window, rest = SHAPES[name]
    kernel = transposed(build_kernel, x, outputs, window, dtype="float16", **rest)
    check(kernel, TransposedGemm(), target=SM_90, tolerance=1e-3)


def test_split_sums(build_kernel, check):
    kernel = transposed(build_kernel, (1, 64, 4, 4), 16, (4, 4), strides=(2, 2), pads=(1, 1, 1, 1))
    configs = TransposedGemm().candidates(kernel, parse_cuda(SM_90))
    config = next(config for config in configs if config["splits"] == 4)
    check(kernel, TransposedGemm(), target=SM_90, config=config)
