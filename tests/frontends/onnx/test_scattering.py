"""Scatters and MaxUnpool against onnxruntime, at indices that are constant and that are computed."""

import numpy as np
import pytest
from onnx import helper
from onnx.reference.ops.op_tensor_scatter import TensorScatter

REDUCTIONS = ["none", "add", "mul", "min", "max"]


@pytest.fixture(params=["constant", "computed"])
def indices_of(request, live):
    """Indices as a weight or as an input."""
    return live if request.param == "computed" else lambda array: array


def test_scatter_nd(agrees, indices_of):
    agrees("ScatterND", [(4, 5, 3), indices_of(np.array([[1], [3]])), (2, 5, 3)], opset=16)
    agrees("ScatterND", [(4, 5), indices_of(np.array([[1, 2], [3, -1], [0, 0]])), (3,)], opset=16)
    agrees("ScatterND", [(4, 5, 2), indices_of(np.array([[[1, 2]], [[3, -1]]])), (2, 1, 2)], opset=16)


@pytest.mark.parametrize("reduction", REDUCTIONS[1:])
def test_scatter_nd_with_a_reduction_at_equal_indices(agrees, indices_of, reduction):
    indices = indices_of(np.array([[1], [3], [1], [-1]]))
    agrees("ScatterND", [(4, 5), indices, (4, 5)], opset=18, reduction=reduction)


@pytest.mark.parametrize("op_type", ["Scatter", "ScatterElements"])
def test_scatter_elements(agrees, indices_of, op_type):
    indices, opset = np.array([[1, 0, 2], [0, 2, 1]]), 10 if op_type == "Scatter" else 16
    agrees(op_type, [(3, 3), indices_of(indices), (2, 3)], opset=opset)
    agrees(op_type, [(2, 5), indices_of(indices.astype(np.int32)), (2, 3)], opset=opset, axis=1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_elements_at_equal_indices(agrees, indices_of, reduction):
    indices = np.array([[1, 1, 0], [1, -2, 1]])
    agrees("ScatterElements", [(3, 3), indices_of(indices), (2, 3)], opset=18, reduction=reduction)


def test_a_scatter_of_nothing(agrees):
    agrees("ScatterND", [(4, 5), np.zeros((0, 1), np.int64), np.zeros((0, 5), np.float32)], opset=16)


# past, length of the update, axis
CACHES = [((3, 4, 7, 5), 2, -2), ((2, 6, 3), 6, 1), ((3, 5, 2, 3), 3, -3), ((2, 3, 5), 1, 2)]


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize(("past", "length", "axis"), CACHES, ids=str)
def test_tensor_scatter(agrees, live, indices_of, mode, past, length, axis):
    size, rng = past[axis], np.random.default_rng(0)
    new = tuple(length if i == axis % len(past) else n for i, n in enumerate(past))
    x, update = (rng.standard_normal(shape).astype(np.float32) for shape in (past, new))
    starts = np.array([size - length, 0, (size - length) // 2])[: past[0]]
    if mode == "circular":
        starts += np.array([1, size + 2, 2])[: past[0]]
    attributes = {"opset": 24, "mode": mode, "axis": axis}
    want = TensorScatter.eval(x, update, starts, mode=mode, axis=axis)
    agrees("TensorScatter", [live(x), live(update), indices_of(starts)], expected=[want], **attributes)
    want = TensorScatter.eval(x, update, mode=mode, axis=axis)
    agrees("TensorScatter", [live(x), live(update)], expected=[want], **attributes)


def test_scatters_of_integers_and_into_constants(agrees, live):
    indices, data = np.array([[1], [3], [1]]), np.arange(20).reshape(4, 5)
    agrees("ScatterND", [data, live(indices), np.ones((3, 5), np.int64)], opset=18, reduction="add")
    agrees("ScatterND", [data.astype(np.float32), live(indices), (3, 5)], opset=16)


# input of the pool, its window
POOLS = [
    ((2, 3, 6, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((1, 2, 7, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 1, 9), {"kernel_shape": [3], "strides": [3]}),
    ((1, 2, 4, 4, 6), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
]


@pytest.mark.parametrize(("shape", "window"), POOLS, ids=str)
def test_max_unpool_undoes_a_max_pool(model_of, both_run, shape, window):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["pooled", "places"], **window),
        helper.make_node("MaxUnpool", ["pooled", "places"], ["y"], **window),
    ]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    both_run(model_of(nodes, {"x": shape}, ["y"]), {"x": x})


def test_max_unpool_to_a_size_that_the_pool_left_a_rest_of(model_of, both_run):
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["pooled", "places"], **window),
        helper.make_node("MaxUnpool", ["pooled", "places", "size"], ["y"], **window),
    ]
    x = np.random.default_rng(0).standard_normal((1, 2, 7, 5)).astype(np.float32)
    model = model_of(nodes, {"x": x.shape}, ["y"], weights={"size": np.array([1, 2, 7, 5])})
    both_run(model, {"x": x})


REFUSED = [
    ([(4, 5), np.array([[[0, 0, 0]]]), (1, 1)], "at most 2 positions, got 3"),
    ([(4, 5), np.array([[9]]), (1, 5)], "expected indices in [-4, 4), got 9"),
    ([(4, 5), np.array([[1]]), (1, 4)], "expected 5 elements of updates, got shape (1, 4)"),
]
CACHE_REFUSED = [
    ([(2, 4, 3), np.zeros(2, np.int64), (2, 5, 3)], {}, "an update of (2, 4, 3) with at most 4"),
    ([(2, 4, 3), np.zeros(2, np.int64), (2, 4, 3)], {"axis": 0}, "on an axis after 0, got (2, 4, 3), axis 0"),
    ([(2, 4, 3), np.zeros(1, np.int64), (2, 1, 3)], {}, "expected 2 write_indices, got shape (1,)"),
    ([(2, 4, 3), np.array([0, 3]), (2, 2, 3)], {}, "expected indices in [-4, 4), got 0 to 4"),
]


@pytest.mark.parametrize(("operands", "expected"), REFUSED)
def test_a_scatter_that_does_not_fit(refusal, model_of, operands, expected):
    data, indices, updates = operands
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"])
    model = model_of([node], {"x": data, "u": updates}, ["y"], weights={"i": indices})
    assert expected in refusal(model)


@pytest.mark.parametrize(("operands", "attributes", "expected"), CACHE_REFUSED)
def test_an_update_of_a_cache_that_does_not_fit(refusal, model_of, operands, attributes, expected):
    past, starts, update = operands
    node = helper.make_node("TensorScatter", ["x", "u", "at"], ["y"], **attributes)
    model = model_of([node], {"x": past, "u": update}, ["y"], weights={"at": starts}, opset=24)
    assert expected in refusal(model)
