"""Models in other types than float32, from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Convc = Callable[..., subprocess.CompletedProcess[str]]


def save(path: Path, nodes: list[onnx.NodeProto], dtype: type, weights: dict[str, np.ndarray], out: type) -> None:
    """A model of an image `x` of 1x3x8x8 with one output `y`."""
    types = [helper.np_dtype_to_tensor_dtype(np.dtype(each)) for each in (dtype, out)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", types[0], (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", types[1], None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def network(path: Path, dtype: type) -> None:
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "v"], ["y"]),
    ]
    shapes = {"w": (16, 3, 3, 3), "v": (5, 16, 1, 1)}
    save(path, nodes, dtype, {name: generator.standard_normal(s).astype(dtype) for name, s in shapes.items()}, dtype)


def built(convc: Convc, folder: Path) -> tuple[list[str], list[dict[str, object]]]:
    """What building net.onnx printed, and the kernels' steps of the artifact."""
    done = convc("build", "net.onnx")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "net.convc" / "manifest.json").read_text())
    return done.stdout.splitlines(), manifest["variants"][0]["steps"]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single_and_the_build_says_so(name: str, convc: Convc, tmp_path: Path) -> None:
    import ml_dtypes

    dtype = np.float16 if name == "float16" else ml_dtypes.bfloat16
    network(tmp_path / "net.onnx", dtype)
    said, _ = built(convc, tmp_path)
    assert said[0] == f"{name} in the model computed in float32"
    assert said[1].startswith("agrees with onnxruntime")
    done = convc("run", "net.convc", "--random", 0)
    assert done.stdout.startswith(f"y: 1x5x1x1 {name}"), "inputs and outputs keep their type"
    done = convc("inspect", "net.onnx")
    assert f"note        {name} in the model computed in float32" in done.stdout.splitlines()


def test_double_precision_is_computed_as_it_is(convc: Convc, tmp_path: Path) -> None:
    """onnxruntime has no convolution of doubles: it computes the model in single precision for the comparison."""
    network(tmp_path / "net.onnx", np.float64)
    said, _ = built(convc, tmp_path)
    assert said[0].startswith("agrees with onnxruntime"), "there is nothing to tell"
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8))
    np.save(tmp_path / "x.npy", x)
    assert convc("run", "net.convc", "--input", "x=x.npy", "--output", "results").returncode == 0
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "net.onnx").graph.initializer}
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x[0], ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
    pooled = np.maximum(np.einsum("chwij,ocij->ohw", windows, weights["w"]), 0).mean((1, 2))
    y = np.load(tmp_path / "results" / "y.npy")
    np.testing.assert_allclose(y[0, :, 0, 0], weights["v"][:, :, 0, 0] @ pooled, rtol=1e-12)


def test_int8_weights_are_dequantised_at_compile_time(convc: Convc, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    quantised = generator.integers(-127, 128, (16, 3, 3, 3)).astype(np.int8)
    scales, zeros = generator.uniform(0.01, 0.02, 16).astype(np.float32), np.zeros(16, np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    save(tmp_path / "net.onnx", nodes, np.float32, {"q": quantised, "scale": scales, "zero": zeros}, np.float32)
    _, steps = built(convc, tmp_path)
    assert not any("cast" in str(step["kernel"]) for step in steps)
    # Nothing but the weight in single precision is left, in whole blocks of channels.
    weights = json.loads((tmp_path / "net.convc" / "manifest.json").read_text())["weight_bytes"]
    assert 4 * quantised.size <= weights < 4 * 4 * quantised.size


def test_images_of_bytes_are_cast_on_the_way_in(convc: Convc, tmp_path: Path) -> None:
    from PIL import Image

    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", ["f", "most"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    save(tmp_path / "net.onnx", nodes, np.uint8, {"w": weight, "most": np.array(255, np.float32)}, np.float32)
    said, steps = built(convc, tmp_path)
    assert said[0].startswith("agrees with onnxruntime")
    assert sum(bool(step["macs"]) for step in steps) == 1
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    done = convc("run", "net.convc", "--input", "x=red.png", "--output", "results")
    assert done.returncode == 0, done.stderr
    y = np.load(tmp_path / "results" / "y.npy")
    np.testing.assert_allclose(y[0, :, 4, 4], weight[:, 0].sum((1, 2)), rtol=1e-4, atol=1e-5)
