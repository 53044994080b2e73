"""Gathers by indices, and samples at coordinates of a grid, inside and outside of the tensor."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.sampling import GatherOp, GridSampleOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

TEMPLATES = pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)

# shape of x, shape of the indices, axis
GATHERS = {
    "rows": ((9, 67), (5,), 0),
    "rows of one element": ((67,), (35,), 0),
    "rows shorter than a vector": ((9, 3), (35,), 0),
    "columns": ((5, 67), (131,), 1),
    "a table of indices": ((3, 11, 19), (2, 7), 1),
    "one index": ((6, 5, 4), (), 1),
    "an axis of one": ((4, 1, 16), (3,), 1),
    "large enough for threads": ((50, 1031), (400,), 0),
    "large, columns": ((64, 1031), (1000,), 1),
}


@pytest.mark.parametrize("case", GATHERS)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_gathers_along_any_axis(case, dtype, build_kernel, check):
    shape, wanted, axis = GATHERS[case]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype("f"), rng.integers(-shape[axis], shape[axis], wanted, dtype)]
    kernel = build_kernel([(shape, "float32"), (wanted, dtype)], lambda x, i: GatherOp(x, i, axis).result)
    check(kernel, Injective(), arrays)


@pytest.mark.parametrize("x", ["bool", "int8", "uint8", "float16", "int64", "float64", "bfloat16"])
def test_gathers_of_every_width(x, build_kernel, check):
    operands = [((9, 35), x), ((4,), "int64")]
    check(build_kernel(operands, lambda x, i: GatherOp(x, i, 0).result), Injective())


@TEMPLATES
def test_what_is_outside_comes_from_the_nearer_end(template, build_kernel, run_kernel):
    kernel = build_kernel([((4,), "float32"), ((5,), "int64")], lambda x, i: GatherOp(x, i, 0).result)
    indices = np.array([-1000, -5, 4, 1 << 40, -(1 << 62)])
    (found,) = run_kernel(kernel, template, [np.arange(4, dtype=np.float32), indices])
    assert found.tolist() == [0, 0, 3, 3, 0]


def test_what_follows_is_part_of_the_gather(build_kernel, check):
    def body(x, i, y):
        total = ElementwiseOp(Fn.ADD, GatherOp(x, i, 0).result, y).result
        return ElementwiseOp(Fn.RELU, total).result

    kernel = build_kernel([((9, 67), "float32"), ((5,), "int64"), ((5, 67), "float32")], body)
    check(kernel, Injective())


# shape of x, spatial shape of the grid
GRIDS = {
    "one pixel wide": ((1, 2, 5, 1), (3, 1)),
    "primes": ((2, 3, 7, 11), (5, 13)),
    "a vector wide": ((1, 3, 8, 16), (4, 16)),
    "one dimension": ((2, 5, 31), (17,)),
    "three dimensions": ((1, 2, 3, 4, 5), (2, 3, 7)),
    "large enough for threads": ((2, 8, 40, 40), (41, 43)),
}


def sampled(build_kernel, case, dtype="float32", **attributes):
    shape, wanted = GRIDS[case]
    rng = np.random.default_rng(0)
    grid = rng.uniform(-3, np.array(shape[:1:-1]) + 2, (shape[0], *wanted, len(shape) - 2)).astype("f")
    kernel = build_kernel(
        [(shape, dtype), (grid.shape, "float32")], lambda x, g: GridSampleOp(x, g, **attributes).result
    )
    x = rng.standard_normal(shape).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(0, 99, shape, dtype)
    return kernel, [x, grid]


@pytest.mark.parametrize("case", GRIDS)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("padding", GridSampleOp.PADDINGS)
def test_samples_of_any_shape(case, mode, padding, build_kernel, check):
    kernel, arrays = sampled(build_kernel, case, mode=mode, padding=padding)
    check(kernel, Injective(), arrays)


@pytest.mark.parametrize("mode", GridSampleOp.MODES)
@pytest.mark.parametrize("padding", GridSampleOp.PADDINGS)
@pytest.mark.parametrize("align_corners", [False, True])
def test_every_mode_and_padding(mode, padding, align_corners, build_kernel, check):
    kernel, arrays = sampled(build_kernel, "primes", mode=mode, padding=padding, align_corners=align_corners)
    check(kernel, Injective(), arrays)


@pytest.mark.parametrize("dtype", ["float64", "uint8", "int32"])
def test_nearest_samples_of_other_types(dtype, build_kernel, check):
    kernel, arrays = sampled(build_kernel, "primes", dtype, mode="nearest")
    check(kernel, Injective(), arrays)


@pytest.mark.parametrize("mode", GridSampleOp.MODES)
@pytest.mark.parametrize("padding", GridSampleOp.PADDINGS)
def test_no_coordinate_reads_outside_of_memory(mode, padding, build_kernel, run_kernel):
    kernel, (x, grid) = sampled(build_kernel, "primes", mode=mode, padding=padding)
    grid.reshape(-1)[:6] = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10]
    run_kernel(kernel, Injective(), [x, grid])
