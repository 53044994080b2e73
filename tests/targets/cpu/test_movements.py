"""Joins, slices, pads, transposes, broadcasts and reshapes, in plain memory and in blocks of channels."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from convc.ir.attributes import PadMode, ReduceKind
from convc.ir.data import BroadcastOp, ConcatOp, PadOp, RelayoutOp, ReshapeOp, SliceOp, TransposeOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

BOTH = pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)
LAYOUTS = pytest.mark.parametrize("layout", [None, "NCHW16c"])


def one(build_kernel, shape, body, layout=None, dtype="float32"):
    return build_kernel([(shape, dtype, layout)], lambda x: body(x).result, layout)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("sizes", [(16, 32), (3, 5, 1), (19, 7)])
@LAYOUTS
@BOTH
def test_joins_along_any_axis(axis, sizes, layout, template, build_kernel, check):
    base = (2, 16, 5, 7)
    shapes = [(*base[:axis], size, *base[axis + 1 :]) for size in sizes]
    operands = [(shape, "float32", layout) for shape in shapes if not layout or shape[1] > 1]
    if len(operands) < len(sizes):
        pytest.skip("a single channel has no blocked layout")
    check(build_kernel(operands, lambda *parts: ConcatOp(parts, axis).result, layout), template)


def test_a_join_of_many_parts(build_kernel, check):
    sizes = [(i * 7) % 5 + 1 for i in range(60)]
    operands = [((3, size, 11), "float32") for size in sizes]
    check(build_kernel(operands, lambda *parts: ConcatOp(parts, 1).result), Injective())


@pytest.mark.parametrize("layout", ["NCHW16c", None])
def test_a_join_of_functions_of_its_parts(layout, build_kernel, check):
    def body(a, b):
        return ConcatOp([ElementwiseOp(Fn.RELU, a).result, ElementwiseOp(Fn.NEG, b).result], 1).result

    operands = [((1, 20, 6, 5), "float32", layout), ((1, 9, 6, 5), "float32", layout)]
    check(build_kernel(operands, body, layout), Injective())


# x, starts, sizes, steps
SLICES = {
    "a corner": ((2, 32, 9, 11), (0, 0, 2, 3), (2, 32, 5, 4), None),
    "channels of a block": ((2, 40, 4, 5), (0, 16, 0, 0), (2, 16, 4, 5), None),
    "channels across blocks": ((1, 40, 4, 5), (0, 5, 0, 0), (1, 21, 4, 5), None),
    "every other column": ((1, 16, 8, 30), (0, 0, 0, 1), (1, 16, 8, 15), (1, 1, 1, 2)),
    "every third row": ((1, 16, 16, 7), (0, 0, 1, 0), (1, 16, 5, 7), (1, 1, 3, 1)),
    "every other channel": ((1, 35, 4, 5), (0, 1, 0, 0), (1, 17, 4, 5), (1, 2, 1, 1)),
    "backwards": ((2, 19, 6, 21), (1, 18, 5, 20), (2, 19, 6, 21), (-1, -1, -1, -1)),
    "backwards by two": ((1, 16, 9, 21), (0, 0, 8, 19), (1, 16, 5, 10), (1, 1, -2, -2)),
    "a focus": ((1, 16, 10, 12), (0, 0, 1, 0), (1, 16, 5, 6), (1, 1, 2, 2)),
    "one element": ((2, 17, 4, 5), (1, 16, 3, 4), (1, 1, 1, 1), None),
}


@pytest.mark.parametrize("case", SLICES)
@LAYOUTS
@BOTH
def test_slices(case, layout, template, build_kernel, check):
    shape, starts, sizes, steps = SLICES[case]
    check(one(build_kernel, shape, lambda x: SliceOp(x, starts, sizes, steps), layout), template)


# x, pads
PADS = {
    "one around": ((1, 16, 5, 7), (0, 0, 1, 1, 0, 0, 1, 1)),
    "uneven": ((2, 16, 6, 9), (0, 0, 0, 3, 0, 0, 4, 2)),
    "batch and channels": ((2, 5, 3, 17), (1, 2, 0, 0, 0, 4, 0, 0)),
    "channels past a block": ((1, 12, 3, 4), (0, 3, 0, 0, 0, 20, 0, 0)),
    "less than nothing": ((1, 16, 9, 20), (0, 0, -2, 3, 0, 0, 1, -4)),
    "nothing": ((1, 16, 3, 20), (0, 0, 0, 0, 0, 0, 0, 0)),
    "one element": ((1, 16, 1, 1), (0, 0, 2, 1, 0, 0, 0, 3)),
    "more than the axis": ((1, 3, 4, 5), (0, 0, 6, 9, 0, 0, 7, 11)),
}


@pytest.mark.parametrize("case", PADS)
@pytest.mark.parametrize("mode", PadMode)
@LAYOUTS
def test_pads(case, mode, layout, build_kernel, check):
    shape, pads = PADS[case]
    if mode is PadMode.REFLECT and case == "one element":
        pytest.skip("nothing to reflect")
    check(one(build_kernel, shape, lambda x: PadOp(x, pads, mode=mode, value=-1.5), layout), Injective())


@pytest.mark.parametrize("mode", PadMode)
@LAYOUTS
def test_pads_by_the_generic_template(mode, layout, build_kernel, check):
    shape, pads = PADS["uneven"]
    check(one(build_kernel, shape, lambda x: PadOp(x, pads, mode=mode, value=-1.5), layout), Generic())


@pytest.mark.parametrize("perm", list(permutations(range(4))), ids=str)
def test_transposes_of_four_axes(perm, build_kernel, check):
    check(one(build_kernel, (2, 19, 5, 17), lambda x: TransposeOp(x, perm)), Injective())


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((67, 33), (1, 0)),
        ((1, 200), (1, 0)),
        ((3, 1, 5), (2, 1, 0)),
        ((2, 3, 4, 5, 6), (0, 3, 4, 1, 2)),
        ((2, 3, 2, 4, 2, 5), (5, 0, 4, 1, 3, 2)),
        ((300, 211), (1, 0)),
        ((7,), (0,)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "bool", "float16"])
def test_transposes_of_any_shape_and_type(shape, perm, dtype, build_kernel, check):
    check(one(build_kernel, shape, lambda x: TransposeOp(x, perm), dtype=dtype), Injective())


@pytest.mark.parametrize("perm", [(0, 1, 3, 2), (1, 0, 2, 3), (0, 2, 3, 1)])
def test_transposes_in_blocks(perm, build_kernel, check):
    check(one(build_kernel, (2, 19, 5, 18), lambda x: TransposeOp(x, perm), "NCHW16c"), Injective())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1,), (37,)),
        ((), (3, 20)),
        ((5, 1), (2, 5, 33)),
        ((1, 7, 1), (4, 7, 19)),
        ((3, 1, 5, 1), (3, 4, 5, 40)),
        ((1, 1), (300, 500)),
    ],
)
@BOTH
def test_broadcasts(before, after, template, build_kernel, check):
    check(one(build_kernel, before, lambda x: BroadcastOp(x, after)), template)


@pytest.mark.parametrize("before", [(2, 20, 1, 1), (1, 20, 5, 6), (2, 1, 1, 1), (1, 1, 5, 6)])
def test_broadcasts_in_blocks(before, build_kernel, check):
    layout = "NCHW16c" if before[1] > 1 else None
    kernel = build_kernel([(before, "float32", layout)], lambda x: BroadcastOp(x, (2, 20, 5, 6)).result, "NCHW16c")
    check(kernel, Injective())


@pytest.mark.parametrize(
    ("shape", "middle", "perm", "after"),
    [
        ((1, 24, 5, 6), (1, 3, 8, 5, 6), (0, 2, 1, 3, 4), (1, 24, 5, 6)),  # a channel shuffle
        ((1, 12, 5, 7), (1, 3, 2, 2, 5, 7), (0, 1, 4, 2, 5, 3), (1, 3, 10, 14)),  # depth to space
        ((1, 3, 10, 14), (1, 3, 5, 2, 7, 2), (0, 3, 5, 1, 2, 4), (1, 12, 5, 7)),  # space to depth
        ((2, 7, 30), (2, 7, 5, 6), (0, 2, 1, 3), (10, 42)),  # heads of attention
        ((4, 9), (3, 12), (1, 0), (36,)),
    ],
)
@BOTH
def test_reshapes_around_a_transpose(shape, middle, perm, after, template, build_kernel, check):
    def body(x):
        return ReshapeOp(TransposeOp(ReshapeOp(x, middle).result, perm).result, after)

    check(one(build_kernel, shape, body), template)


def test_blocks_into_a_flat_vector(build_kernel, check):
    def body(x):
        return ReshapeOp(RelayoutOp(x, None).result, (2, 19 * 6))

    check(build_kernel([((2, 19, 2, 3), "float32", "NCHW16c")], lambda x: body(x).result), Injective())


@BOTH
def test_nothing_is_written_where_there_are_no_elements(template, build_kernel, check):
    check(build_kernel([((2, 4), "float32")], lambda x: SliceOp(x, (0, 0), (2, 0)).result), template)
    check(build_kernel([((0,), "float32")], lambda x: x), template)


@BOTH
def test_parts_without_elements_join_others(template, build_kernel, check):
    operands = [((2, 0), "float32"), ((2, 5), "float32")]
    check(build_kernel(operands, lambda x, y: ConcatOp([x, y, x], 1).result), template)
    check(build_kernel(operands[:1], lambda x: PadOp(x, (0, 1, 0, 2), value=3.0).result), template)


def test_reductions_of_no_elements_are_refused(build_kernel, run_kernel):
    kernel = build_kernel([((2, 0), "float32")], lambda x: ReduceOp(ReduceKind.SUM, x, (1,)).result)
    with pytest.raises(NotImplementedError, match="reductions of no elements are not supported, found tensor<2x0xf32>"):
        run_kernel(kernel, Generic(), [np.zeros((2, 0), np.float32)])
