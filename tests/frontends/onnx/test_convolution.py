"""Convolutions against onnxruntime: ranks, strides, pads, dilations, groups, and every form of automatic padding."""

import numpy as np
import pytest

CONV = [
    ("1-d", [(2, 3, 11), (4, 3, 3)], {"strides": [2], "pads": [1, 2]}),
    ("3-d", [(1, 2, 5, 6, 7), (3, 2, 2, 3, 1)], {"strides": [1, 2, 2], "pads": [0, 1, 0, 1, 1, 0]}),
    ("bias", [(1, 3, 6, 7), (4, 3, 3, 3), (4,)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("asymmetric", [(1, 3, 9, 8), (2, 3, 3, 2)], {"strides": [2, 3], "pads": [0, 1, 2, 3]}),
    ("dilated", [(1, 3, 11, 11), (2, 3, 3, 3)], {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ("grouped", [(1, 6, 5, 5), (4, 3, 3, 3)], {"group": 2}),
    ("depthwise", [(1, 4, 7, 7), (8, 1, 3, 3), (8,)], {"group": 4, "strides": [2, 2]}),
    ("pointwise, batch 3", [(3, 5, 4, 4), (7, 5, 1, 1)], {}),
    ("kernel of the whole image", [(1, 2, 5, 7), (3, 2, 5, 7)], {}),
    ("valid", [(1, 2, 8, 8), (3, 2, 3, 3)], {"auto_pad": "VALID", "strides": [3, 2]}),
    *[
        (f"{mode} {size} {kernel} {stride}", [(1, 2, size, size), (3, 2, kernel, kernel)],
         {"auto_pad": mode, "strides": [stride, stride]})
        for mode in ("SAME_UPPER", "SAME_LOWER")
        for size, kernel, stride in [(7, 3, 2), (8, 3, 2), (5, 2, 1), (5, 1, 3), (9, 4, 3)]
    ],
]  # fmt: skip


@pytest.mark.parametrize(("operands", "attributes"), [case[1:] for case in CONV], ids=[case[0] for case in CONV])
def test_conv(agrees, operands, attributes):
    agrees("Conv", operands, **attributes)


def test_automatic_padding_counts_the_dilation(agrees, both_run, model_of):
    """onnxruntime refuses the two together: explicit pads are the reference."""
    from onnx import helper

    explicit, automatic = (
        helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2, 3], **pads)
        for pads in ({"pads": [2, 3, 2, 3]}, {"auto_pad": "SAME_UPPER"})
    )
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 2, 9, 9), (3, 2, 3, 3)))
    both_run(
        model_of([explicit], {"x": x.shape}, ["y"], weights={"w": w}),
        {"x": x},
        instead=model_of([automatic], {"x": x.shape}, ["y"], weights={"w": w}),
    )


TRANSPOSED = [
    ("1-d", [(1, 3, 5), (3, 2, 3)], {"strides": [2]}),
    ("3-d", [(1, 2, 3, 4, 3), (2, 3, 2, 2, 2), (3,)], {"strides": [2, 1, 2]}),
    ("pads", [(1, 3, 5, 6), (3, 2, 3, 4), (2,)], {"strides": [2, 3], "pads": [1, 0, 2, 1]}),
    ("output_padding", [(1, 3, 4, 4), (3, 2, 3, 3)],
     {"strides": [2, 2], "output_padding": [1, 1], "pads": [1, 1, 1, 1]}),
    ("dilated", [(1, 2, 4, 4), (2, 2, 3, 3)], {"dilations": [2, 2]}),
    ("grouped", [(1, 4, 4, 4), (4, 3, 2, 2), (6,)], {"group": 2, "strides": [2, 2]}),
    ("output_shape", [(1, 2, 4, 5), (2, 3, 3, 3)], {"strides": [2, 2], "output_shape": [8, 10]}),
    ("output_shape, odd rest", [(1, 2, 4, 4), (2, 3, 4, 4)], {"strides": [2, 2], "output_shape": [9, 7]}),
    ("valid", [(1, 2, 4, 4), (2, 3, 3, 3)], {"strides": [2, 2], "auto_pad": "VALID"}),
    *[
        (f"{mode} {kernel}", [(1, 2, 4, 5), (2, 3, kernel, kernel), (3,)],
         {"strides": [2, 2], "auto_pad": mode, **extra})
        for mode in ("SAME_UPPER", "SAME_LOWER")
        for kernel in (2, 3, 4)
        for extra in ({}, {"output_shape": [7, 9]})
    ],
]  # fmt: skip


@pytest.mark.parametrize(
    ("operands", "attributes"), [case[1:] for case in TRANSPOSED], ids=[case[0] for case in TRANSPOSED]
)
def test_conv_transpose(agrees, operands, attributes):
    agrees("ConvTranspose", operands, **attributes)


def test_an_output_shape_beyond_the_windows_is_filled_with_the_bias(agrees):
    """onnxruntime reads past its buffers here: numpy is the reference."""
    x, w, bias = np.ones((1, 1, 2), np.float32), np.ones((1, 1, 2), np.float32), np.full(1, 5, np.float32)
    want = np.array([[[6, 6, 6, 6, 5]]], np.float32)
    agrees("ConvTranspose", [x, w, bias], strides=[2], output_shape=[5], expected=[want])


@pytest.mark.parametrize("opset", [7, 11, 18, 22])
def test_conv_of_half_and_double_precision(imported, model_of, opset):
    from onnx import helper

    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float64):
        x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((1, 2, 5, 5), (3, 2, 3, 3)))
        model = model_of(
            [helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (dtype, x.shape)}, ["y"], weights={"w": w}, opset=opset
        )
        windows = np.lib.stride_tricks.sliding_window_view(x.astype(float), (3, 3), (2, 3))
        want = np.einsum("nchwij,ocij->nohw", windows, w.astype(float))
        np.testing.assert_allclose(imported(model, {"x": x})["y"], want, rtol=1e-12)
