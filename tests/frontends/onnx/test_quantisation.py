"""Quantisation in float arithmetic against onnxruntime."""

import numpy as np
import pytest

SCALES = np.array([0.5, 0.1, 2], np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantize(agrees, live, dtype):
    x = np.linspace(-40, 40, 24, dtype=np.float32).reshape(2, 3, 4)
    agrees("QuantizeLinear", [live(x), np.float32(0.25), np.array(3, dtype)], opset=13)
    agrees("QuantizeLinear", [live(x), SCALES, np.array([0, 3, 7], dtype)], opset=13, axis=1)
    agrees("QuantizeLinear", [live(x), np.float32(0.25)], opset=13)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_dequantize(agrees, live, dtype):
    x = np.random.default_rng(0).integers(0, 100, (2, 3, 4)).astype(dtype)
    zero = [] if dtype == np.int32 else [np.array(3, dtype)]
    agrees("DequantizeLinear", [live(x), np.float32(0.25), *zero], opset=13)
    zeros = [] if dtype == np.int32 else [np.array([0, 3, 7], dtype)]
    agrees("DequantizeLinear", [live(x), SCALES, *zeros], opset=13, axis=1)


def test_dequantized_weights_are_weights(operations, model_of):
    from onnx import helper

    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    weights = {"q": np.ones((3, 2, 1, 1), np.int8), "s": SCALES}
    assert operations(model_of(nodes, {"x": (1, 2, 4, 4)}, ["y"], weights=weights, opset=13)) == ["conv"]


def test_the_range_is_found_at_run_time(agrees, live):
    """The standard defines DynamicQuantizeLinear by other operators."""
    x = np.array([0, 2, -3, -2.45, 1.34, 0.55], np.float32)
    agrees("DynamicQuantizeLinear", [live(x)], outputs=3, opset=11)
