"""Pools against onnxruntime: ceil_mode, padding that counts or does not, automatic padding, and Lp norms."""

import itertools

import numpy as np
import pytest

WINDOWS = [
    ("1-d", (2, 3, 11), {"kernel_shape": [3], "strides": [2]}),
    ("overlapping", (1, 3, 8, 7), {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1]}),
    ("one element", (1, 1, 1, 1), {"kernel_shape": [1, 1]}),
    ("ceil", (1, 2, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("ceil with pads", (1, 2, 6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("ceil, a window in the padding", (1, 1, 2, 2),
     {"kernel_shape": [1, 1], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 1}),
    ("ceil, a window beyond the image", (1, 2, 2, 3),
     {"kernel_shape": [3, 4], "strides": [2, 3], "pads": [0, 0, 0, 0], "ceil_mode": 1}),
    ("valid", (1, 2, 7, 7), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "VALID"}),
    ("ceil, valid", (1, 2, 7, 16), {"kernel_shape": [3, 3], "strides": [2, 3], "auto_pad": "VALID", "ceil_mode": 1}),
    *[
        (f"{mode} {size} {kernel} {stride}", (1, 2, size, size + 1),
         {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "auto_pad": mode})
        for mode in ("SAME_UPPER", "SAME_LOWER")
        for size, kernel, stride in [(7, 3, 2), (5, 2, 1), (6, 4, 3)]
    ],
]  # fmt: skip
PADDED = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 2, 1]}


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(("shape", "attributes"), [case[1:] for case in WINDOWS], ids=[case[0] for case in WINDOWS])
def test_pool(agrees, op_type, shape, attributes):
    agrees(op_type, [shape], opset=18 if op_type == "LpPool" else 12, **attributes)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_pool_of_three_axes(agrees, op_type):
    """onnxruntime's LpPool errs here."""
    window = {"kernel_shape": [2, 3, 2], "strides": [2, 1, 2], "pads": [0, 1, 0, 1, 1, 0]}
    agrees(op_type, [(1, 2, 6, 5, 4)], opset=12, **window)


@pytest.mark.parametrize(("ceil_mode", "count"), list(itertools.product((0, 1), (0, 1))))
def test_average_pool_counts_declared_padding_only(agrees, ceil_mode, count):
    agrees("AveragePool", [(1, 2, 6, 7)], opset=19, ceil_mode=ceil_mode, count_include_pad=count, **PADDED)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_dilated_pool(agrees, op_type):
    agrees(op_type, [(1, 2, 9, 8)], opset=19, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(
    ("size", "strides", "dilations"), [(7, [1, 1], [2, 1]), (8, [2, 2], [2, 2]), (9, [3, 2], [2, 3])]
)
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_same_padding_of_dilated_pools_is_as_without_dilation(agrees, op_type, mode, size, strides, dilations):
    """In onnxruntime, though the standard counts it."""
    options = {"kernel_shape": [2, 3], "strides": strides, "dilations": dilations, "auto_pad": mode}
    agrees(op_type, [(1, 2, size, size + 1)], opset=19, **options)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("op_type", "dilation"), [("MaxPool", 2), ("AveragePool", 1), ("LpPool", 1)])
def test_same_padding_with_strides_past_the_kernel_leaves_edges_out(agrees, op_type, dilation, mode):
    options = {"kernel_shape": [1, 2], "strides": [3, 4], "dilations": [dilation, 1], "auto_pad": mode}
    agrees(op_type, [(1, 2, 6, 8)], opset=19, **options)


def test_maxima_with_strides_past_the_kernel_begin_where_the_image_does(agrees, live):
    """onnxruntime has none; these are TensorFlow's."""
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    options = {"kernel_shape": [1], "strides": [3], "auto_pad": "SAME_UPPER"}
    agrees("MaxPool", [live(x)], opset=12, expected=[x[..., ::3]], **options)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(agrees, p):
    agrees("LpPool", [(1, 2, 6, 7)], opset=11, p=p, **PADDED)
    agrees("GlobalLpPool", [(2, 3, 4, 5)], p=p)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 4, 3, 5), (1, 2, 3, 2, 2)])
def test_global_pool(agrees, op_type, shape):
    agrees(op_type, [shape])


def test_the_indices_of_a_max_pool_may_stand_unread(agrees):
    agrees("MaxPool", [(1, 2, 6, 6)], opset=12, kernel_shape=[2, 2], storage_order=1)


def test_integers_are_pooled(agrees, live):
    x = np.random.default_rng(0).integers(0, 255, (1, 2, 6, 6)).astype(np.uint8)
    agrees("MaxPool", [live(x)], opset=12, kernel_shape=[3, 3], strides=[2, 2])
