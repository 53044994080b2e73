"""The interpreter: resizes in all modes and coordinates, beside onnxruntime's."""

from __future__ import annotations

import numpy as np
import pytest

RESIZES = [
    ({"mode": mode, "coordinate_transformation_mode": coordinates, **extra}, scales)
    for mode, extra in (
        *(("nearest", {"nearest_mode": m}) for m in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
        ("linear", {}),
        ("cubic", {}),
        ("cubic", {"exclude_outside": 1, "cubic_coeff_a": -0.5}),
    )
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for scales in ((1, 1, 2, 3), (1, 1, 0.6, 0.5), (1, 1, 1.7, 0.8), (1, 1, 0.2, 0.2))
]


@pytest.mark.parametrize(("attributes", "scales"), RESIZES)
def test_resize_means_what_onnxruntime_computes(check, model, random, attributes, scales):
    proto = model("Resize", [((1, 2, 5, 6), "float32")], (None, np.float32([*scales])), opset=18, **attributes)
    check(proto, [random((1, 2, 5, 6), "float32", np.random.default_rng(3))])


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude_outside", [0, 1])
def test_resize_with_antialias(check, model, random, mode, exclude_outside):
    proto = model(
        "Resize",
        [((1, 2, 9, 8), "float32")],
        (None, np.float32([1, 1, 0.4, 0.6])),
        mode=mode,
        antialias=1,
        exclude_outside=exclude_outside,
    )
    check(proto, [random((1, 2, 9, 8), "float32", np.random.default_rng(3))])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_a_region_of_interest(check, model, random, mode):
    roi = np.float32([0, 0, -0.1, 0.2, 1, 1, 0.7, 1.3])
    proto = model(
        "Resize",
        [((1, 2, 5, 6), "float32")],
        (roi, None, np.int64([1, 2, 7, 4])),
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.0,
    )
    check(proto, [random((1, 2, 5, 6), "float32", np.random.default_rng(3))])


def test_resize_by_sizes_in_symmetric_coordinates(check, model, random):
    proto = model(
        "Resize",
        [((1, 1, 5, 6), "float32")],
        (None, np.float32([1, 1, 0.7, 1.3])),
        opset=19,
        mode="linear",
        coordinate_transformation_mode="half_pixel_symmetric",
    )
    check(proto, [random((1, 1, 5, 6), "float32", np.random.default_rng(3))])
