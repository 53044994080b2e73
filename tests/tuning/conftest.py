"""Kernels to tune, and templates that plant candidates which fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm.script.ir_builder.tirx as T
from onnx import TensorProto, helper, numpy_helper
from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.ir.neural import MatMulOp
from convc.targets.cpu import registry
from convc.targets.cpu.buffers import build
from convc.targets.cpu.matmul import PackedMatMul
from convc.targets.target import CpuTarget, parse_target
from convc.targets.template import Config
from convc.tuning.session import Session

FAULTS = ("none", "crashed", "hung", "wrong", "refused", "beyond")


class Planted:
    """Matrix products whose candidates fail in every way: each config names a fault by its number in FAULTS."""

    name = "planted"

    def __init__(self, *faults: str) -> None:
        self.faults = faults

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        return isinstance(kernel.anchor, MatMulOp)

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        return [{"fault": FAULTS.index(fault)} for fault in self.faults]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        fault = FAULTS[config["fault"]]
        if fault == "none":
            template = PackedMatMul()
            return template.schedule(kernel, template.candidates(kernel, target)[0], target)
        if fault == "refused":
            raise ValueError("this template cannot do it")

        def body(emitter: Any) -> None:
            y = emitter.results[0]
            if fault == "crashed":
                null = tirx.reinterpret("handle", tirx.const(0, "uint64"))
                T.evaluate(tirx.call_extern("handle", "memset", null, 1, 64))
            elif fault == "hung":
                T.buffer_store(y, T.Cast("float32", 1), [0, 0])
                with T.While(y[0, 0] == 1.0):
                    T.buffer_store(y, T.Cast("float32", 1), [0, 0])
            elif fault == "beyond":
                with T.serial(0, prod(int(size) for size in y.shape) + 16) as i:
                    T.buffer_store(y, T.Cast("float32", 1), [0, i])
            else:
                T.buffer_store(y, T.Cast("float32", 1), [0, 0])

        return build(kernel, body)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`plant("none", "crashed" ...)`: candidates with these faults, the only ones for matrix products."""

    def plant_(*faults: str) -> None:
        monkeypatch.setattr(registry, "TEMPLATES", (Planted(*faults), *registry.TEMPLATES))
        monkeypatch.setattr(PackedMatMul, "applies", lambda self, kernel, target: False)

    return plant_


@pytest.fixture(scope="session")
def faults() -> Sequence[str]:
    """By the number in a planted configuration."""
    return FAULTS


@pytest.fixture(scope="session")
def target() -> CpuTarget:
    return parse_target("cpu")


def product(rows: int = 4, depth: int = 32, columns: int = 64) -> onnx.ModelProto:
    """A matrix product and ReLU: `[rows, depth] -> [rows, columns]`."""
    weight = np.random.default_rng(0).standard_normal((depth, columns)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["rectified"])]
    return _model(nodes, [rows, depth], "rectified", [rows, columns], {"w": weight})


def convolutions(size: int = 12) -> onnx.ModelProto:
    """A first layer, a 3x3 convolution that Winograd's algorithm can compute, and a mean."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (32, 3, 3, 3), "w2": (32, 32, 3, 3)}
    weights = {name: (rng.standard_normal(shape) / 10).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["first"]),
        helper.make_node("Conv", ["first", "w2"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["second"]),
        helper.make_node("GlobalAveragePool", ["second"], ["mean"]),
    ]
    return _model(nodes, [1, 3, size, size], "mean", [1, 32, 1, 1], weights)


def _model(
    nodes: list[onnx.NodeProto], shape: list[int], output: str, result: list[int], weights: dict[str, np.ndarray]
) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), (output, result)))
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "network", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(name="product", scope="session")
def _product() -> Callable[..., onnx.ModelProto]:
    return product


@pytest.fixture(name="convolutions", scope="session")
def _convolutions() -> Callable[..., onnx.ModelProto]:
    return convolutions


@pytest.fixture
def session(target: CpuTarget, tmp_path: Path) -> Callable[..., Session]:
    """`session(model, budget, ...)`: a session on one thread, whose database is `tuning.db` in the test's folder."""

    def make(model: onnx.ModelProto, budget: Any, **options: Any) -> Session:
        return Session(model, [{}], target, 1, tmp_path / "tuning.db", budget, limit=1.0, **options)

    return make
