"""`--shape` on the command line: shapes that a model leaves open, and others than it declares."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Convc = Callable[..., subprocess.CompletedProcess[str]]


def classifier(batch: object = 1, side: int = 8) -> onnx.ModelProto:
    """A convolution, channels shuffled, the image pooled, a row a picture: all with sizes for one image of 8x8."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "dense": generator.standard_normal((16, 5)).astype(np.float32),
        "split": np.int64([1, 2, 8, side, side]),
        "join": np.int64([1, 16, side, side]),
        "row": np.int64([1, 16]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "split"], ["b"], name="split"),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["c", "join"], ["d"], name="join"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Reshape", ["e", "row"], ["f"], name="row"),
        helper.make_node("MatMul", ["f", "dense"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "classifier", [image], [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(classifier(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def inputs_of(artifact: Path) -> list[list[int]]:
    manifest = json.loads((artifact / "manifest.json").read_text())
    return [variant["inputs"][0]["shape"] for variant in manifest["variants"]]


def test_batches_and_sizes_that_a_model_does_not_declare(convc: Convc, model: Path, tmp_path: Path) -> None:
    """Three variants, each verified, with one set of weights among them."""
    done = convc("build", model, "--shape", "x=1,4,2x3x10x6", "-o", "three.convc")
    assert done.returncode == 0, done.stderr
    assert "agrees with onnxruntime" in done.stdout
    assert inputs_of(tmp_path / "three.convc") == [[1, 3, 10, 6], [4, 3, 10, 6], [2, 3, 10, 6]]
    assert convc("build", model, "--shape", "x=2x3x10x6", "-o", "one.convc").returncode == 0
    sizes = {name: (tmp_path / name / "weights.safetensors").stat().st_size for name in ("one.convc", "three.convc")}
    assert sizes["one.convc"] == sizes["three.convc"]

    rows = []
    generator = np.random.default_rng(1)
    images = generator.standard_normal((4, 3, 10, 6)).astype(np.float32)
    for count in (1, 2, 4):
        np.save(tmp_path / "x.npy", images[:count])
        done = convc("run", "three.convc", "--input", "x=x.npy", "--output", "results")
        assert done.returncode == 0, done.stderr
        rows.append(np.load(tmp_path / "results" / "y.npy"))
        assert rows[-1].shape == (count, 5)
        np.testing.assert_allclose(rows[-1][0], rows[0][0], rtol=1e-4, atol=1e-5)
    done = convc("verify", "three.convc", model, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["variants"]) == 3


def test_an_input_that_no_variant_takes(convc: Convc, model: Path, tmp_path: Path) -> None:
    assert convc("build", model, "--shape", "x=1x3x8x8,2x3x4x4", "-o", "two.convc", "--no-verify").returncode == 0
    np.save(tmp_path / "x.npy", np.zeros((3, 3, 8, 8), np.float32))
    done = convc("run", "two.convc", "--input", "x=x.npy")
    assert done.returncode == 1
    assert done.stderr == "convc: error: no variant for x 3x3x8x8; built for: x 1x3x8x8; x 2x3x4x4\n"


def test_outputs_at_other_shapes_are_those_of_the_model_as_it_is(convc: Convc, model: Path, tmp_path: Path) -> None:
    """Four images at once are four images one by one, in onnxruntime, with the file untouched."""
    from convc.verify import Reference

    assert convc("build", model, "--shape", "x=4x3x8x8").returncode == 0
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    assert convc("run", "net.convc", "--input", "x=x.npy", "--output", "results").returncode == 0
    reference = Reference(model)
    expected = np.concatenate([reference({"x": images[i : i + 1]})["y"] for i in range(4)])
    np.testing.assert_allclose(np.load(tmp_path / "results" / "y.npy"), expected, rtol=1e-5, atol=1e-5)


def test_bench_times_onnxruntime_at_the_same_shapes(convc: Convc, model: Path) -> None:
    done = convc("bench", model, "--shape", "x=2x3x6x6", "--against", "onnxruntime", "--seconds", 0.1, "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["engines"]) == {"convc", "onnxruntime"}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            "x=1x4x8x8",
            "input 'x' is declared as 1x3x8x8, the graph does not take 1x4x8x8: node 'conv' (Conv): "
            "weight expects 3 input channels (1 groups), input has 4",
        ),
        ("x=3x8x8", "input 'x' has the shape 1x3x8x8, got 3x8x8"),
    ],
)
def test_shapes_that_the_graph_does_not_take(
    shape: str, message: str, convc: Convc, model: Path, tmp_path: Path
) -> None:
    done = convc("build", model, "--shape", shape)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"convc: error: {message}"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_flattened_image_has_one_size(convc: Convc, tmp_path: Path) -> None:
    changed = classifier()
    del changed.graph.node[4:6]
    changed.graph.node[-1].input[0] = "flat"
    changed.graph.node.insert(4, helper.make_node("Reshape", ["d", "row"], ["flat"], name="flat"))
    weights = {tensor.name: tensor for tensor in changed.graph.initializer}
    weights["row"].CopyFrom(numpy_helper.from_array(np.int64([1, 1024]), "row"))
    weights["dense"].CopyFrom(numpy_helper.from_array(np.ones((1024, 5), np.float32), "dense"))
    onnx.save(changed, tmp_path / "flat.onnx")
    assert convc("build", "flat.onnx", "--shape", "x=4x3x8x8").returncode == 0
    done = convc("build", "flat.onnx", "--shape", "x=1x3x9x9")
    assert done.returncode == 1
    assert "input 'x' is declared as 1x3x8x8, the graph does not take 1x3x9x9: node 'y' (MatMul)" in done.stderr
