"""Reductions against onnxruntime: axes as attribute and as input, kept and dropped."""

import numpy as np
import pytest

KINDS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
ABOVE_ZERO = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
CHOICES = [
    {},
    {"axes": [1]},
    {"axes": [0, 2], "keepdims": 0},
    {"axes": [-1], "keepdims": 1},
    {"keepdims": 0},
    {"axes": [-2, 0]},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_axes_as_an_attribute(agrees, live, kind, options):
    agrees(f"Reduce{kind}", [live(ABOVE_ZERO)], opset=11, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_axes_as_an_input(agrees, live, kind, options):
    axes = [np.array(options["axes"])] if "axes" in options else []
    keepdims = {"keepdims": options["keepdims"]} if "keepdims" in options else {}
    agrees(f"Reduce{kind}", [live(ABOVE_ZERO), *axes], opset=18, **keepdims)


@pytest.mark.parametrize("noop", [0, 1])
def test_no_axes_means_all_or_none(agrees, live, noop):
    agrees("ReduceSum", [live(ABOVE_ZERO), np.array([], np.int64)], opset=13, noop_with_empty_axes=noop)
    agrees("ReduceSum", [live(ABOVE_ZERO)], opset=13, noop_with_empty_axes=noop)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_reduction_of_no_axes_does_to_single_elements(agrees, live, kind):
    agrees(f"Reduce{kind}", [live(ABOVE_ZERO)], opset=18, noop_with_empty_axes=1)
    agrees(f"Reduce{kind}", [live(np.array(2, np.float32))], opset=18)


@pytest.mark.parametrize("kind", ["Max", "Min"])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool])
def test_integers_and_booleans(agrees, live, kind, dtype):
    x = np.array([[0, 1, 2], [1, 1, 3]]).astype(dtype)
    want = (x.max if kind == "Max" else x.min)(axis=1, keepdims=True)
    agrees(f"Reduce{kind}", [live(x), np.array([1])], opset=20, expected=[want])


TIES = np.array([[2, 5, 5, 1], [3, 3, 0, 0]], np.float32)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(
    "options", [{}, {"axis": 1}, {"axis": -1, "keepdims": 0}, {"axis": 1, "select_last_index": 1}], ids=str
)
def test_arg_reduce(agrees, live, op_type, options):
    agrees(op_type, [live(TIES)], opset=13, **options)


@pytest.mark.parametrize(("kind", "want"), [("Sum", 0), ("Prod", 1), ("L2", 0), ("LogSumExp", -np.inf)])
def test_a_reduction_of_nothing_is_known(imported, model_of, kind, want):
    from onnx import helper

    nodes = [
        helper.make_node("Slice", ["x", "none", "none"], ["empty"]),
        helper.make_node(f"Reduce{kind}", ["empty"], ["y"], keepdims=0),
    ]
    model = model_of(nodes, {"x": (3,)}, ["y"], weights={"none": np.array([0])})
    assert imported(model, {"x": np.ones(3, np.float32)})["y"] == want
