"""Graphs within graphs: model-local functions, branches, and operators that the standard defines by others."""

import numpy as np
import pytest
from onnx import AttributeProto, helper

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def reference(name, kind, of):
    """An attribute whose value is the function's own attribute `of`."""
    return AttributeProto(name=name, type=kind, ref_attr_name=of)


def function(name, inputs, outputs, nodes, attributes=(), defaults=(), opset=18):
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, inputs, outputs, nodes, opsets, attributes, defaults)


def call(name, inputs, outputs, **attributes):
    return helper.make_node(name, inputs, outputs, domain="mine", **attributes)


def test_a_function_is_converted_where_it_is_called(both_run, model_of, operations):
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.append(reference("alpha", AttributeProto.FLOAT, "slope"))
    body = [leaky, helper.make_node("Add", ["b", "a"], ["c"])]
    nodes = [call("F", ["x"], ["h"], slope=0.3), call("F", ["h"], ["y"], slope=0.5)]
    model = model_of(
        nodes, {"x": X.shape}, ["y"], domains={"mine": 1}, functions=[function("F", ["a"], ["c"], body, ["slope"])]
    )
    both_run(model, {"x": X})
    assert operations(model) == ["elementwise"] * 4


def test_a_function_calls_a_function_and_its_attributes_have_defaults(both_run, model_of):
    inner = helper.make_node("Elu", ["a"], ["b"])
    inner.attribute.append(reference("alpha", AttributeProto.FLOAT, "alpha"))
    outer = call("Inner", ["a"], ["b"])
    outer.attribute.append(reference("alpha", AttributeProto.FLOAT, "strength"))
    functions = [
        function("Inner", ["a"], ["b"], [inner], ["alpha"]),
        function("Outer", ["a"], ["b"], [outer], (), [helper.make_attribute("strength", 0.25)]),
    ]
    nodes = [call("Outer", ["x"], ["h"]), call("Outer", ["h"], ["y"], strength=2.0)]
    both_run(model_of(nodes, {"x": X.shape}, ["y"], domains={"mine": 1}, functions=functions), {"x": X})


def test_a_function_leaves_an_input_out(both_run, model_of):
    clip = helper.make_node("Clip", ["a", "low", "high"], ["b"])
    functions = [function("F", ["a", "low", "high"], ["b"], [clip])]
    nodes = [call("F", ["x", "", "top"], ["h"]), call("F", ["h", "low"], ["y"])]
    weights = {"top": np.array(0.5, np.float32), "low": np.array(-0.5, np.float32)}
    both_run(
        model_of(nodes, {"x": X.shape}, ["y"], weights=weights, domains={"mine": 1}, functions=functions), {"x": X}
    )


def test_a_graph_that_returns_an_input_which_a_call_leaves_out(refusal, model_of):
    functions = [function("F", ["a", "b"], ["b"], [helper.make_node("Relu", ["a"], ["c"])])]
    model = model_of([call("F", ["x"], ["y"])], {"x": (2,)}, ["y"], domains={"mine": 1}, functions=functions)
    assert refusal(model) == "expected a value for every output of the graph, 'y' has none"


def test_a_function_of_an_older_opset_keeps_its_meaning(imported, model_of):
    """Before opset 13 softmax normalises all the axes that follow."""
    body = [helper.make_node("Softmax", ["a"], ["b"])]
    model = model_of(
        [call("F", ["x"], ["y"])],
        {"x": (1, 2, 3)},
        ["y"],
        domains={"mine": 1},
        functions=[function("F", ["a"], ["b"], body, opset=11)],
    )
    assert imported(model, {"x": X[None]})["y"].sum() == pytest.approx(1)


def test_functions_without_an_end_are_refused(refusal, model_of):
    forever = function("F", ["a"], ["b"], [call("F", ["a"], ["c"]), call("F", ["c"], ["b"])])
    model = model_of([call("F", ["x"], ["y"])], {"x": (2,)}, ["y"], domains={"mine": 1}, functions=[forever])
    assert refusal(model) == "expected calls at most 64 deep, those of function mine.F go deeper"


