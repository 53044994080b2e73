"""Kernels within kernels: what a depthwise convolution alone reads."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.kernel import KernelOp
from convc.ir.macs import macs
from convc.ir.text import kernel_text, parse, to_text
from convc.ir.windows import ConvOp
from convc.passes.rewriting import main_block

LAYOUTS = "fuse,assign-layouts{channel_block=16},prepack-weights,outline-relayouts,find-views"


def network(graph, size, narrow=16, channels=32):
    """A residual block of a MobileNet: expanded, filtered, projected."""
    g, rng = graph((1, narrow, *size)), np.random.default_rng(0)
    x = g.inputs[0]

    def conv(x, shape, **options):
        weight = g.weight(rng.standard_normal(shape)).value
        return g.append(ConvOp(x.value, weight, **options))

    wide = conv(x, (channels, narrow, 1, 1)).silu()
    filtered = conv(wide, (channels, 1, 3, 3), group=channels, pads=(1, 1, 1, 1)).clip(min=0, max=6)
    return g, g.module(conv(filtered, (narrow, channels, 1, 1)) + x)


def kernels(module):
    return [op for op in main_block(module).ops if isinstance(op, KernelOp)]


@pytest.fixture
def small_caches(monkeypatch):
    """Every map leaves the caches."""
    monkeypatch.setattr("convc.targets.cpu.conv_depthwise._CACHED", 0)


def test_results_stay_the_same(graph, apply, small_caches):
    g, module = network(graph, (12, 16))
    apply(f"{LAYOUTS},fuse-depthwise", module, g.context)
    assert [kernel.inner is not None for kernel in kernels(module)].count(True) == 1


def test_work_and_text_count_what_is_within(graph, apply, small_caches):
    g, module = network(graph, (12, 16))
    apply(LAYOUTS, module, g.context)
    before = sum(map(macs, kernels(module)))
    apply("fuse-depthwise", module, g.context)
    assert sum(map(macs, kernels(module))) == before
    both = next(kernel for kernel in kernels(module) if kernel.inner)
    text = kernel_text(both)
    assert "convc.conv" in text
    assert kernel_text(both.inner) != text
    assert "silu" in text
    assert to_text(parse(to_text(module), g.context)) == to_text(module)


def test_rows_that_would_be_cut_short_keep_a_map_apart(graph, apply, small_caches):
    """A map of two columns, whose tiles in rows take longer than the trip to memory."""
    g, module = network(graph, (256, 2), narrow=64)
    apply(f"{LAYOUTS},fuse-depthwise", module, g.context)
    assert not any(kernel.inner for kernel in kernels(module))
