"""Resize and Upsample against onnxruntime."""

import itertools

import numpy as np
import pytest


def floats(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
SIZES = [(1, 2, 8, 10), (1, 2, 7, 3), (1, 2, 1, 9), (1, 2, 4, 5)]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resize_to_sizes(agrees, mode, coordinates, size):
    options = {"mode": mode, "coordinate_transformation_mode": coordinates}
    agrees("Resize", [(1, 2, 4, 5), None, None, ints(*size)], opset=19, tolerance=1e-4, **options)


NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@pytest.mark.parametrize(
    ("nearest", "coordinates"), list(itertools.product(NEAREST, ["half_pixel", "asymmetric", "align_corners"]))
)
def test_nearest_by_scales(agrees, nearest, coordinates):
    options = {"nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
    agrees("Resize", [(1, 1, 5, 4), None, floats(1, 1, 2, 0.75)], opset=13, **options)


@pytest.mark.parametrize("scale", [0.7, 0.6, 1.2, 1.5, 1 / 3, 2.05])
@pytest.mark.parametrize("size", [5, 7, 10])
def test_a_size_is_the_scaled_one_rounded_down_in_single_precision(agrees, scale, size):
    agrees("Resize", [(1, 1, size), None, floats(1, 1, scale)], opset=13, mode="linear", tolerance=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_what_keeps_its_size_is_no_operation(agrees, model_of, operations, scale):
    from onnx import helper

    agrees("Resize", [(1, 1, 5), None, floats(1, 1, scale)], opset=13, mode="linear")
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")
    assert operations(model_of([node], {"x": (1, 1, 5)}, ["y"], weights={"s": floats(1, 1, scale)}, opset=13)) == []


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_the_aspect_ratio_is_kept(agrees, policy):
    options = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": "linear"}
    agrees("Resize", [(1, 1, 4, 6), None, None, ints(7, 9)], opset=18, tolerance=1e-4, **options)


def test_some_axes_only(agrees):
    agrees("Resize", [(1, 4, 6, 2), None, floats(2, 0.5)], opset=18, axes=[1, 2])
    agrees("Resize", [(1, 4, 6, 2), None, None, ints(3, 5)], opset=18, axes=[2, 1])


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_crop_and_resize(agrees, mode):
    roi = floats(0, 0, 0.1, 0.2, 1, 1, 0.8, 1.3)
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0, "mode": mode}
    agrees("Resize", [(1, 1, 6, 5), roi, None, ints(1, 1, 4, 7)], opset=13, tolerance=1e-4, **options)


@pytest.mark.parametrize("options", [{"cubic_coeff_a": -0.5}, {"exclude_outside": 1}], ids=str)
def test_cubic(agrees, options):
    agrees("Resize", [(1, 1, 5, 6), None, floats(1, 1, 1.6, 0.7)], opset=13, mode="cubic", tolerance=1e-4, **options)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_the_forms_of_older_opsets(agrees, mode):
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    options = {"mode": "nearest", "height_scale": 2.0, "width_scale": 1.0}
    agrees("Upsample", [x], opset=6, expected=[x.repeat(2, 2)], **options)
    agrees("Upsample", [(1, 2, 3, 4)], opset=7, mode=mode, scales=[1.0, 1.0, 2.0, 3.0], tolerance=1e-4)
    agrees("Upsample", [(1, 2, 3, 4), floats(1, 1, 2, 3)], opset=9, mode=mode, tolerance=1e-4)
    agrees("Resize", [(1, 2, 6, 4), floats(1, 1, 0.5, 3)], opset=10, mode=mode, tolerance=1e-4)


def test_bytes_are_resized(agrees, live):
    x = np.random.default_rng(0).integers(0, 255, (1, 3, 4, 4)).astype(np.uint8)
    agrees("Resize", [live(x), None, floats(1, 1, 2, 2)], opset=13)