def test_functions_that_multiply_are_refused(refusal, model_of):
    functions = [function("F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])])]
    for i in range(1, 30):
        body = [call(f"F{i - 1}", ["a"], ["c"]), call(f"F{i - 1}", ["c"], ["b"])]
        functions.append(function(f"F{i}", ["a"], ["b"], body))
    model = model_of([call("F29", ["x"], ["y"])], {"x": (2,)}, ["y"], domains={"mine": 1}, functions=functions)
    assert refusal(model) == "expected at most 131072 nodes, the model has 1610612735 once its functions are expanded"


def test_a_call_that_does_not_fit_is_refused(refusal, model_of):
    functions = [function("F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])])]
    node = helper.make_node("F", ["x", "x"], ["y"], name="n", domain="mine")
    model = model_of([node], {"x": (2,)}, ["y"], domains={"mine": 1}, functions=functions)
    assert refusal(model) == "node 'n' (mine.F): its function has 1 inputs and 1 outputs, it has 2 and 1"


def branch(name, *nodes, initializers=()):
    output = helper.make_tensor_value_info(nodes[-1].output[0], 1, None)
    return helper.make_graph(list(nodes), name, [], [output], list(initializers))


def choice(condition, then, otherwise):
    return helper.make_node("If", [condition], ["y"], name="choice", then_branch=then, else_branch=otherwise)


THEN = branch("then", helper.make_node("Squeeze", ["x", "axis"], ["t"]))
ELSE = branch("else", helper.make_node("Identity", ["x"], ["e"]))


@pytest.mark.parametrize("size", [1, 3])
def test_the_branch_of_a_shape_is_taken(imported, model_of, size):
    """As exporters write `squeeze`: the axis goes if its size is 1."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "axis"], ["size"]),
        helper.make_node("Equal", ["size", "one"], ["single"]),
        choice("single", THEN, ELSE),
    ]
    weights = {"axis": np.array([0]), "one": np.array([1])}
    model = model_of(nodes, {"x": (size, 3)}, ["y"], weights=weights)
    x = np.ones((size, 3), np.float32)
    assert imported(model, {"x": x})["y"].shape == ((3,) if size == 1 else (3, 3))


def test_a_branch_has_weights_of_its_own(both_run, model_of):
    from onnx import numpy_helper

    own = numpy_helper.from_array(np.array(2, np.float32), "w")
    then = branch("then", helper.make_node("Mul", ["x", "w"], ["t"]), initializers=[own])
    model = model_of([choice("c", then, ELSE)], {"x": X.shape}, ["y"], weights={"c": np.array(True)})
    both_run(model, {"x": X})


def test_a_computed_condition_is_refused(refusal, model_of):
    model = model_of([choice("c", THEN, ELSE)], {"x": (1, 3), "c": (bool, ())}, ["y"], weights={"axis": np.array([0])})
    assert refusal(model) == "node 'choice' (If): expected a constant condition, it is computed at run time"


def test_an_operator_that_the_standard_defines_by_others(imported, model_of):
    """AffineGrid: for the identity, an image's own coordinates."""
    node = helper.make_node("AffineGrid", ["theta", "size"], ["y"], align_corners=1)
    model = model_of([node], {"theta": (2, 2, 3)}, ["y"], weights={"size": np.array([2, 1, 2, 3])}, opset=20)
    grid = imported(model, {"theta": np.stack([np.eye(2, 3, dtype=np.float32)] * 2)})["y"]
    np.testing.assert_allclose(grid[1, :, :, 0], [[-1, 0, 1], [-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(grid[1, :, :, 1], [[-1, -1, -1], [1, 1, 1]], atol=1e-6)


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_attributes_of_such_an_operator_have_the_standards_defaults(agrees, op_type):
    agrees(op_type, [np.array(8)], opset=17, tolerance=1e-5)
    agrees(op_type, [np.array(8)], opset=17, tolerance=1e-5, periodic=0)


def test_center_crop_pad(agrees):
    x = np.arange(20, dtype=np.float32).reshape(4, 5)
    agrees("CenterCropPad", [x, np.array([2, 7])], expected=[np.pad(x[1:3], ((0, 0), (1, 1)))])
