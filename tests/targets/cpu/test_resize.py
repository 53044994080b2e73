"""Resize: every mode, coordinate transformation and rounding, up and down, by whole and odd factors."""

from __future__ import annotations

import pytest

from convc.ir.data import ResizeOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

SIZES = {
    "up by 2": ((7, 9), (14, 18)),
    "up by 3 and 4": ((5, 6), (15, 24)),
    "up by 8": ((3, 4), (24, 32)),
    "down by 2": ((14, 18), (7, 9)),
    "down by 3": ((16, 21), (5, 7)),
    "up by odd factors": ((7, 9), (17, 23)),
    "down by odd factors": ((19, 23), (12, 5)),
    "up and down": ((6, 20), (13, 11)),
    "from one": ((1, 1), (5, 33)),
    "to one": ((8, 9), (1, 1)),
    "one axis": ((6, 9), (6, 20)),
}
COORDINATES = [c for c in ResizeOp.COORDINATES if c != "tf_crop_and_resize"]
ROI = (0.0, 0.0, 0.15, 0.3, 1.0, 1.0, 0.85, 1.2)
LAYOUTS = pytest.mark.parametrize("layout", [None, "NCHW16c"])


def resize(build_kernel, case, layout=None, shape=(1, 19), dtype="float32", **options):
    before, after = ((*shape, *size) for size in SIZES[case])
    return build_kernel([(before, dtype, layout)], lambda x: ResizeOp(x, after, **options).result, layout)


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_every_size_and_coordinate(case, coordinates, mode, build_kernel, check):
    check(resize(build_kernel, case, mode=mode, coordinates=coordinates), Injective(), tolerance=2e-5)


@pytest.mark.parametrize("case", ["up by 2", "down by odd factors", "from one"])
@pytest.mark.parametrize("mode", ResizeOp.MODES)
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_in_blocks(case, mode, coordinates, build_kernel, check):
    check(resize(build_kernel, case, "NCHW16c", mode=mode, coordinates=coordinates), Injective(), tolerance=2e-5)


@pytest.mark.parametrize("case", ["up by 2", "down by 3", "up by odd factors"])
@pytest.mark.parametrize("nearest", ResizeOp.NEAREST)
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_every_rounding(case, nearest, coordinates, build_kernel, check):
    check(resize(build_kernel, case, nearest=nearest, coordinates=coordinates), Injective())


@pytest.mark.parametrize("case", ["up by 2", "down by odd factors", "up by odd factors", "from one"])
@pytest.mark.parametrize("exclude_outside", [False, True])
@pytest.mark.parametrize("cubic_coeff", [-0.75, -0.5])
def test_cubic(case, exclude_outside, cubic_coeff, build_kernel, check):
    kernel = resize(build_kernel, case, mode="cubic", exclude_outside=exclude_outside, cubic_coeff=cubic_coeff)
    check(kernel, Injective(), tolerance=2e-5)


@pytest.mark.parametrize("mode", ResizeOp.MODES)
@pytest.mark.parametrize("case", ["up by odd factors", "down by 2", "to one"])
def test_a_crop_with_what_lies_outside(mode, case, build_kernel, check):
    kernel = resize(build_kernel, case, mode=mode, coordinates="tf_crop_and_resize", roi=ROI, extrapolation=-3.0)
    check(kernel, Injective(), tolerance=2e-5)


@pytest.mark.parametrize("scales", [(1, 1, 1.6, 2.2), (1, 1, 0.61, 0.37)])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_scales_that_are_no_ratio_of_the_sizes(scales, coordinates, mode, build_kernel, check):
    before = (1, 3, 13, 17)
    after = tuple(int(size * scale) for size, scale in zip(before, scales))
    kernel = build_kernel(
        [(before, "float32")],
        lambda x: ResizeOp(x, after, mode=mode, coordinates=coordinates, scales=scales).result,
    )
    check(kernel, Injective(), tolerance=2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("before", "after"), [((2, 5, 11), (2, 5, 22)), ((1, 4, 3, 4, 5), (1, 4, 6, 8, 10))])
def test_other_ranks(mode, before, after, build_kernel, check):
    kernel = build_kernel([(before, "float32")], lambda x: ResizeOp(x, after, mode=mode).result)
    check(kernel, Injective())


@pytest.mark.parametrize("mode", ResizeOp.MODES)
def test_channels_and_batches_too(mode, build_kernel, check):
    kernel = build_kernel([((2, 3, 5, 6), "float32")], lambda x: ResizeOp(x, (4, 5, 7, 9), mode=mode).result)
    check(kernel, Injective(), tolerance=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int32"])
def test_nearest_elements_of_other_types(dtype, build_kernel, check):
    check(resize(build_kernel, "up by odd factors", dtype=dtype), Injective())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("float64", 1e-6)])
def test_linear_mixtures_of_other_types(dtype, tolerance, build_kernel, check):
    check(resize(build_kernel, "up by odd factors", dtype=dtype, mode="linear"), Injective(), tolerance=tolerance)


@pytest.mark.parametrize("mode", ResizeOp.MODES)
@LAYOUTS
def test_by_the_generic_template(mode, layout, build_kernel, check):
    check(resize(build_kernel, "up by odd factors", layout, mode=mode), Generic(), tolerance=2e-5)


@pytest.mark.parametrize("layout", [None, "NCHW16c"])
def test_large_enough_for_threads(layout, build_kernel, check):
    kernel = build_kernel(
        [((1, 32, 40, 41), "float32", layout)], lambda x: ResizeOp(x, (1, 32, 80, 82), mode="linear").result, layout
    )
    check(kernel, Injective())
