"""A network of Hopper's kernels in one graph: blocks that stay, clusters that load weights for each other, and launches
that begin before the one before has ended, together, on a software device of three multiprocessors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.ir.kernel import KernelOp
from convc.ir.text import main_function
from convc.pipeline import Build
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.cuda.hopper import HopperGemm
from convc.targets.cuda.target import parse_cuda
from convc.targets.select import choose

FEW = replace(parse_cuda("cuda:sm_90a"), multiprocessors=3)
BATCH, SIZE = 3, 14


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """A bottleneck block, and one of stride 2."""
    rng = np.random.default_rng(0)
    shapes = {
        "w0": (32, 16, 3, 3),
        "w1": (32, 32, 1, 1),
        "w2": (32, 32, 3, 3),
        "w3": (64, 32, 1, 1),
        "w4": (40, 64, 3, 3),
    }
    weights = {n: (rng.standard_normal(s) * np.prod(s[1:]) ** -0.5).astype(np.float32) for n, s in shapes.items()}
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], **same),
        helper.make_node("Add", ["e", "b"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "w3"], ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Conv", ["i", "w4"], ["y"], strides=[2, 2], **same),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, 16, SIZE, SIZE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [BATCH, 40, SIZE // 2, SIZE // 2])
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "network", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("sharing", [1, 2])
def test_all_at_once(sharing: int, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build(FEW, precision="fp16", measured=False)
    module, context = build.module(model, {})
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    staying = 0
    for kernel in kernels:
        if HopperGemm().applies(kernel, FEW):
            found = [c for c in HopperGemm().candidates(kernel, FEW) if c["splits"] == 1 and c["sharing"] == sharing]
            # The smallest tiles: three blocks take several each.
            config = min(found, key=lambda c: (c["rows"] * c["columns"], c["blocks"] * c["boxes"], c["stages"]))
            choose(kernel, "hopper_gemm", config | {"resident": 1})
            staying += 1
    assert staying == 5
    build.finish([(module, context)], tmp_path / "network.convc")
    image = np.random.default_rng(1).standard_normal((BATCH, 16, SIZE, SIZE)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": image})
    for order in ("late", "mixed"):
        monkeypatch.setenv("CONVC_EMULATED_ORDER", order)
        network = load_emulated(tmp_path / "network.convc")
        launches = [launch for kernel in network.manifest["kernels"].values() for launch in kernel["launches"]]
        turning = [launch for launch in launches if launch["cluster"][0] == sharing and launch["dynamic_bytes"]]
        assert len(turning) == 5
        assert all(launch["early"] and launch["grid"][0] <= 3 for launch in turning)
        for _ in range(2):  # the second time on what the first has left in memory
            result = network.run({"x": image})["y"]
            assert np.abs(result - expected).max() <= 5e-3 * np.abs(expected).max()
