"""Reductions over spatial axes in blocked layouts, on the software device."""

from __future__ import annotations

import pytest

from convc.ir.attributes import ReduceKind, layout_of, physical_shape
from convc.ir.data import CastOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp
from convc.passes.layouts import alternatives
from convc.targets.choosing import candidates
from convc.targets.cuda.blocked_reduce import BlockedReduce
from convc.targets.cuda.target import WARP, parse_cuda

SM_90 = "cuda:sm_90a"
SHAPES = {
    "global": ((2, 16, 9, 7), [2, 3]),
    "odd channels": ((3, 13, 5, 3), [2, 3]),
    "rows": ((1, 8, 6, 11), [3]),
    "columns": ((1, 8, 33, 5), [2]),
    "one place": ((1, 4, 7, 7), [2, 3]),
    "few elements": ((5, 12, 2, 1), [2, 3]),
    "1-D": ((2, 8, 31), [2]),
    "3-D": ((1, 12, 5, 4, 6), [2, 3, 4]),
    "the middle of 3-D": ((1, 12, 5, 4, 6), [3]),
}


def reduction(build_kernel, shape, axes, kind=ReduceKind.MEAN, plain=False):
    layout = "CN" + "DHW"[5 - len(shape) :] + "4c"

    def body(x):
        return ReduceOp(kind, x, axes, keepdims=True).result

    return build_kernel([(shape, "float32", layout)], body, None if plain else layout)


@pytest.mark.parametrize("plain", [False, True], ids=["in chunks", "in plain memory"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, plain, build_kernel, check) -> None:
    kernel = reduction(build_kernel, *SHAPES[name], plain=plain)
    assert BlockedReduce().applies(kernel, parse_cuda(SM_90))
    for config in BlockedReduce().candidates(kernel, parse_cuda(SM_90)):
        check(kernel, BlockedReduce(), target=SM_90, config=config)


@pytest.mark.parametrize("kind", ReduceKind, ids=lambda kind: kind.name)
def test_kinds(kind, build_kernel, check, operands_of) -> None:
    kernel = reduction(build_kernel, *SHAPES["odd channels"], kind)
    (x,) = operands_of(kernel)
    check(kernel, BlockedReduce(), [abs(x) + 0.5 if kind is ReduceKind.LOG_SUM else x], target=SM_90)


@pytest.mark.parametrize("form", [0, 1], ids=["in chunks", "in plain memory"])
@pytest.mark.parametrize("threads", [2, 16, 64, 512])
@pytest.mark.parametrize("shape", [(3, 24, 7, 7), (2, 13, 9, 11)])
def test_halves_with_what_stands_before_and_after(shape, threads, form, build_kernel, check) -> None:
    """Two threads share a block of eight channels. A factor for each channel has no padding to read. The result lies
    in chunks as the operand does, or in plain memory."""
    narrow, wide = from_numpy("float16"), from_numpy("float32")

    def body(x, scale):
        scaled = ElementwiseOp(Fn.MUL, CastOp(x, wide).result, scale).result
        mean = ReduceOp(ReduceKind.MEAN, scaled, [2, 3], keepdims=True).result
        return CastOp(ElementwiseOp(Fn.SIGMOID, mean).result, narrow).result

    plain = build_kernel([(shape, "float16"), ((shape[1], 1, 1), "float32")], body)
    kernel = alternatives(plain, 8, chunks=True)[form]
    assert [str(layout_of(value)) for value in (kernel.inputs[0], kernel.outputs[0])] == [
        "CNHW8c",
        ["CNHW8c", "None"][form],
    ]
    check(kernel, BlockedReduce(), target=SM_90, config={"threads": threads})


@pytest.mark.parametrize("batch", [1, 32, 128])
def test_global_pools_of_any_batch_are_no_longer_generic(batch, build_kernel) -> None:
    """The last pool of a ResNet-50: whole lines are read, and nearly all multiprocessors have a warp."""
    target = parse_cuda(SM_90)
    kernel = reduction(build_kernel, (batch, 2048, 7, 7), [2, 3])
    template, config = next(candidates(kernel, target))
    assert template == "blocked_reduce"
    assert config["threads"] * layout_of(kernel.outputs[0]).block(1) * 4 >= 128
    places = physical_shape(kernel.outputs[0])[:2]
    assert places[0] * places[1] * config["threads"] >= 0.9 * WARP * target.multiprocessors
