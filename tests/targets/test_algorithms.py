"""Which convolutions are computed by Winograd's algorithm, and that the rewrite changes no result."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.ir.kernel import KernelOp
from convc.ir.text import main_function, parse
from convc.ir.windows import WinogradConvOp
from convc.passes.registry import pipeline

CONV = """
builtin.module {{
  func.func @main(%x: tensor<1x{c}x{h}x{h}xf32>) -> tensor<1x{o}x{y}x{y}xf32> {{
    %w = convc.weight @w : tensor<{o}x{i}x{k}x{k}xf32>
    %b = convc.weight @b : tensor<{o}xf32>
    %y = convc.conv %x, %w bias %b strides [{s}, {s}] pads [{p}, {p}, {p}, {p}] dilations [{d}, {d}] group {g}
      : (tensor<1x{c}x{h}x{h}xf32>, tensor<{o}x{i}x{k}x{k}xf32>, tensor<{o}xf32>) -> tensor<1x{o}x{y}x{y}xf32>
    %z = convc.elementwise relu(%y) : (tensor<1x{o}x{y}x{y}xf32>) -> tensor<1x{o}x{y}x{y}xf32>
    func.return %z : tensor<1x{o}x{y}x{y}xf32>
  }}
}}
"""
WINDOW = """
builtin.module {{
  func.func @main(%x: tensor<{x}xf32>) -> tensor<{y}xf32> {{
    %w = convc.weight @w : tensor<{w}xf32>
    %y = convc.conv %x, %w strides {strides} pads {pads} dilations {dilations} group 1
      : (tensor<{x}xf32>, tensor<{w}xf32>) -> tensor<{y}xf32>
    func.return %y : tensor<{y}xf32>
  }}
}}
"""
AVX512 = "cpu:skylake-avx512"


def module(c, h, o, k=3, s=1, p=1, d=1, g=1):
    """A convolution with bias and ReLU, and the context that holds its weights."""
    y = (h + 2 * p - d * (k - 1) - 1) // s + 1
    context, rng = CompilerContext(), np.random.default_rng(0)
    context.weights.add((rng.standard_normal((o, c // g, k, k)) / (k * c**0.5)).astype(np.float32), "w")
    context.weights.add(rng.standard_normal(o).astype(np.float32), "b")
    return parse(CONV.format(c=c, h=h, o=o, k=k, s=s, p=p, d=d, g=g, y=y, i=c // g), context), context


def of_window(channels, sizes, window, dilations):
    """A convolution between as many channels that keeps the sizes of an image."""
    pads = 2 * [(k - 1) * d // 2 for k, d in zip(window, dilations)]
    context, rng = CompilerContext(), np.random.default_rng(0)
    context.weights.add((rng.standard_normal((channels, channels, *window)) / channels**0.5).astype(np.float32), "w")
    x, w = ("x".join(map(str, shape)) for shape in ((1, channels, *sizes), (channels, channels, *window)))
    steps = {"strides": [1] * len(window), "pads": pads, "dilations": list(dilations)}
    return parse(WINDOW.format(x=x, w=w, y=x, **steps), context), context


def anchors(module, context):
    pipeline(f'fuse,assign-layouts{{channel_block=16}},choose-algorithms{{target="{AVX512}"}}').apply(context, module)
    module.verify()
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    return [kernel.anchor.name for kernel in kernels if kernel.anchor is not None]


@pytest.mark.parametrize("shape", [(64, 56, 64), (128, 28, 128), (64, 112, 128), (512, 28, 512), (32, 64, 48)])
def test_many_tiles_of_many_channels_are_worth_it(shape):
    assert anchors(*module(*shape)) == ["convc.winograd_conv"]


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_of_whole_blocks_are_worth_it(groups):
    assert anchors(*module(64, 56, 64, g=groups)) == ["convc.winograd_conv"]


WINDOWS = {
    "a column": (64, (56, 56), (3, 1), (1, 1)),
    "a row, dilated": (128, (32, 64), (1, 3), (1, 8)),
    "dilation": (64, (56, 56), (3, 3), (2, 2)),
    "a line": (64, (1024,), (3,), (1,)),
    "five taps": (64, (28, 28), (5, 5), (1, 1)),
    "a row of seven": (128, (17, 17), (1, 7), (1, 1)),
    "planes of a volume": (64, (8, 28, 28), (1, 3, 3), (1, 1, 1)),
    "a volume along time": (64, (8, 28, 28), (3, 1, 1), (1, 1, 1)),
}


@pytest.mark.parametrize("what", WINDOWS)
def test_other_windows_are_worth_it(what):
    before, context = of_window(*WINDOWS[what])
    after, other = of_window(*WINDOWS[what])
    assert anchors(after, other) == ["convc.winograd_conv"]
    channels, sizes, *_ = WINDOWS[what]
    x = {"input0": np.random.default_rng(1).standard_normal((1, channels, *sizes)).astype(np.float32)}
    expected = interpret(before, context.weights, x, np.float64)["output0"]
    found = interpret(after, other.weights, x, np.float64)["output0"]
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def chosen_m(c, h, o, s=1):
    built, context = module(c, h, o, s=s)
    assert anchors(built, context) == ["convc.winograd_conv"]
    return next(op.m.value.data for op in built.walk() if isinstance(op, WinogradConvOp))


def test_few_tiles_have_small_weights_where_those_come_from_memory():
    assert chosen_m(64, 14, 64) == 4  # weights that stay in the cache between inferences
    assert chosen_m(512, 14, 512) == 2  # F(4x4) would read 38 MB, F(2x2) 17
    assert chosen_m(512, 28, 512) == 4


def test_windows_at_stride_2():
    assert chosen_m(128, 56, 128, s=2) == 4
    assert chosen_m(256, 28, 256, s=2) == 2


STAYS = {
    "1x1": (64, 56, 64, 1, 1, 0),
    "7x7": (64, 56, 64, 7, 1, 3),
    "stride 3": (64, 56, 64, 3, 3),
    "stride 2 of few tiles": (512, 14, 512, 3, 2),
    "stride 2, dilated": (64, 56, 64, 3, 2, 2, 2),
    "groups of half a block": (64, 56, 64, 3, 1, 1, 1, 8),
    "groups of a block and a half": (96, 56, 96, 3, 1, 1, 1, 4),
    "depthwise": (64, 56, 64, 3, 1, 1, 1, 64),
    "the first layer": (3, 224, 64),
    "one pixel": (512, 1, 512),
    "weights that would be four times as large for a few tiles": (512, 5, 512),
}


@pytest.mark.parametrize("what", STAYS)
def test_what_stays_direct(what):
    assert anchors(*module(*STAYS[what])) == ["convc.conv"]


@pytest.mark.parametrize(("outputs", "groups", "stride"), [(48, 1, 1), (64, 2, 1), (128, 1, 2)])
def test_the_rewrite_changes_no_result(outputs, groups, stride):
    before, context = module(32 * stride, 20, outputs, g=groups, s=stride)
    after, other = module(32 * stride, 20, outputs, g=groups, s=stride)
    assert anchors(after, other) == ["convc.winograd_conv"]
    x = {"input0": np.random.default_rng(1).standard_normal((1, 32 * stride, 20, 20)).astype(np.float32)}
    expected = interpret(before, context.weights, x, np.float64)["output0"]
    found = interpret(after, other.weights, x, np.float64)["output0"]
    # The transformed weight is rounded to float32.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def test_a_weight_that_two_kernels_share_is_transformed_once():
    text = CONV.format(c=64, h=56, o=64, k=3, s=1, p=1, d=1, g=1, y=56, i=64)
    line = next(line for line in text.splitlines() if "convc.conv" in line)
    second = line.replace("%y =", "%q =").replace("%x, %w", "%z, %w")
    rest = text.splitlines()[text.splitlines().index(line) + 1]
    body = text.replace("func.return %z", f"{second}\n{rest}\n    func.return %q")
    context, rng = CompilerContext(), np.random.default_rng(0)
    context.weights.add(rng.standard_normal((64, 64, 3, 3)).astype(np.float32), "w")
    context.weights.add(rng.standard_normal(64).astype(np.float32), "b")
    parsed = parse(body, context)
    assert anchors(parsed, context) == ["convc.winograd_conv"] * 2
    assert sum("winograd" in name for name in context.weights) == 1
