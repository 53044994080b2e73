"""Regions of interest and deformable convolutions against onnxruntime."""

import numpy as np
import pytest
from onnx import helper

# x1, y1, x2, y2: inside, across the border, far outside, of no size
REGIONS = np.array([[1, 2, 9, 7], [-3, -2, 4, 5], [30, 30, 40, 40], [5, 5, 5, 5], [0, 0, 15, 11]], np.float32)
ALIGNED = {"output_height": 3, "output_width": 2, "sampling_ratio": 2}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("batch", [1, 2])
def test_roi_align(agrees, live, mode, coordinates, batch):
    images = live(np.array([0, 1, 0, 1, 0]) % batch)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "spatial_scale": 0.75}
    agrees("RoiAlign", [(batch, 3, 12, 16), live(REGIONS), images], opset=16, **ALIGNED, **attributes)


def test_roi_align_of_opset_10(agrees, live):
    agrees("RoiAlign", [(2, 3, 12, 16), live(REGIONS), np.array([0, 1, 1, 0, 0])], opset=10, **ALIGNED)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
def test_samples_whose_number_follows_from_constant_regions(agrees, live, mode, coordinates):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "spatial_scale": 0.75}
    regions = np.concatenate([REGIONS, [[9, 7, 1, 2], [2, 3, 10, 8]]]).astype(np.float32)  # one the wrong way round
    operands = [(2, 3, 12, 16), regions, live(np.array([0, 1, 0, 1, 0, 1, 1]))]
    agrees("RoiAlign", operands, opset=16, output_height=3, output_width=2, **attributes)
    agrees("RoiAlign", [(1, 2, 7, 5), regions[3:4], np.array([0])], opset=16, output_height=2, **attributes)
    none = [(1, 2, 7, 5), regions[:0], np.zeros(0, np.int64)]
    agrees("RoiAlign", none, opset=16, expected=[np.zeros((0, 2, 1, 1), np.float32)], **attributes)


def test_samples_whose_number_follows_from_computed_regions_are_refused(refusal, model_of):
    node = helper.make_node("RoiAlign", ["x", "rois", "images"], ["y"], output_height=2, output_width=2)
    inputs = {"x": (1, 2, 8, 8), "rois": (3, 4), "images": (np.int64, (3,))}
    message = refusal(model_of([node], inputs, ["y"], opset=16))
    assert "expected its regions at a sampling_ratio of 0 (input 1) to be constant" in message


# x, weight, offset groups, attributes
DEFORMED = {
    "plain": ((1, 4, 7, 8), (6, 4, 3, 3), 1, {"pads": [1, 1, 1, 1]}),
    "strides and dilations": ((2, 4, 9, 11), (6, 4, 3, 2), 1, {"strides": [2, 1], "dilations": [1, 2]}),
    "groups of both kinds": ((2, 8, 6, 6), (4, 4, 3, 3), 4, {"pads": [1, 1, 1, 1], "group": 2}),
    "1x1": ((1, 2, 5, 5), (3, 2, 1, 1), 2, {}),
}


@pytest.mark.parametrize("case", DEFORMED)
@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(agrees, case, masked):
    x, w, groups, attributes = DEFORMED[case]
    taps, pads = w[2] * w[3], attributes.get("pads", [0] * 4)
    strides, dilations = (attributes.get(name, [1, 1]) for name in ("strides", "dilations"))
    size = [(x[2 + i] + pads[i] + pads[2 + i] - dilations[i] * (w[2 + i] - 1) - 1) // strides[i] + 1 for i in range(2)]
    mask = [(x[0], groups * taps, *size)] if masked else []
    operands = [x, w, (x[0], groups * taps * 2, *size), (w[0],) if masked else None, *mask]
    agrees("DeformConv", operands, opset=19, offset_group=groups, **attributes)
