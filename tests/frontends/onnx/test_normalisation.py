"""Normalisations against onnxruntime (or their formula, where it has none)."""

import numpy as np
import pytest

RNG = np.random.default_rng(0)


def positive(*shape):
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 3, 4, 5), (1, 3, 2, 3, 2)])
def test_batch_normalization(agrees, opset, shape):
    agrees("BatchNormalization", [shape, (3,), (3,), (3,), positive(3)], opset=opset, epsilon=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.25, "epsilon": 1e-2}])
def test_batch_normalization_by_its_own_moments(agrees, shape, options):
    """As weight standardisation is exported."""
    operands = [shape, (3,), (3,), (3,), positive(3)]
    agrees("BatchNormalization", operands, opset=15, outputs=3, training_mode=1, **options)


def test_statistics_of_another_type_than_the_image(agrees):
    x = RNG.standard_normal((1, 2, 3, 3)).astype(np.float16)
    large = np.array([1e5, 1e6], np.float32)  # beyond float16
    want = x / np.sqrt(large.reshape(1, 2, 1, 1).astype(float) + 1e-5)
    operands = [x, np.ones(2, np.float32), np.zeros(2, np.float32), np.zeros(2, np.float32), large]
    agrees("BatchNormalization", operands, opset=15, expected=[want.astype(np.float32)])


def test_batch_normalization_before_opset_7(agrees):
    x, (scale, shift, mean, var) = RNG.standard_normal((1, 3, 2, 2)), (positive(3) for _ in range(4))
    line = (1, 3, 1, 1)
    want = (x - mean.reshape(line)) / np.sqrt(var + 1e-5).reshape(line) * scale.reshape(line) + shift.reshape(line)
    operands = [x.astype(np.float32), scale, shift, mean, var]
    agrees("BatchNormalization", operands, opset=6, is_test=1, expected=[want.astype(np.float32)])


@pytest.mark.parametrize("size", [1, 3, 5, 9])  # onnxruntime takes odd sizes only
@pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "beta": 0.5, "bias": 2.0}])
def test_lrn(agrees, size, options):
    agrees("LRN", [(2, 6, 3, 4)], size=size, **options)


def test_lrn_of_an_even_size_reaches_further_up(agrees):
    x = RNG.standard_normal((1, 5, 2, 2))
    square = np.pad(x**2, ((0, 0), (1, 2), (0, 0), (0, 0)))
    total = sum(square[:, i : i + 5] for i in range(4))
    want = x / (1 + 0.5 / 4 * total) ** 0.75
    agrees("LRN", [x.astype(np.float32)], size=4, alpha=0.5, expected=[want.astype(np.float32)])


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 3, 5, 4), (2, 3, 3, 2, 2)])
def test_instance_normalization(agrees, shape):
    agrees("InstanceNormalization", [shape, (3,), (3,)], epsilon=1e-3)


def normalised(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_group_normalization_scales_groups_then_channels(agrees):
    x = RNG.standard_normal((2, 6, 3, 4)).astype(np.float32)
    grouped = normalised(x.astype(float).reshape(2, 3, -1), 2)
    by_group, by_channel = positive(3), positive(6)
    want = grouped * by_group[:, None] + by_group[:, None]
    want = want.reshape(x.shape).astype(np.float32)
    agrees("GroupNormalization", [x, by_group, by_group], opset=18, num_groups=3, expected=[want])
    want = grouped.reshape(x.shape) * by_channel[:, None, None] + by_channel[:, None, None]
    want = want.astype(np.float32)
    agrees("GroupNormalization", [x, by_channel, by_channel], opset=21, num_groups=3, expected=[want])


@pytest.mark.parametrize("axis", [-1, 1, -2, 0])
def test_layer_normalization_with_its_mean_and_inverse_deviation(agrees, axis):
    shape = (2, 3, 4)
    agrees("LayerNormalization", [shape, shape[axis:], shape[axis:]], outputs=3, opset=17, axis=axis)
    agrees("LayerNormalization", [shape, shape[axis:]], opset=17, axis=axis, epsilon=1e-2)


def test_layer_normalization_of_half_precision_computes_in_single(operations, model_of):
    from onnx import helper

    node = helper.make_node("LayerNormalization", ["x", "s"], ["y"])
    model = model_of([node], {"x": (np.float16, (2, 4))}, ["y"], weights={"s": np.ones(4, np.float16)}, opset=17)
    found = operations(model)
    assert found[0] == "cast"
    assert found[-1] == "cast"


def test_rms_normalization(agrees):
    x, scale = RNG.standard_normal((2, 3, 4)), positive(4)
    want = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale
    agrees("RMSNormalization", [x.astype(np.float32), scale], opset=23, expected=[want.astype(np.float32)])


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization(agrees, p, axis):
    agrees("LpNormalization", [(2, 3, 4)], opset=14, p=p, axis=axis)


def test_lp_normalization_of_zeros_is_zeros(agrees, live):
    agrees("LpNormalization", [live(np.array([[0, 0], [3, 4]], np.float32))], opset=14)


@pytest.mark.parametrize("options", [{}, {"axes": [1, 2]}, {"axes": [-1]}])
def test_mean_variance_normalization(agrees, options):
    x = RNG.standard_normal((2, 3, 4, 5))
    axes = tuple(options.get("axes", (0, 2, 3)))
    want = normalised(x, axes, 0).astype(np.float32)
    agrees("MeanVarianceNormalization", [x.astype(np.float32)], opset=13, expected=[want], **options)
