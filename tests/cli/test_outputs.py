"""`--outputs`: the part of a model that computes some of its values, where the rest cannot be built."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import convc as package

Convc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def detector() -> onnx.ModelProto:
    """Boxes [N, 12, 4] and scores [N, 2, 12] of an image, and which of them are chosen."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "flat": np.int64([0, 6, 12]),
        "parts": np.int64([4, 2]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Split", ["b", "parts"], ["corners", "logits"], axis=1),
        helper.make_node("Transpose", ["corners"], ["boxes"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["chosen"], name="nms"),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 9, 7])
    output = helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "detector", [image], [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_detector_is_built_up_to_its_selection_of_boxes(convc: Convc, detector: onnx.ModelProto, tmp_path: Path):
    """The message says how, and the artifact is compared with the whole model."""
    onnx.save(detector, tmp_path / "net.onnx")
    refused = convc("build", "net.onnx", "--shape", "x=2x3x9x7")
    assert refused.returncode == 1
    advice = re.search(r"can be built: (--outputs \S+)$", refused.stderr.strip())
    assert advice, refused.stderr
    assert advice[1] == "--outputs boxes,scores"
    done = convc("build", "net.onnx", "--shape", "x=2x3x9x7", *advice[1].split())
    assert done.returncode == 0, done.stderr
    assert "agrees with onnxruntime" in done.stdout
    verified = convc("verify", "net.convc", "net.onnx", "--json")
    assert verified.returncode == 0, verified.stderr
    assert [output["name"] for output in json.loads(verified.stdout)["variants"][0]["outputs"]] == ["boxes", "scores"]
    timed = convc("bench", "net.convc", "--model", "net.onnx", "--against", "onnxruntime", "--seconds", "0.1")
    assert timed.returncode == 0, timed.stderr
    table = convc("inspect", "net.onnx", "--shape", "x=1x3x9x7", "--outputs", "scores", "--json")
    found = json.loads(table.stdout)
    assert found["problem"] is None
    assert found["outputs"] == [{"name": "scores", "shape": [1, 2, 12], "dtype": "float32"}]


def test_an_unknown_value_is_one_line(convc: Convc, detector: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(detector, tmp_path / "net.onnx")
    done = convc("build", "net.onnx", "--outputs", "boxes", "--outputs", "score")
    assert done.returncode == 1
    assert done.stderr == (
        "convc: error: expected outputs that nodes of the model compute, none computes 'score'; "
        "near it are scores, corners\n"
    )


@pytest.mark.parametrize("outputs", ["scores", ["scores"]])
def test_a_part_from_python(outputs: str | list[str], detector: onnx.ModelProto) -> None:
    part = package.compile(detector, shapes={"x": (1, 3, 9, 7)}, outputs=outputs)
    scores = part(np.zeros((1, 3, 9, 7), np.float32))
    np.testing.assert_array_equal(scores, np.full((1, 2, 12), 0.5, np.float32))
