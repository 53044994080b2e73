"""Joins and slices of a batch's channels on the software device: what computes a part writes it where it lies in the
whole, and what reads a slice reads it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from xdsl.ir import Operation

from convc.ir.data import ConcatOp, RelayoutOp, ShuffleOp, SliceOp, TransposeOp
from convc.ir.kernel import KernelOp
from convc.ir.text import main_function
from convc.pipeline import Build
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.target import parse_target

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}


class Graph:
    """Nodes of a model, one after another, with weights from a seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.constants: list[onnx.TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, *array: float | np.ndarray, dtype: type = np.int64) -> str:
        self.constants.append(numpy_helper.from_array(np.array(*array, dtype), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weight(self, *shape: int, fan: int = 1) -> str:
        return self.constant(self.rng.standard_normal(shape) * fan**-0.5, dtype=np.float32)

    def conv(self, x: str, shape: tuple[int, ...], kind: str = "Conv", **attributes: object) -> str:
        """A convolution whose weight has a shape, and a ReLU."""
        fan = int(np.prod(shape[1:])) if kind == "Conv" else shape[0]
        return self.add("Relu", self.add(kind, x, self.weight(*shape, fan=fan), **attributes))

    def model(self, x: tuple[int, ...], outputs: tuple[str, ...]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "joins",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        )


SAME = {"pads": [1, 1, 1, 1]}


def joins(batch: int, height: int, width: int) -> onnx.ModelProto:
    """Joins of what all kinds of kernels compute: convolutions (two windows, a stride, depthwise, transposed), a pool,
    elementwise functions; a join of a join, a part of two joins, a slice of one, and one that is returned."""
    g = Graph()
    stem = g.conv("x", (16, 3, 3, 3), **SAME)
    pooled = g.add("MaxPool", stem, kernel_shape=[3, 3], strides=[1, 1], **SAME)
    parts = [g.conv(stem, (16, 16, 1, 1)), g.conv(stem, (24, 16, 3, 3), **SAME), pooled]
    parts.append(g.conv(stem, (16, 1, 3, 3), group=16, **SAME))
    join = g.add("Concat", *parts, axis=1)  # 72 channels
    grown = g.add("Concat", join, g.conv(join, (8, 72, 1, 1)), axis=1)
    middle = g.add("Slice", grown, g.constant([24]), g.constant([56]), g.constant([1]))
    halved = g.conv(middle, (24, 32, 3, 3), strides=[2, 2], **SAME)
    stretched = {"strides": [2, 2], "output_padding": [(size + 1) % 2 for size in (height, width)]}
    raised = g.conv(halved, (24, 16, 3, 3), "ConvTranspose", **stretched, **SAME)
    joined = g.add("Concat", raised, parts[0], g.add("Sigmoid", grown), axis=1)  # 16 + 16 + 80
    mixed = g.conv(joined, (20, 112, 1, 1))
    features = g.add("Flatten", g.add("GlobalAveragePool", mixed))
    g.add("Gemm", features, g.weight(20, 5), output="y")
    g.add("Concat", mixed, middle, output="z", axis=1)
    return g.model((batch, 3, height, width), ("y", "z"))


def shuffles(batch: int, half: int) -> onnx.ModelProto:
    """Two units of a ShuffleNet, of twice as many channels as `half`, on 5 x 7 points."""
    g, channels = Graph(), 2 * half
    unit = g.conv("x", (channels, 3, 3, 3), **SAME)
    for _ in range(2):
        halves = [g.add("Slice", unit, *(g.constant([i]) for i in (at, at + half, 1))) for at in (0, half)]
        inner = g.conv(g.conv(halves[1], (half, half, 1, 1)), (half, 1, 3, 3), group=half, **SAME)
        whole = g.add("Concat", halves[0], g.conv(inner, (half, half, 1, 1)), axis=1)
        groups = g.add("Reshape", whole, g.constant([batch, 2, half, 5, 7]))
        swapped = g.add("Transpose", groups, perm=[0, 2, 1, 3, 4])
        unit = g.add("Reshape", swapped, g.constant([batch, channels, 5, 7]))
    g.add("Conv", unit, g.weight(8, channels, 1, 1, fan=channels), output="y")
    return g.model((batch, 3, 5, 7), ("y",))


def compiled(model: onnx.ModelProto, precision: str, folder: Path) -> list[Operation]:
    """The operations of a model's @main, which is as exact as it should be."""
    build = Build(parse_target("cuda:sm_90a"), precision=precision, measured=False)
    module, context = build.module(model, {})
    ops = list(main_function(module).body.block.ops)
    build.finish([(module, context)], folder)
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in model.graph.output]
    loaded = load_emulated(folder)
    for _ in range(2):  # the second time on what the first has left in memory
        results = loaded.run({"x": image})
        for name, expected in zip(names, session.run(names, {"x": image}), strict=True):
            assert np.abs(results[name] - expected).max() <= TOLERANCES[precision] * np.abs(expected).max()
    return ops


@pytest.mark.parametrize(
    ("batch", "height", "width", "precision"),
    [(1, 7, 7, "fp16"), (2, 7, 9, "fp32"), (3, 5, 5, "fp16"), (5, 8, 3, "fp32")],
)
def test_parts_of_a_batch_lie_in_the_whole(batch: int, height: int, width: int, precision: str, tmp_path: Path) -> None:
    ops = compiled(joins(batch, height, width), precision, tmp_path / "network.convc")
    inside = [inner for op in ops if isinstance(op, KernelOp) for inner in op.ops]
    # 20 channels fill their chunks of 4, but not those of 8.
    joined = [sum(isinstance(op, ConcatOp) for op in each) for each in (ops, inside)]
    assert joined == ([4, 0] if precision == "fp32" else [3, 1])
    assert sum(isinstance(op, SliceOp) for op in ops) == 1


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("batch", "half"), [(1, 8), (3, 10), (2, 29)])
def test_channels_are_shuffled_in_their_chunks(batch: int, half: int, precision: str, tmp_path: Path) -> None:
    ops = compiled(shuffles(batch, half), precision, tmp_path / "network.convc")
    inside = [inner for op in ops if isinstance(op, KernelOp) for inner in op.ops]
    assert not any(isinstance(op, TransposeOp) for op in inside)
    # Each half of the middle one is a kernel; the input enters chunks, and the result leaves them.
    assert sum(isinstance(op, ShuffleOp) for op in inside) == 3
    assert sum(isinstance(op, RelayoutOp) for op in [*inside, *ops]) == 2
