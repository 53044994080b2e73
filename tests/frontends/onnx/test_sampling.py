"""Samples, selections, prefix sums and the places of largest elements against onnxruntime."""

import numpy as np
import pytest

MODES = [(16, "bilinear"), (16, "nearest"), (16, "bicubic"), (20, "linear"), (20, "nearest"), (20, "cubic")]


@pytest.mark.parametrize(("opset", "mode"), MODES)
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample(agrees, live, opset, mode, padding_mode, align_corners):
    grid = np.random.default_rng(1).uniform(-1.4, 1.4, (2, 3, 7, 2)).astype(np.float32)
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    agrees("GridSample", [(2, 3, 5, 6), live(grid)], opset=opset, **attributes)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(agrees, live, mode, padding_mode):
    grid = np.random.default_rng(1).uniform(-1.4, 1.4, (1, 2, 3, 4, 3)).astype(np.float32)
    agrees("GridSample", [(1, 2, 4, 5, 6), live(grid)], opset=20, mode=mode, padding_mode=padding_mode)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumulative_sums(agrees, exclusive, reverse, axis):
    agrees("CumSum", [(3, 4, 5), np.array(axis)], exclusive=exclusive, reverse=reverse)


def test_cumulative_products(agrees):
    """onnxruntime has none."""
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    agrees("CumProd", [(3, 5), np.array(1)], opset=26, expected=[np.cumprod(x, 1)])


POOLS = [
    ((2, 3, 7, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ((1, 2, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 2, 9, 6), {"kernel_shape": [3, 2], "dilations": [2, 1], "storage_order": 1}),
    ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}),
    ((1, 2, 5, 4, 6), {"kernel_shape": [2, 2, 3], "storage_order": 1}),
]


@pytest.mark.parametrize(("shape", "attributes"), POOLS)
def test_the_indices_of_a_max_pool(agrees, shape, attributes):
    agrees("MaxPool", [shape], outputs=2, **attributes)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k_with_ties(agrees, live, largest, axis):
    x = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.float32)
    agrees("TopK", [live(x), np.array([4])], outputs=2, axis=axis, largest=largest)
