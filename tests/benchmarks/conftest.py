"""Models for the benchmarks, whose folder is on the path as for a script in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

Make = Callable[[Sequence[onnx.NodeProto], Sequence[int], Mapping[str, Sequence[int]]], onnx.ModelProto]


def make(
    nodes: Sequence[onnx.NodeProto], x: Sequence[int], weights: Mapping[str, Sequence[int]], seed: int = 0
) -> onnx.ModelProto:
    """A model from x to y, with random weights of these shapes."""
    generator = np.random.default_rng(seed)
    held = [
        numpy_helper.from_array((generator.standard_normal(shape) / 4).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    graph = helper.make_graph(list(nodes), "test", inputs, [onnx.ValueInfoProto(name="y")], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(scope="session", name="make")
def _make() -> Make:
    return make


@pytest.fixture(scope="session")
def residual() -> onnx.ModelProto:
    """A stem, a block with a shortcut, a pool and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"]),
        helper.make_node("Add", ["c2", "r0"], ["a"]),
        helper.make_node("Relu", ["a"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    shapes = {"w0": (24, 3, 3, 3), "w1": (24, 24, 3, 3), "w2": (24, 24, 1, 1), "d": (24, 5)}
    return make(nodes, [1, 3, 9, 11], {**shapes, "b0": (24,), "b1": (24,), "b2": (24,)})


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions: of the second the benchmark draws the weight."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w1", "b1"], ["y"]),
    ]
    shapes = {"w0": (24, 3, 3, 3), "b0": (24,), "w1": (24, 24, 3, 3), "b1": (24,)}
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(make(nodes, [1, 3, 9, 11], shapes), path)
    return path


@pytest.fixture(scope="session")
def packed(model: Path) -> Path:
    """A pack of batches 1 and 2 in fp16."""
    import cuda

    output = model.parent / "pack"
    cuda.pack(output, {model: {}}, batches=[1, 2], precisions=["fp16"])
    return output
