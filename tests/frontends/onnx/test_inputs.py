"""Symbolic shapes: fixed by the user, or by what the inputs share."""

import pytest
from onnx import helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.signature import input_signature


@pytest.fixture(name="model")
def _model(model_of):
    """Three inputs, of which two share their first axis, and two their second."""
    node = helper.make_node("Sum", ["a", "b", "c"], ["y"])
    return model_of([node], {"a": ("N", "C"), "b": ("N", 4), "c": (1, "C")}, ["y"])


def shapes(model, **given):
    return [shape for _, shape, _ in input_signature(import_model(model, CompilerContext(), given))]


def test_all_are_given(model):
    assert shapes(model, a=(2, 4), b=(2, 4), c=(1, 4)) == [(2, 4), (2, 4), (1, 4)]


def test_shared_axes_decide_the_rest(model):
    assert shapes(model, a=(2, 4)) == [(2, 4), (2, 4), (1, 4)]
    assert shapes(model, b=(2, 4), c=(1, 4)) == [(2, 4), (2, 4), (1, 4)]


def test_what_nothing_decides_is_asked_for(refusal, model):
    assert refusal(model) == "input 'a' has the symbolic shape NxC: fix it with --shape a=1x1"
    assert refusal(model, shapes={"b": (2, 4)}) == "input 'a' has the symbolic shape NxC: fix it with --shape a=2x1"


def test_sizes_that_differ_decide_nothing(refusal, model_of):
    """One name for unrelated axes is common: the user's shapes are taken, and no other is concluded from them."""
    nodes = [helper.make_node("Concat", ["a", "b", "c"], ["y"], axis=0)]
    model = model_of(nodes, {"a": ("None", 4), "b": ("None", 4), "c": ("None", 4)}, ["y"])
    assert shapes(model, a=(2, 4), b=(3, 4), c=(5, 4)) == [(2, 4), (3, 4), (5, 4)]
    assert refusal(model, shapes={"a": (2, 4), "b": (3, 4)}) == (
        "input 'c' has the symbolic shape Nonex4 (None is 2 in 'a' and 3 in 'b'): fix it with --shape c=1x4"
    )


@pytest.mark.parametrize("given", [(2,), (2, 4, 1), (0, 4), (-1, 4)])
def test_a_given_shape_of_another_rank_or_without_elements(refusal, model, given):
    text = "x".join(map(str, given))
    assert refusal(model, shapes={"a": given}) == f"input 'a' has the shape NxC, got {text}"


def test_a_given_shape_that_differs_from_the_declared(refusal, model):
    """It is taken, and the others are what they were."""
    assert shapes(model, a=(2, 5), b=(2, 5)) == [(2, 5), (2, 5), (1, 5)]
    assert refusal(model, shapes={"a": (2, 4), "b": (2, 5)}) == (
        "input 'b' is declared as 2x4, the graph does not take 2x5: node 'y' (Sum): shapes 2x4 and 2x5 do not broadcast"
    )
    assert refusal(model, shapes={"b": (2, 0)}) == "input 'b' has the shape Nx4, got 2x0"


def test_a_shape_for_what_is_no_input(refusal, model, model_of):
    import numpy as np

    assert refusal(model, shapes={"d": (1,)}) == "a shape is given for 'd', but the inputs are a, b, c"
    node = helper.make_node("Add", ["x", "w"], ["y"])
    weighted = model_of([node], {"x": (2,)}, ["y"], weights={"w": np.ones(2, np.float32)})
    assert refusal(weighted, shapes={"w": (2,)}) == "a shape is given for 'w', which is a weight; the inputs are x"


def test_an_input_of_unknown_rank(refusal, model_of):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": None}, ["y"])
    assert refusal(model) == "input 'x' has the symbolic shape unknown: fix it with --shape x=1x3x224x224"
    assert shapes(model, x=(2, 3)) == [(2, 3)]


@pytest.mark.parametrize("unknown", [0, -1])
def test_axes_of_no_name_and_of_no_size_are_symbolic(refusal, model_of, unknown):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (None, unknown, 3)}, ["y"])
    assert refusal(model) == "input 'x' has the symbolic shape ?x?x3: fix it with --shape x=1x1x3"
    assert shapes(model, x=(1, 2, 3)) == [(1, 2, 3)]


def test_a_scalar_input(model_of):
    assert shapes(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ()}, ["y"])) == [()]


def test_an_input_that_is_too_large(refusal, model_of):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (1 << 20, 1 << 20)}, ["y"])
    assert refusal(model) == "expected at most 2147483648 elements, input 'x' has 1048576x1048576"
    message = f"expected at most 2147483648 elements, input 'x' has 1x{10**20}"
    assert refusal(model, shapes={"x": (1, 10**20)}) == message


def test_inputs_that_are_no_tensors_of_a_type_that_the_ir_holds(refusal, model_of):
    from onnx import TensorProto

    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"])
    for name in ("STRING", "COMPLEX64", "COMPLEX128"):
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(name)
        assert refusal(model).startswith("input 'x': element type ")
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", 1, [2]))
    assert refusal(model) == "expected tensors as inputs, 'x' is of the type sequence"


def test_inputs_of_one_name(refusal, model_of):
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"])
    model.graph.input.append(model.graph.input[0])
    assert refusal(model) == "expected inputs with a name each, got 'x', 'x'"
