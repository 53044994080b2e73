"""Part of a model: `--outputs` names values inside the graph to compute in place of its outputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.frontends.onnx import ImportProblem, import_model
from convc.frontends.source import load_source
from convc.ir.dialect import CompilerContext
from convc.verify import Reference

W = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def model() -> onnx.ModelProto:
    """Two inputs, each of which an output needs, and a custom operator that nobody knows."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mystery", ["b", "size"], ["y"], domain="org.example"),
        helper.make_node("Add", ["size", "bias"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "size")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")]
    weights = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(W[0, :2], "bias")]
    graph = helper.make_graph(nodes, "whole", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def names(values) -> list[str]:
    return [value.name for value in values]


def test_a_part_has_the_inputs_and_the_weights_that_it_reads(model):
    part = load_source(model, ["b", "a"]).model
    assert (names(part.graph.input), names(part.graph.output), names(part.graph.initializer)) == (
        ["x"],
        ["b", "a"],
        ["w"],
    )
    assert [node.op_type for node in part.graph.node] == ["MatMul", "Relu"]
    image = np.float32([[1, -2]])
    results = Reference(part)({"x": image})
    np.testing.assert_array_equal(results["a"], image @ W)
    np.testing.assert_array_equal(results["b"], np.maximum(image @ W, 0))


def test_the_outputs_of_a_part_have_types(model):
    (output,) = load_source(model, ["b"]).model.graph.output
    assert output.type.tensor_type.elem_type == TensorProto.FLOAT


def test_a_model_of_which_all_outputs_are_named_stays_as_it_is(model, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert load_source(model, ["y", "z"]).model is model
    assert load_source(path, ["y", "z"]).model == path


def test_weights_in_other_files_are_read_for_the_part_alone(model, tmp_path: Path):
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    (tmp_path / "bias").unlink()
    part = load_source(path, ["a"]).model
    assert numpy_helper.to_array(part.graph.initializer[0]).tolist() == W.tolist()
    import_model(part, CompilerContext(), {"x": (1, 2)})


@pytest.mark.parametrize(("name", "hint"), [("relu", ""), ("x", ""), ("bb", "; near it are b"), ("w", "")])
def test_values_that_no_node_computes(model, name, hint):
    with pytest.raises(ImportProblem) as caught:
        load_source(model, ["a", name])
    assert str(caught.value) == f"expected outputs that nodes of the model compute, none computes '{name}'{hint}"


def test_half_precision_stays_at_the_border_of_a_part():
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "halves", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    part = load_source(model, ["a"]).model
    module = import_model(part, CompilerContext())
    (result,) = module.body.block.first_op.function_type.outputs
    assert str(result) == "tensor<1x2xf16>"
