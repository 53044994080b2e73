"""Which convolutions a GPU computes by Winograd's algorithm, and that the rewrite changes no result."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import onnx.parser
import pytest

from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.ir.kernel import KernelOp
from convc.ir.text import main_function, parse
from convc.passes.registry import pipeline
from convc.pipeline import Build
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.cuda.target import parse_cuda
from convc.verify.reference import Reference

CONV = """
builtin.module {{
  func.func @main(%x: tensor<{n}x{c}x{h}x{h}xf32>) -> tensor<{n}x{o}x{y}x{y}xf32> {{
    %w = convc.weight @w : tensor<{o}x{i}x{k}x{k}xf32>
    %b = convc.weight @b : tensor<{o}xf32>
    %y = convc.conv %x, %w bias %b strides [{s}, {s}] pads [{p}, {p}, {p}, {p}] dilations [{d}, {d}] group {g}
      : (tensor<{n}x{c}x{h}x{h}xf32>, tensor<{o}x{i}x{k}x{k}xf32>, tensor<{o}xf32>) -> tensor<{n}x{o}x{y}x{y}xf32>
    %z = convc.elementwise relu(%y) : (tensor<{n}x{o}x{y}x{y}xf32>) -> tensor<{n}x{o}x{y}x{y}xf32>
    func.return %z : tensor<{n}x{o}x{y}x{y}xf32>
  }}
}}
"""


def chosen(n, c, h, o, k=3, s=1, p=1, d=1, g=1, target="cuda:sm_90a"):
    """The module of a convolution with bias and ReLU before and after the pass, its weights, and the m that was taken;
    0 for direct convolution."""
    y = (h + 2 * p - d * (k - 1) - 1) // s + 1
    context, rng = CompilerContext(), np.random.default_rng(0)
    context.weights.add((rng.standard_normal((o, c // g, k, k)) / (k * c**0.5)).astype(np.float32), "w")
    context.weights.add(rng.standard_normal(o).astype(np.float32), "b")
    before = parse(CONV.format(n=n, c=c, h=h, o=o, k=k, s=s, p=p, d=d, g=g, y=y, i=c // g), context)
    after = before.clone()
    layouts = "fuse{channel_block=4},assign-layouts{channel_block=4 chunks=true}"
    pipeline(f'{layouts},choose-gpu-algorithms{{target="{target}"}}').apply(context, after)
    after.verify()
    (anchor,) = [op.anchor for op in main_function(after).body.block.ops if isinstance(op, KernelOp) and op.anchor]
    return before, after, context, anchor.m.value.data if anchor.name == "convc.winograd_conv" else 0


@pytest.mark.parametrize("target", ["cuda:sm_80", "cuda:sm_90a"])
@pytest.mark.parametrize("shape", [(32, 128, 28, 128), (32, 256, 14, 256), (128, 512, 7, 512), (1, 256, 56, 256)])
def test_many_tiles_of_many_channels_are_worth_it(shape, target):
    assert chosen(*shape, target=target)[3] == 4


def test_what_would_move_more_than_it_saves_is_direct():
    assert chosen(32, 3, 224, 16)[3] == 0
    assert chosen(1, 64, 4, 64)[3] == 0


@pytest.mark.parametrize("options", [{"s": 2}, {"d": 2, "p": 2}, {"g": 2}, {"k": 5, "p": 2}, {"k": 1, "p": 0}])
def test_other_convolutions_stay_direct(options):
    assert chosen(32, 64, 56, 64, **options)[3] == 0


def test_tensor_cores_are_faster():
    assert chosen(32, 256, 14, 256, target="cuda:sm_90a+tf32")[3] == 0


def test_the_rewrite_changes_no_result():
    before, after, context, m = chosen(4, 128, 28, 64)
    assert m == 4
    x = {"input0": np.random.default_rng(1).standard_normal((4, 128, 28, 28)).astype(np.float32)}
    expected, found = (interpret(module, context.weights, x, np.float64)["output0"] for module in (before, after))
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[4, 128, 28, 28] x, float[64, 128, 3, 3] w, float[64] b, float[8, 64, 1, 1] v) => (float[4, 8, 28, 28] y) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  y = Conv (r, v)
}
"""


def test_a_network_with_it_agrees_with_onnxruntime(tmp_path):
    model, rng = onnx.parser.parse_model(NETWORK), np.random.default_rng(0)
    for name, shape in {"w": (64, 128, 3, 3), "b": (64,), "v": (8, 64, 1, 1)}.items():
        weight = (rng.standard_normal(shape) / prod(shape[1:]) ** 0.5).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
        model.graph.input.remove(next(each for each in model.graph.input if each.name == name))
    Build(parse_cuda("cuda:sm_90a")).run(model, tmp_path / "net.convc")
    executable = load_emulated(tmp_path / "net.convc")
    assert "winograd" in {kernel["template"] for kernel in executable.manifest["kernels"].values()}
    x = rng.standard_normal((4, 128, 28, 28)).astype(np.float32)
    expected = Reference(model)({"x": x})["y"]
    assert np.abs(executable(x) - expected).max() <= 1e-5 * np.abs(expected).max()
