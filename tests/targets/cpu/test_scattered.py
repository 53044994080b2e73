"""Scatters: equal indices in order, negative ones, every way to combine, and what is computed around them."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.sampling import ScatterOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.scattered import Scattered

# x, how many updates
CASES = {
    "elements": ((37, 1), 11),
    "rows": ((7, 19), 5),
    "more updates than rows": ((3, 5), 40),
    "one row": ((1, 9), 4),
    "large enough for threads": ((300, 211), 100),
}


def kernel_of(build_kernel, case, mode="replace", dtype="float32", indices="int64", follow=lambda y: y):
    shape, count = CASES[case]
    operands = [(shape, dtype), ((count,), indices), ((count, shape[1]), dtype)]
    return build_kernel(operands, lambda x, at, updates: follow(ScatterOp(x, at, updates, mode=mode).result))


def arrays_of(case, dtype="float32", indices="int64"):
    shape, count = CASES[case]
    rng = np.random.default_rng(0)
    at = rng.integers(0 if indices.startswith("u") else -shape[0], shape[0], count)
    x, updates = (rng.integers(1, 5, each) for each in (shape, (count, shape[1])))
    return [x.astype(dtype), at.astype(indices), updates.astype(dtype)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ScatterOp.MODES)
def test_a_scatter(case, mode, build_kernel, check):
    check(kernel_of(build_kernel, case, mode), Scattered(), arrays_of(case))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64", "bool"])
def test_other_types(dtype, build_kernel, check):
    check(kernel_of(build_kernel, "rows", dtype=dtype), Scattered(), arrays_of("rows", dtype))


@pytest.mark.parametrize("indices", ["int32", "uint8"])
def test_indices_of_other_types(indices, build_kernel, check):
    check(kernel_of(build_kernel, "rows", indices=indices), Scattered(), arrays_of("rows", indices=indices))


def test_what_follows_sees_all_updates(build_kernel, check):
    kernel = kernel_of(build_kernel, "more updates than rows", "add", follow=lambda y: ElementwiseOp(Fn.SQRT, y).result)
    for template in (Scattered(), Generic()):
        check(kernel, template, arrays_of("more updates than rows"))


def test_what_is_outside_goes_to_the_nearer_end(build_kernel, check):
    kernel = kernel_of(build_kernel, "one row", "add")
    x, _, updates = arrays_of("one row")
    check(kernel, Scattered(), [x, np.array([-9, 7, 0, -1]), updates])
