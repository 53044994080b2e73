"""Joins and slices of a batch's channels on the software device: what computes a part writes it where it lies in the
whole, and what reads a slice reads it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.ir.data import ConcatOp, SliceOp
from convc.ir.kernel import KernelOp
from convc.ir.text import main_function
from convc.pipeline import Build
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.target import parse_target

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}


def network(batch: int, height: int, width: int) -> onnx.ModelProto:
    """Joins of what all kinds of kernels compute: convolutions (two windows, a stride, depthwise, transposed), a pool,
    elementwise functions; a join of a join, a part of two joins, a slice of one, and one that is returned."""
    rng = np.random.default_rng(0)
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, f"c{len(constants)}"))
        return constants[-1].name

    def conv(x: str, shape: tuple[int, ...], kind: str = "Conv", **attributes: object) -> str:
        fan = np.prod(shape[1:]) if kind == "Conv" else shape[0]
        weight = (rng.standard_normal(shape) * fan**-0.5).astype(np.float32)
        return add("Relu", add(kind, x, constant(weight), **attributes))

    same = {"pads": [1, 1, 1, 1]}
    stem = conv("x", (16, 3, 3, 3), **same)
    pooled = add("MaxPool", stem, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    parts = [conv(stem, (16, 16, 1, 1)), conv(stem, (24, 16, 3, 3), **same), pooled]
    parts.append(conv(stem, (16, 1, 3, 3), group=16, **same))
    join = add("Concat", *parts, axis=1)  # 72 channels
    grown = add("Concat", join, conv(join, (8, 72, 1, 1)), axis=1)
    first, last = (constant(np.array([at], np.int64)) for at in (24, 56))
    middle = add("Slice", grown, first, last, constant(np.array([1], np.int64)))
    halved = conv(middle, (24, 32, 3, 3), strides=[2, 2], **same)
    stretched = {"strides": [2, 2], "output_padding": [(size + 1) % 2 for size in (height, width)]}
    raised = conv(halved, (24, 16, 3, 3), "ConvTranspose", **stretched, **same)
    joined = add("Concat", raised, parts[0], add("Sigmoid", grown), axis=1)  # 16 + 16 + 80
    mixed = conv(joined, (20, 112, 1, 1))
    features = add("Flatten", add("GlobalAveragePool", mixed))
    nodes.append(helper.make_node("Gemm", [features, constant(rng.standard_normal((20, 5)).astype(np.float32))], ["y"]))
    nodes.append(helper.make_node("Concat", [mixed, middle], ["z"], axis=1))
    graph = helper.make_graph(
        nodes,
        "joins",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")],
        constants,
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 7, 7), (2, 7, 9), (3, 5, 5), (5, 8, 3)])
def test_parts_of_a_batch_lie_in_the_whole(batch: int, height: int, width: int, precision: str, tmp_path: Path) -> None:
    model = network(batch, height, width)
    build = Build(parse_target("cuda:sm_90a"), precision=precision, measured=False)
    module, context = build.module(model, {})
    ops = list(main_function(module).body.block.ops)
    kernels = [op for op in ops if isinstance(op, KernelOp)]
    # 20 channels fill their chunks of 4, but not those of 8.
    joined = [sum(isinstance(op, ConcatOp) for op in each) for each in (ops, [op for k in kernels for op in k.ops])]
    assert joined == ([4, 0] if precision == "fp32" else [3, 1])
    assert sum(isinstance(op, SliceOp) for op in ops) == 1
    build.finish([(module, context)], tmp_path / "network.convc")
    image = np.random.default_rng(1).standard_normal((batch, 3, height, width)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    loaded = load_emulated(tmp_path / "network.convc")
    for _ in range(2):  # the second time on what the first has left in memory
        results = loaded.run({"x": image})
        for name, expected in zip(("y", "z"), session.run(["y", "z"], {"x": image}), strict=True):
            assert np.abs(results[name] - expected).max() <= TOLERANCES[precision] * np.abs(expected).max()
