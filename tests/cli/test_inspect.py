"""`convc inspect`: models that compile, models that do not (yet), and artifacts."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.frontends.onnx.summary import summarise

Convc = Callable[..., subprocess.CompletedProcess[str]]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[object],
    weights: dict[str, np.ndarray],
    dtype: int = TensorProto.FLOAT,
) -> None:
    """A model of one image `x` with one output `y`."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def classifier(path: Path, shape: Sequence[object] = (1, 3, 8, 8), middle: str = "Relu") -> None:
    """A convolution of stride 2 and a fully connected layer, between them shape arithmetic."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], name="conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node(middle, ["a"], ["r"], name="middle"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Shape", ["p"], ["s"], end=2),
        helper.make_node("Reshape", ["p", "s"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "d", "c"], ["y"], name="dense", transB=1),
    ]
    save(path, nodes, shape, {"w": random(16, 3, 3, 3), "b": random(16), "d": random(5, 16), "c": random(5)})


def inspected(convc: Convc, *arguments: object) -> dict[str, Any]:
    done = convc("inspect", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_long_names_are_shortened_in_the_middle(convc: Convc, tmp_path: Path) -> None:
    name = "/".join(["model", *["block"] * 40, "last"])
    save(tmp_path / "long.onnx", [helper.make_node("Relu", ["x"], ["y"], name=name)], (1, 3), {})
    row = next(line for line in convc("inspect", "long.onnx").stdout.splitlines() if line.startswith("model"))
    assert re.fullmatch(r"model/block/.*\.\.\..*/block/last \(Relu\) +\(1, 3\) +0 +0", row)
    assert len(row) < 100
    assert inspected(convc, "long.onnx")["layers"][0]["name"] == name


def test_a_model_that_compiles(convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    found = inspected(convc, "net.onnx")
    assert [(layer["name"], layer["type"], layer["output"]) for layer in found["layers"]] == [
        ("conv", "Conv", [1, 16, 4, 4]),
        ("middle", "Relu", [1, 16, 4, 4]),
        ("pool", "GlobalAveragePool", [1, 16, 1, 1]),
        ("flat", "Reshape", [1, 16]),
        ("dense", "Gemm", [1, 5]),
    ]
    assert [layer["parameters"] for layer in found["layers"]] == [16 * 3 * 9 + 16, 0, 0, 0, 5 * 16 + 5]
    assert [layer["macs"] for layer in found["layers"]] == [16 * 16 * 27, 0, 0, 0, 80]
    assert found["parameters"] == 448 + 85
    assert found["weight_bytes"] == 4 * (448 + 85)
    assert found["macs"] == 16 * 16 * 27 + 80
    assert found["operators"] == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1}
    assert found["folded"] == {"Shape": 1}
    assert found["problem"] is None
    assert found["needs"] is None
    lines = convc("inspect", "net.onnx").stdout.splitlines()
    assert "conv (Conv)               (1, 16, 4, 4)         448  6,912" in lines
    assert "input       x: (1, 3, 8, 8) float32" in lines
    assert "MACs        6,992" in lines
    assert lines[-1] == "compiles    yes"


def test_open_shapes_are_none_and_asked_for(convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx", ["N", 3, "H", "W"])
    found = inspected(convc, "net.onnx")
    assert found["inputs"] == [{"name": "x", "shape": [None, 3, None, None], "dtype": "float32"}]
    assert found["layers"][0]["output"] == [None, 16, None, None]
    assert found["macs"] is None
    assert found["problem"] is None
    assert found["needs"] == "input 'x' has the symbolic shape Nx3xHxW: fix it with --shape x=1x3x1x1"
    lines = convc("inspect", "net.onnx").stdout.splitlines()
    assert lines[2].split() == ["conv", "(Conv)", "(None,", "16,", "None,", "None)", "448", "unknown"]
    assert lines[-1] == "compiles    then"
    assert inspected(convc, "net.onnx", "--shape", "x=1x3x8x8")["macs"] == 6992


@pytest.mark.parametrize(
    ("shape", "part"),
    [((1, 3, 8, 8), "; what comes before that can be built: --outputs a"), (("N", 3, "H", "W"), "")],
    ids=["static", "symbolic"],
)
def test_what_blocks_compilation_is_named_under_the_table(
    shape: Sequence[object], part: str, convc: Convc, tmp_path: Path
) -> None:
    classifier(tmp_path / "net.onnx", shape, middle="Frobnicate")
    found = inspected(convc, "net.onnx")
    assert [layer["type"] for layer in found["layers"]][:2] == ["Conv", "Frobnicate"]
    assert found["layers"][1]["output"] is None
    assert found["problem"] == f"unsupported operators: Frobnicate (node middle){part}"
    assert f"compiles    no: {found['problem']}\n" in convc("inspect", "net.onnx").stdout


def test_a_node_that_cannot_be_taken(convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx", (1, 4, 8, 8))
    found = inspected(convc, "net.onnx")
    assert found["problem"].startswith("node 'conv' (Conv): weight expects 3 input channels")


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3)])
@pytest.mark.parametrize("hidden", [16, 10])
def test_a_recurrent_layer_multiplies_at_each_step(
    operator: str, gates: int, hidden: int, convc: Convc, tmp_path: Path
) -> None:
    """By all of its weights, and no more: not by those of neurons that only fill blocks."""
    nodes = [
        helper.make_node(operator, ["x", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional"),
        helper.make_node(operator, ["x", "w", "r"], ["unused"], hidden_size=hidden, direction="bidirectional"),
    ]
    weights = {"w": random(2, gates * hidden, 7), "r": random(2, gates * hidden, hidden)}
    save(tmp_path / "net.onnx", nodes, (5, 3, 7), weights)
    found = inspected(convc, "net.onnx")
    assert found["layers"][0]["output"] == [5, 2, 3, hidden]
    assert [found["layers"][0]["macs"], found["macs"]] == [5 * 3 * 2 * gates * hidden * (7 + hidden)] * 2


def test_a_recurrent_layer_in_a_function_counts_as_one_outside(tmp_path: Path) -> None:
    hidden, node = 10, helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=10)
    weights = {"w": random(1, 4 * hidden, 7), "r": random(1, 4 * hidden, hidden)}
    save(tmp_path / "net.onnx", [helper.make_node("Recur", ["x", "w", "r"], ["y"], domain="own")], (5, 3, 7), weights)
    model = onnx.load(tmp_path / "net.onnx")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Recur", ["x", "w", "r"], ["y"], [node], opsets[:1]))
    model.opset_import.append(opsets[1])
    assert summarise(model, {}).macs == 5 * 3 * 4 * hidden * (7 + hidden)


def test_weights_count_once_and_through_what_is_done_to_them(convc: Convc, tmp_path: Path) -> None:
    """A quantised weight, dequantised and transposed at import, then used twice."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["t"]),
        helper.make_node("Transpose", ["t"], ["w"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "w"], ["y"], name="second", pads=[1, 1, 1, 1]),
    ]
    quantised = np.random.default_rng(0).integers(-100, 100, (3, 3, 4, 4)).astype(np.int8)
    weights = {"q": quantised, "scale": np.array(0.01, np.float32), "zero": np.array(0, np.int8)}
    save(tmp_path / "net.onnx", nodes, (1, 4, 5, 5), weights)
    found = inspected(convc, "net.onnx")
    assert [layer["parameters"] for layer in found["layers"]] == [144, 0]
    assert found["weight_bytes"] == 144
    assert found["macs"] == 2 * 4 * 25 * 36
    assert found["folded"] == {"DequantizeLinear": 1, "Transpose": 1}


