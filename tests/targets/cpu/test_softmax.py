"""Softmax and its logarithm over any axes, over numbers of any size."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import SoftmaxOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.reduce import RowReduce
from convc.targets.cpu.softmax import SoftmaxRows
from convc.targets.target import parse_target

# shape, axes
CASES = {
    "rows of whole vectors": ((6, 64), (1,)),
    "rows of a prime length": ((6, 67), (1,)),
    "rows shorter than a vector": ((7, 5), (1,)),
    "a long row": ((2, 1000), (1,)),
    "columns": ((19, 67), (0,)),
    "columns shorter than a vector": ((19, 5), (0,)),
    "channels of an image": ((2, 21, 6, 7), (1,)),
    "all but the batch": ((3, 4, 5, 6), (1, 2, 3)),
    "axes apart": ((3, 9, 17), (0, 2)),
    "one element": ((4, 1), (1,)),
    "a vector": ((100,), (0,)),
    "heads of attention": ((2, 3, 11, 13), (3,)),
    "large enough for threads": ((300, 520), (1,)),
}


def kernel_of(build_kernel, case, log=False, dtype="float32"):
    shape, axes = CASES[case]
    return build_kernel([(shape, dtype)], lambda x: SoftmaxOp(x, axes, log=log).result)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("log", [False, True])
def test_softmax_over_any_axes(case, log, build_kernel, check):
    check(kernel_of(build_kernel, case, log), RowReduce())


@pytest.mark.parametrize("case", ["rows of a prime length", "columns", "axes apart"])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_by_the_generic_template(case, log, build_kernel, check):
    check(kernel_of(build_kernel, case, log), Generic())


@pytest.mark.parametrize("case", ["rows of a prime length", "columns", "a long row"])
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = kernel_of(build_kernel, case)
    for config in RowReduce().candidates(kernel, parse_target("cpu")):
        check(kernel, RowReduce(), config=config)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("case", ["rows of a prime length", "columns"])
def test_large_numbers_and_infinities(case, log, build_kernel, check):
    check_extremes(RowReduce(), case, log, build_kernel, check)


@pytest.mark.parametrize("log", [False, True])
def test_large_numbers_and_infinities_in_rows(log, build_kernel, check):
    check_extremes(SoftmaxRows(), "rows of a prime length", log, build_kernel, check)


def check_extremes(template, case, log, build_kernel, check):
    shape, axes = CASES[case]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    rows = x if axes == (1,) else x.T
    rows[0] *= 1000
    rows[1] += 1e30
    rows[2, 5:] = -np.inf  # as a mask does
    rows[3, 2] = np.nan
    rows[4], rows[5, 1] = -np.inf, np.inf
    check(kernel_of(build_kernel, case, log), template, [x])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("case", ["rows of a prime length", "columns"])
def test_other_floating_point_types(dtype, case, build_kernel, check):
    check(kernel_of(build_kernel, case, dtype=dtype), RowReduce(), tolerance=5e-3 if dtype == "float16" else None)


@pytest.mark.parametrize("template", [RowReduce(), SoftmaxRows()])
def test_what_stands_around_a_softmax_is_part_of_it(template, build_kernel, check):
    def body(x, mask, gain):
        masked = ElementwiseOp(Fn.ADD, x, mask).result
        return ElementwiseOp(Fn.MUL, SoftmaxOp(masked, (2,)).result, gain).result

    shapes = [(4, 5, 67), (5, 67), (4, 5, 1)]
    check(build_kernel([(shape, "float32") for shape in shapes], body), template)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [*range(2, 36), 49, 63, 64, 65, 197, 1001])
def test_rows_of_any_length(size, log, build_kernel, check):
    """Fewer elements than a vector, whole vectors, and a last one that overlaps the one before."""
    check(build_kernel([((3, 5, size), "float32")], lambda x: SoftmaxOp(x, (2,), log=log).result), SoftmaxRows())


@pytest.mark.parametrize("shape", [(777, 49), (130, 300), (2, 3, 64, 100)])
def test_rows_in_parallel(shape, build_kernel, check):
    """More steps than rows that they have: the last step has fewer."""
    check(build_kernel([(shape, "float32")], lambda x: SoftmaxOp(x, (len(shape) - 1,)).result), SoftmaxRows())


def test_rows_are_for_single_precision_along_the_last_axis(build_kernel):
    def applies(case, dtype="float32"):
        return SoftmaxRows().applies(kernel_of(build_kernel, case, dtype=dtype), parse_target("cpu"))

    assert all(applies(case) for case in ("rows of a prime length", "a vector", "heads of attention"))
    assert not any(applies(case) for case in ("columns", "one element", "all but the batch", "axes apart"))
    assert not applies("a long row", "float64")
