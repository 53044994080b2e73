"""Reductions over any axes, in rows, in tiles and in blocks of channels."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import ReduceKind
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ArgReduceOp, ReduceOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.reduce import BlockedReduce, RowReduce
from convc.targets.target import parse_target

# shape, axes
ROWS = {
    "innermost, whole vectors": ((5, 64), (1,)),
    "innermost, a prime": ((6, 67), (1,)),
    "innermost, shorter than a vector": ((9, 7), (1,)),
    "innermost, a long row": ((3, 5003), (1,)),
    "outermost": ((17, 64), (0,)),
    "outermost, a prime": ((17, 67), (0,)),
    "outermost, shorter than a vector": ((33, 5), (0,)),
    "in between": ((3, 10, 37), (1,)),
    "around": ((4, 10, 19), (0, 2)),
    "the spatial axes": ((2, 5, 7, 9), (2, 3)),
    "the channels": ((2, 5, 7, 9), (1,)),
    "every other axis": ((3, 4, 5, 6), (0, 2)),
    "everything": ((3, 7, 11), (0, 1, 2)),
    "one element": ((1, 1), (0, 1)),
    "an axis of one": ((6, 1, 20), (1,)),
    "axes of one around": ((1, 6, 1, 20, 1), (0, 3)),
    "a vector": ((100,), (0,)),
    "no axes": ((4, 20), ()),
    "large enough for threads": ((200, 1031), (1,)),
    "large, tiles of columns": ((300, 1030), (0,)),
}


def reduction(build_kernel, case, kind=ReduceKind.SUM, keepdims=True, dtype="float32", epilogue=lambda y: y):
    shape, axes = ROWS[case]
    return build_kernel([(shape, dtype)], lambda x: epilogue(ReduceOp(kind, x, axes, keepdims=keepdims).result))


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("keepdims", [True, False])
def test_sums_over_any_axes(case, keepdims, build_kernel, check):
    check(reduction(build_kernel, case, keepdims=keepdims), RowReduce())


@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime", "around", "everything", "no axes"])
@pytest.mark.parametrize("kind", ReduceKind)
def test_every_kind_of_reduction(case, kind, build_kernel, check):
    shape, _ = ROWS[case]
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    if kind is ReduceKind.PROD:  # near 1, or the product of a row is 0
        x = 1 + x / 50
    if kind is ReduceKind.LOG_SUM:
        x = np.abs(x)
    for template in (RowReduce(), Generic()):
        check(reduction(build_kernel, case, kind), template, [x])


@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime", "innermost, a long row"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = reduction(build_kernel, case, ReduceKind.MEAN)
    for config in RowReduce().candidates(kernel, parse_target("cpu")):
        check(kernel, RowReduce(), config=config)


@pytest.mark.parametrize("kind", [ReduceKind.SUM, ReduceKind.MEAN, ReduceKind.MAX, ReduceKind.MIN, ReduceKind.PROD])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "float16", "float64"])
def test_reductions_of_other_types(kind, dtype, build_kernel, check):
    for case in ("innermost, a prime", "outermost, a prime"):
        kernel = reduction(build_kernel, case, kind, dtype=dtype)
        check(kernel, RowReduce(), tolerance=2e-2 if dtype == "float16" else None)


@pytest.mark.parametrize("kind", [ReduceKind.MAX, ReduceKind.MIN, ReduceKind.LOG_SUM_EXP, ReduceKind.SUM])
@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime"])
def test_infinities_and_large_numbers(kind, case, build_kernel, check):
    shape, axes = ROWS[case]
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    rows = x if axes == (1,) else x.T
    rows[0], rows[1, 3], rows[2, 4], rows[3], rows[4] = -np.inf, np.inf, -np.inf, 3e38 if kind != "sum" else 3e36, -1000
    check(reduction(build_kernel, case, kind), RowReduce(), [x])


@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime", "around"])
def test_what_follows_is_part_of_the_reduction(case, build_kernel, check):
    def epilogue(y):
        return ElementwiseOp(Fn.SQRT, ElementwiseOp(Fn.ABS, y).result).result

    check(reduction(build_kernel, case, ReduceKind.MEAN, epilogue=epilogue), RowReduce())


def test_what_comes_before_is_part_of_the_reduction(build_kernel, check):
    def body(x, mean):
        centred = ElementwiseOp(Fn.SUB, x, mean).result
        return ReduceOp(ReduceKind.MEAN, ElementwiseOp(Fn.MUL, centred, centred).result, (1,)).result

    check(build_kernel([((7, 67), "float32"), ((7, 1), "float32")], body), RowReduce())


# shape, axes, block
BLOCKS = {
    "a global pool": ((1, 64, 7, 7), (2, 3), 16),
    "channels that fill no block": ((2, 19, 5, 6), (2, 3), 16),
    "rows": ((1, 40, 5, 9), (2,), 16),
    "columns": ((1, 40, 5, 9), (3,), 16),
    "one pixel": ((3, 32, 1, 1), (2, 3), 16),
    "one dimension": ((2, 24, 31), (2,), 16),
    "three dimensions": ((1, 24, 3, 4, 5), (2, 4), 16),
    "a block of half a vector": ((1, 20, 6, 5), (2, 3), 8),
    "large enough for threads": ((2, 256, 40, 40), (2, 3), 16),
}


def blocked(build_kernel, case, kind, epilogue=lambda y: y):
    shape, axes, block = BLOCKS[case]
    layout = f"NC{'DHW'[5 - len(shape) :]}{block}c"
    return build_kernel([(shape, "float32", layout)], lambda x: epilogue(ReduceOp(kind, x, axes).result), layout)


@pytest.mark.parametrize("case", BLOCKS)
@pytest.mark.parametrize("kind", [ReduceKind.MEAN, ReduceKind.MAX, ReduceKind.LOG_SUM_EXP])
def test_reductions_in_blocks_of_channels(case, kind, build_kernel, check):
    check(blocked(build_kernel, case, kind), BlockedReduce())


@pytest.mark.parametrize("kind", ReduceKind)
@pytest.mark.parametrize("template", [BlockedReduce(), Generic()], ids=lambda t: t.name)
def test_every_kind_of_reduction_in_blocks(kind, template, build_kernel, check):
    x = np.abs(np.random.default_rng(3).standard_normal((2, 19, 5, 6)).astype(np.float32)) + 0.5
    check(blocked(build_kernel, "channels that fill no block", kind), template, [x])


@pytest.mark.parametrize("shape", [(1, 16, 200, 200), (1, 16, 40, 30, 30)])
def test_sums_of_many_elements_are_as_exact_as_those_of_rows(shape, build_kernel, check):
    """One after another, 40,000 numbers of one sign lose 1e-5 of their sum."""
    layout = f"NC{'DHW'[5 - len(shape) :]}16c"
    axes = range(2, len(shape))
    kernel = build_kernel([(shape, "float32", layout)], lambda x: ReduceOp(ReduceKind.MEAN, x, axes).result, layout)
    x = np.random.default_rng(0).random(shape, np.float32) + 1
    check(kernel, BlockedReduce(), [x], tolerance=1e-6)


def test_functions_of_zero_that_are_not_zero_leave_the_padding_alone(build_kernel, check):
    def epilogue(y):
        return ElementwiseOp(Fn.SIGMOID, y).result

    check(blocked(build_kernel, "channels that fill no block", ReduceKind.MEAN, epilogue), BlockedReduce())


@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime", "in between", "a vector", "the channels"])
@pytest.mark.parametrize("kind", [ReduceKind.MAX, ReduceKind.MIN])
@pytest.mark.parametrize("select_last", [False, True])
def test_the_place_of_an_extreme_with_ties(case, kind, select_last, build_kernel, check):
    shape, (axis,) = ROWS[case]
    x = np.random.default_rng(4).integers(0, 4, shape).astype(np.float32)
    kernel = build_kernel([(shape, "float32")], lambda x: ArgReduceOp(kind, x, axis, select_last=select_last).result)
    for template in (RowReduce(), Generic()):
        check(kernel, template, [x])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("case", ["innermost, a prime", "outermost, a prime"])
def test_the_place_of_an_extreme_in_other_types(dtype, case, build_kernel, check):
    shape, (axis,) = ROWS[case]
    kernel = build_kernel([(shape, dtype)], lambda x: ArgReduceOp(ReduceKind.MAX, x, axis, keepdims=False).result)
    check(kernel, RowReduce())


@pytest.mark.parametrize("kind", [ReduceKind.MAX, ReduceKind.MIN])
@pytest.mark.parametrize("select_last", [False, True])
def test_the_place_of_an_extreme_is_inside_the_axis_whatever_the_numbers(kind, select_last, build_kernel, run_kernel):
    x = np.full((4, 67), np.nan, np.float32)
    x[1, 5], x[2], x[3] = 1, np.inf, -np.inf
    kernel = build_kernel([(x.shape, "float32")], lambda x: ArgReduceOp(kind, x, 1, select_last=select_last).result)
    (places,) = run_kernel(kernel, RowReduce(), [x])
    assert (places >= 0).all()
    assert (places < 67).all()
    assert places[2:].tolist() == [[66 if select_last else 0]] * 2