def test_channels_last_ends_without_transposes(convc: Convc, tmp_path: Path) -> None:
    """As tf2onnx writes a network: each convolution between two transposes, borders padded outside."""
    nodes = []
    channels, value = [3, 16, 16, 16], "x"
    weights = {}
    for i, (before, after) in enumerate(pairwise(channels)):
        weights |= {f"w{i}": random(after, before, 3, 3), f"scale{i}": random(after), f"shift{i}": random(after)}
        nodes += [
            helper.make_node("Transpose", [value], [f"in{i}"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", [f"in{i}", f"w{i}"], [f"conv{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("Transpose", [f"conv{i}"], [f"out{i}"], perm=[0, 2, 3, 1]),
            helper.make_node("Mul", [f"out{i}", f"scale{i}"], [f"scaled{i}"]),
            helper.make_node("Add", [f"scaled{i}", f"shift{i}"], [f"shifted{i}"]),
            helper.make_node("Relu", [f"shifted{i}"], [f"relu{i}"]),
        ]
        value = f"relu{i}"
    nodes += [
        helper.make_node("Add", ["relu1", "relu2"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["y"], axes=[1, 2], keepdims=0),
    ]
    save(tmp_path / "net.onnx", nodes, (1, 12, 12, 3), weights)
    assert inspected(convc, "net.onnx")["operators"]["Transpose"] == 6
    assert convc("build", "net.onnx").returncode == 0
    found = inspected(convc, "net.convc")
    functions = [step["kernel"] for step in found["variants"][0]["steps"]]
    assert [name for name in functions if "transpose" in name] == ["k0_transpose"], "only the image is turned"
    assert sum("conv" in name for name in functions) == 3


def test_an_artifact_shows_each_kernel_and_its_choice(convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    assert convc("build", "net.onnx").returncode == 0
    done = convc("inspect", "net.convc")
    assert done.returncode == 0, done.stderr
    assert "direct_conv" in done.stdout
    assert "input       x: (1, 3, 8, 8) float32" in done.stdout.splitlines()


def test_the_graph_is_drawn_before_and_after_passes(convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    done = convc("inspect", "net.onnx", "--graph", "net.svg")
    assert done.returncode == 0, done.stderr
    drawn = ElementTree.parse(tmp_path / "net.svg").getroot()
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"as imported", "kernels after all passes"} <= set(texts)
    assert texts.count("x") == texts.count("y") == texts.count("conv") == 2
    assert texts.count("1x3x8x8") == 2  # what the convolution reads, in both
    assert texts.count("direct_conv") == texts.count("packed_matmul") == 1
    assert not [name for name in tmp_path.iterdir() if name.name.startswith(".")]


def test_the_mouse_tells_the_shapes_of_a_large_graph(convc: Convc, tmp_path: Path) -> None:
    steps = [helper.make_node("Sin", [f"x{i}"], [f"x{i + 1}"]) for i in range(500)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 5]) for name in ("x0", "x500")]
    graph = helper.make_graph(steps, "long", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "l.onnx")
    done = convc("inspect", "l.onnx", "--graph", "l.svg")
    assert done.returncode == 0, done.stderr
    drawn = ElementTree.parse(tmp_path / "l.svg").getroot()
    assert "3x5" not in {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert "3x5" in {link.get("{http://www.w3.org/1999/xlink}title") for link in drawn.iter()}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("net.png", "convc: error: --graph: expected a file that ends in .svg, got net.png"),
        ("missing/net.svg", "convc: error: --graph: missing is no folder"),
    ],
)
def test_where_no_graph_can_be_drawn(path: str, message: str, convc: Convc, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    done = convc("inspect", "net.onnx", "--graph", path)
    assert done.returncode != 0
    assert done.stderr.strip() == message


def test_what_draws_is_named_where_it_is_missing(convc: Convc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier(tmp_path / "net.onnx")
    (tmp_path / "hides").mkdir()
    (tmp_path / "hides/pygraphviz.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hides"))
    done = convc("inspect", "net.onnx", "--graph", "net.svg")
    assert done.returncode != 0
    assert done.stderr.strip().endswith("--graph needs pygraphviz, which carries Graphviz: pip install 'convc[graph]'")
