"""Folding scales: what samples in text cannot hold."""

import numpy as np
import pytest

from convc.ir.windows import ConvOp
from convc.passes.registry import pipeline


def conv(graph, x, weight, **attributes):
    return graph.append(ConvOp(x.value, graph.weight(weight, "w").value, **attributes))


@pytest.mark.parametrize("before", [True, False])
def test_a_weight_that_would_overflow_is_not_folded(before, graph, simplified):
    g = graph((1, 2, 3, 3))
    (x,) = g.inputs
    weight = np.full((2, 2, 1, 1), 1e20)
    y = conv(g, x * 1e30, weight) if before else conv(g, x, weight) * 1e30
    assert simplified("fold-conv-scale", g, y) == (["mul", "conv"] if before else ["conv", "mul"])


def test_a_shift_over_a_scale_that_would_overflow_is_not_folded(graph, simplified):
    g = graph((1, 2, 3, 3))
    (x,) = g.inputs
    y = conv(g, x * 1e-30 + 1e20, np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1])
    assert simplified("fold-conv-scale", g, y) == ["mul", "add", "conv"]


def test_weights_are_rounded_once(graph, operations):
    """Three scales, each inexact in single precision, are one product in double precision."""
    g = graph((1, 1, 3, 3))
    (x,) = g.inputs
    weight, s = np.float32(0.1), np.float32([0.3, 0.7, 0.9])
    module = g.module(conv(g, x, np.full((1, 1, 1, 1), weight)) * s[0] * s[1] * s[2])
    pipeline("fold-conv-scale,canonicalise").apply(g.context, module)
    (stored,) = g.context.weights.values()
    assert operations(module) == ["conv"]
    assert stored.item() == np.float32(float(weight) * float(s[0]) * float(s[1]) * float(s[2]))


def test_a_long_chain_of_constants_is_two_operations(graph, simplified):
    g = graph((2, 3))
    (y,) = g.inputs
    for i in range(200):
        y = y * 1.01 + i / 100
    assert simplified("fold-conv-scale", g, y, tolerance=1e-5) == ["mul", "add"]


def test_long_chains_do_not_exhaust_the_stack(graph, simplified):
    """Rules that read expressions do so to a depth, not to their end."""
    g = graph((2, 3))
    (y,) = g.inputs
    for _ in range(400):
        y = (y * 0.5).sin() + 1
    everything = "canonicalise,recognise-activations,fold-pads,fold-batch-norm,fold-conv-scale"
    assert simplified(everything, g, y, tolerance=1e-5).count("sin") == 400
