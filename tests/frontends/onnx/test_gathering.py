"""Gathers with constant indices against onnxruntime."""

import numpy as np
import pytest
from onnx import helper

GATHERS = [
    (0, np.array(1)),
    (1, np.array([0, 2, 4])),
    (1, np.array([4, 3, 2, 1, 0])),
    (-1, np.array([[0, -1], [1, 1]])),
    (1, np.array([3, 3, 3])),
    (2, np.array([[0]])),
    (1, np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])),
    (1, np.array([1, 4, 1, 4, 1, 4])),
    (2, np.array([0, 1, 2, 1, 2, 3])),
    (1, np.array([4, 0, 3, 1, 2, 2, 0])),
]


@pytest.mark.parametrize(("axis", "indices"), GATHERS, ids=str)
def test_gather(agrees, axis, indices):
    agrees("Gather", [(3, 5, 4), indices], axis=axis)
    agrees("Gather", [(3, 5, 4), indices.astype(np.int32)], axis=axis)


def test_gather_of_nothing(agrees):
    agrees("Gather", [(3, 5), np.array([], np.int64)], axis=1)


GATHERED = [
    (np.arange(2, 40, 3), ["slice"]),
    (np.repeat(np.arange(20), 2), ["slice", "reshape", "broadcast", "reshape"]),
    (np.tile(np.arange(5, 9), 3), ["slice", "reshape", "broadcast", "reshape"]),
    (np.r_[0:10, 30:20:-2], ["slice", "slice", "concat"]),
    (np.random.default_rng(0).permutation(200), ["gather"]),
]


@pytest.mark.parametrize(("indices", "expected"), GATHERED, ids=[case[1][-1] + str(len(case[0])) for case in GATHERED])
def test_what_indices_become(agrees, operations, model_of, indices, expected):
    agrees("Gather", [(2, 200), indices], axis=1)
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=1)
    assert operations(model_of([node], {"x": (2, 200)}, ["y"], weights={"i": indices})) == expected


def test_scattered_indices_of_an_inner_axis(agrees):
    agrees("Gather", [(2, 150, 3), np.random.default_rng(0).permutation(150)], axis=1)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(agrees, axis):
    rng = np.random.default_rng(0)
    agrees("GatherElements", [(3, 4, 2), rng.integers(-2, 2, (2, 3, 2))], axis=axis)


def test_compress(agrees):
    agrees("Compress", [(3, 4), np.array([False, True, True])], axis=0)
    agrees("Compress", [(3, 4), np.array([True, False, True, False, True])])


GATHERS_ND = [
    (np.array([[0, 1], [2, -1]]), 0),
    (np.array([[2], [0], [1]]), 0),
    (np.array([[[0, 1]], [[2, 3]]]), 0),
    (np.array([[1], [0], [3]]), 1),
    (np.array([[[1, 0], [2, 1]], [[0, 0], [1, 1]], [[3, 1], [3, 0]]]), 1),
]


@pytest.mark.parametrize(("indices", "batch_dims"), GATHERS_ND, ids=str)
def test_gather_nd(agrees, indices, batch_dims):
    agrees("GatherND", [(3, 4, 2), indices], batch_dims=batch_dims)


VALUES = np.array([0, 1], np.float32)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot_of_computed_indices(agrees, live, axis):
    indices = np.array([[0, 2, -1], [1, -4, 7]])
    agrees("OneHot", [live(indices), np.array(4), VALUES], opset=11, axis=axis)


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("lengths", [[5, 5, 5], [5, 1, 3], [1, 2, 5]], ids=str)
@pytest.mark.parametrize("rest", [(), (2,), (2, 4)], ids=str)
def test_reverse_sequence(agrees, live, time, lengths, rest):
    shape, axes = (5, 3) if time == 0 else (3, 5), {"time_axis": time, "batch_axis": 1 - time}
    for each in (np.array(lengths), live(np.array(lengths))):
        agrees("ReverseSequence", [(*shape, *rest), each], **axes)
