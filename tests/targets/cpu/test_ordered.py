"""Selections with ties and NaN, prefix sums in either direction, and the places of largest elements in windows."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from convc.ir.attributes import ReduceKind
from convc.ir.data import CastOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.windows import ArgPoolOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.ordered import Ordered

# shape, axis, k
SELECTIONS = {
    "the best of a vector": ((67,), 0, 1),
    "five of a prime": ((3, 67), 1, 5),
    "all, in order": ((3, 33), 1, 33),
    "along the outer axis": ((19, 7), 0, 4),
    "in between": ((2, 11, 5), 1, 3),
    "one of one": ((4, 1), 1, 1),
    "a power of two": ((2, 64), 1, 16),
    "large enough for threads": ((40, 1031), 1, 10),
    "many of very many": ((2, 5003), 1, 301),
    "one of very many": ((2, 3001), 1, 1),
    "few along an outer axis": ((611, 3), 0, 5),
}


@pytest.mark.parametrize("case", SELECTIONS)
@pytest.mark.parametrize("smallest", [False, True])
def test_selections_with_ties(case, smallest, build_kernel, check):
    shape, axis, k = SELECTIONS[case]
    x = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32)
    kernel = build_kernel([(shape, "float32")], lambda x: TopKOp(x, axis, k, smallest=smallest).result)
    check(kernel, Ordered(), [x])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int32", "int64"])
def test_selections_of_other_types(dtype, build_kernel, check):
    kernel = build_kernel([((5, 37), dtype)], lambda x: TopKOp(x, 1, 6).result)
    check(kernel, Ordered())


@pytest.mark.parametrize("smallest", [False, True])
def test_nan_is_larger_than_all_numbers(smallest, build_kernel, run_kernel):
    x = np.array([[1, np.nan, np.inf, -np.inf, np.nan, 1]], np.float32)
    kernel = build_kernel([(x.shape, "float32")], lambda x: TopKOp(x, 1, 6, smallest=smallest).result)
    (found,) = run_kernel(kernel, Ordered(), [x])
    assert found.tolist() == [[3, 0, 5, 2, 1, 4] if smallest else [1, 4, 2, 0, 5, 3]]


ORDERS = {
    "rising": lambda x: np.sort(x, 1),
    "falling": lambda x: np.sort(x, 1)[:, ::-1],
    "rising in steps": lambda x: np.floor(np.sort(x, 1)),
    "all equal": np.zeros_like,
    "many NaN": lambda x: np.where(x > 0, np.nan, x).astype(np.float32),
    "NaN first": lambda x: np.where(np.arange(x.shape[1]) < 40, np.nan, x).astype(np.float32),
    "NaN last": lambda x: np.where(np.arange(x.shape[1]) > 690, np.nan, x).astype(np.float32),
}


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("k", [3, 40])
def test_few_of_many_in_any_order(k, smallest, build_kernel, run_kernel):
    drawn = np.random.default_rng(0).normal(0, 9, (1, 701)).astype(np.float32)
    x = np.concatenate([order(drawn) for order in ORDERS.values()])
    kernel = build_kernel([(x.shape, "float32")], lambda x: TopKOp(x, 1, k, smallest=smallest).result)
    (found,) = run_kernel(kernel, Ordered(), [x])
    # numpy sorts NaN last, stably: of equals, and of NaN, the first one comes first.
    whole = np.argsort(x, 1, kind="stable") if smallest else 700 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
    for name, actual, expected in zip(ORDERS, found, whole[:, :k], strict=True):
        np.testing.assert_array_equal(actual, expected, name)


def test_what_follows_is_part_of_the_selection(build_kernel, check):
    kernel = build_kernel([((5, 37), "float32")], lambda x: CastOp(TopKOp(x, 1, 6).result, f32).result)
    for template in (Ordered(), Generic()):
        check(kernel, template)


# shape, axis
SCANS = {
    "a vector": ((67,), 0),
    "rows": ((5, 33), 1),
    "columns, a prime": ((9, 67), 0),
    "columns, whole vectors": ((9, 64), 0),
    "columns, shorter than a vector": ((3, 9, 5), 1),
    "one element": ((1, 1), 1),
    "large enough for threads": ((33, 9, 131), 1),
}


@pytest.mark.parametrize("case", SCANS)
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", [ReduceKind.SUM, ReduceKind.PROD])
def test_prefix_sums_and_products(case, exclusive, reverse, kind, build_kernel, check):
    shape, axis = SCANS[case]
    kernel = build_kernel(
        [(shape, "float32")], lambda x: ScanOp(kind, x, axis, exclusive=exclusive, reverse=reverse).result
    )
    x = np.random.default_rng(1).uniform(0.5, 1.5, shape).astype(np.float32)
    check(kernel, Ordered(), [x], tolerance=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float64"])
def test_prefix_sums_of_other_types(dtype, build_kernel, check):
    kernel = build_kernel([((3, 5, 19), dtype)], lambda x: ScanOp(ReduceKind.SUM, x, 1).result)
    for template in (Ordered(), Generic()):
        check(kernel, template)


# shape, kernel, strides, pads, dilations, ceil_mode
WINDOWS = {
    "the usual": ((1, 3, 8, 8), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False),
    "overlapping, padded": ((2, 3, 7, 9), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False),
    "ragged": ((1, 2, 7, 7), (3, 2), (2, 3), (0, 0, 0, 0), (1, 1), True),
    "with holes": ((1, 2, 9, 11), (3, 2), (1, 2), (2, 0, 2, 1), (2, 3), False),
    "one dimension": ((2, 3, 31), (4,), (3,), (1, 2), (1,), False),
    "three dimensions": ((1, 2, 5, 4, 7), (2, 2, 3), (1, 2, 2), (0, 1, 0, 1, 0, 1), (1, 1, 1), False),
    "one pixel": ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False),
}


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32"])
def test_the_first_place_of_the_largest_in_each_window(case, dtype, build_kernel, check):
    shape, kernel, strides, pads, dilations, ceil_mode = WINDOWS[case]
    x = np.random.default_rng(0).integers(0, 5, shape).astype(dtype)
    check(
        build_kernel(
            [(shape, dtype)],
            lambda x: ArgPoolOp(x, kernel, strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil_mode).result,
        ),
        Generic(),
        [x],
    )


def test_the_place_is_inside_whatever_the_numbers(build_kernel, run_kernel):
    x = np.full((1, 3, 4, 4), -np.inf, np.float32)
    x[0, 1] = np.nan
    kernel = build_kernel(
        [(x.shape, "float32")],
        lambda x: ArgPoolOp(x, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1), dilations=(1, 1)).result,
    )
    (found,) = run_kernel(kernel, Generic(), [x])
    assert found[0, 0].tolist() == [[0, 1], [4, 5]]
    assert (found >= 0).all()
    assert (found < x.size).all()
