"""A recogniser of text (convolutions, two bidirectional layers, a dense one) builds, and its steps share kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.runtime import Executable
from convc.verify.report import Report

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
HEIGHT, CLASSES = 8, 11


def recogniser(path: Path, kind: str, hidden: int) -> Path:
    """Lines of text `[N, 1, 8, W]` to scores `[W/4, N, 11]`."""
    rng = np.random.default_rng(0)
    known = {"merged": np.array([0, 0, -1])}

    def weight(name: str, *shape: int) -> str:
        known[name] = (rng.standard_normal(shape) / 3).astype(np.float32)
        return name

    nodes, x = [], "image"
    for i, (before, channels) in enumerate([(1, 8), (8, 16)]):
        nodes += [
            helper.make_node("Conv", [x, weight(f"k{i}", channels, before, 3, 3)], [f"c{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{i}"], [f"relu{i}"]),
            helper.make_node("MaxPool", [f"relu{i}"], [x := f"p{i}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("ReduceMean", [x], ["line"], axes=[2], keepdims=0),
        helper.make_node("Transpose", ["line"], [x := "steps"], perm=[2, 0, 1]),
    ]
    inputs, rows = 16, GATES[kind] * hidden
    for i in range(2):
        shapes = {"w": (2, rows, inputs), "r": (2, rows, hidden), "b": (2, 2 * rows)}
        operands = [weight(f"{name}{i}", *shape) for name, shape in shapes.items()]
        attributes = {"hidden_size": hidden, "direction": "bidirectional"}
        nodes += [
            helper.make_node(kind, [x, *operands], [f"y{i}"], **attributes),
            helper.make_node("Transpose", [f"y{i}"], [f"t{i}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"t{i}", "merged"], [x := f"m{i}"]),
        ]
        inputs = 2 * hidden
    nodes += [
        helper.make_node("MatMul", [x, weight("dense", inputs, CLASSES)], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["scores"], axis=2),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, HEIGHT, "width"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, name) for name, array in known.items()]
    graph = helper.make_graph(nodes, kind, [image], [scores], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return path


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 32), (3, 20)])
def test_a_recogniser_of_text(
    agrees: Callable[..., Report], tmp_path: Path, kind: str, batch: int, hidden: int
) -> None:
    agrees(recogniser(tmp_path / "text.onnx", kind, hidden), {"image": (batch, 1, HEIGHT, 24)})


@pytest.mark.parametrize(("kind", "kernels"), [("RNN", 1), ("GRU", 3), ("LSTM", 3)])
def test_steps_share_kernels(built: Callable[..., Executable], tmp_path: Path, kind: str, kernels: int) -> None:
    """Longer lines add steps, of so many kernels each, and no code; nor do their states have to be copied."""
    path = recogniser(tmp_path / "text.onnx", kind, 32)
    short, long = (built(path, {"image": (1, 1, HEIGHT, width)}).manifest for width in (40, 80))
    assert len(long["kernels"]) == len(short["kernels"])
    more = [len(each["variants"][0]["steps"]) for each in (long, short)]
    assert more[0] - more[1] == (20 - 10) * 2 * 2 * kernels
