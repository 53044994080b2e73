"""Models and inputs with other last bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convc.verify import Reference
from convc.verify.rounding import nearby_inputs, nearby_model, neighbours


def model(weight: np.ndarray, shift: np.ndarray) -> onnx.ModelProto:
    """x @ weight + shift, the shift in a Constant node; and twice as many integers as the weight has rows."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(shift)),
        helper.make_node("Add", ["product", "shift"], ["y"]),
        helper.make_node("Add", ["n", "n"], ["m"]),
    ]
    count = len(weight)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, count))]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, weight.shape[1])),
        helper.make_tensor_value_info("m", TensorProto.INT64, (count, 1)),
    ]
    weights = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.arange(count)[:, None], "n")]
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_neighbour_is_one_last_place_away_on_either_side() -> None:
    array = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    moved = neighbours(array, np.random.default_rng(1))
    places = moved.view(np.int32) - array.view(np.int32)
    assert set(places) == {-1, 1}
    assert 400 < (moved > array).sum() < 600
    assert neighbours(np.arange(3), np.random.default_rng(1)).tolist() == [0, 1, 2]


def test_inputs_move_as_the_seed_says() -> None:
    inputs = {"x": np.ones(64, np.float32), "n": np.arange(4)}
    first, again, other = (nearby_inputs(inputs, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["x"], again["x"])
    assert (first["x"] != other["x"]).any()
    np.testing.assert_array_equal(first["n"], inputs["n"])


def test_matrices_move_and_vectors_stay() -> None:
    weight, shift = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    before = model(weight, shift)
    after = nearby_model(before, None, 0)
    assert (numpy_helper.to_array(after.graph.initializer[0]) != weight).all()
    np.testing.assert_array_equal(numpy_helper.to_array(after.graph.node[1].attribute[0].t), shift)
    np.testing.assert_array_equal(numpy_helper.to_array(before.graph.initializer[0]), weight)


def test_quantised_weights_move_as_the_floats_that_they_stand_for() -> None:
    weight, scales = np.arange(-3, 3, dtype=np.int8).reshape(3, 2), np.array([0.5, 0.3], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 3))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 2))]
    weights = [numpy_helper.from_array(weight, "q"), numpy_helper.from_array(scales, "s")]
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights)
    quantised = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    identity = {"x": np.eye(3, dtype=np.float32)}
    exact = Reference(quantised)(identity)["y"]
    moved = Reference(nearby_model(quantised, None, 0))(identity)["y"]
    np.testing.assert_array_equal(exact, weight * scales)
    np.testing.assert_array_equal(moved != exact, True)
    np.testing.assert_allclose(moved, exact, rtol=2e-7, atol=1e-44)


def test_the_reference_with_other_last_bits_reads_external_data(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    weight, shift = generator.random((300, 7), np.float32), generator.random(7, np.float32)
    path = tmp_path / "model.onnx"
    onnx.save(model(weight, shift), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = {"x": generator.random((1, 300), np.float32)}
    reference = Reference(path)
    exact, moved = reference(x), reference.nearby(0)(x)
    error = np.abs(moved["y"] - exact["y"]).max() / np.abs(exact["y"]).max()
    assert 0 < error < 1e-6
    np.testing.assert_array_equal(moved["m"], exact["m"])
