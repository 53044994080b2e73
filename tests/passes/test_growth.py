"""What passes do to a graph twice as large is about twice the work: lines of Python that run, not seconds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from convc.ir.attributes import tensor
from convc.ir.data import ConcatOp, ConstantOp, SliceOp
from convc.ir.windows import ConvOp
from convc.passes import pbqp
from convc.passes.canonicalise import canonicalise
from convc.passes.fold_conv_scale import fold_scales
from convc.passes.pbqp import Problem
from convc.passes.recognise_activations import recognise_activations


def convolution(x, w):
    return ConvOp(x, w, None, strides=[1, 1], pads=[0] * 4, dilations=[1, 1], group=1)


def constants(g):
    return (g.append(ConstantOp(c, tensor(f32, ()))) for c in (1.5, 0.5))


def sharing_a_constant(graph, n):
    g = graph((1, 4, 4, 4))
    factor, shift = constants(g)
    x = g.inputs[0]
    for _ in range(n):
        x = (factor * x - shift).sin()
    return g, g.module(x)


def of_one_scale_after_another(graph, n):
    g = graph((1, 4, 4, 4))
    factor, shift = constants(g)
    x = g.inputs[0]
    for _ in range(n):
        x = x * factor + shift
    return g, g.module(x)


def of_joins_of_joins(graph, n):
    g = graph((1, 4))
    x = joined = g.inputs[0]
    for _ in range(n):
        x = x.sin()
        joined = g.append(ConcatOp([joined.value, x.value], 0))
    return g, g.module(joined)


def of_slices_joined_again(graph, n):
    g = graph((n, 4))
    rows = [g.append(SliceOp(g.inputs[0].value, [i, 0], [1, 4], [1, 1])) for i in range(n)]
    return g, g.module(g.append(ConcatOp([row.value for row in rows], 0)).sin())


def of_steps_of_a_transpose(graph, n):
    g = graph((4, n, 3))
    x = g.inputs[0].transpose(1, 0, 2)
    rows = [g.append(SliceOp(x.value, [i, 0, 0], [1, 4, 3], [1, 1, 1])).sin() for i in range(n)]
    return g, g.module(*rows)


def of_convolutions_of_one_scaled_value(graph, n):
    g = graph((1, 4, 4, 4))
    x = g.inputs[0] * np.arange(1.0, 5).reshape(1, 4, 1, 1)
    weights = [g.weight(np.full((2, 4, 1, 1), i + 1.0)) for i in range(n)]
    return g, g.module(*(g.append(convolution(x.value, w.value)) for w in weights))


@pytest.mark.parametrize("run", [canonicalise, recognise_activations, fold_scales])
@pytest.mark.parametrize(
    "network",
    [
        sharing_a_constant,
        of_one_scale_after_another,
        of_joins_of_joins,
        of_slices_joined_again,
        of_steps_of_a_transpose,
        of_convolutions_of_one_scaled_value,
    ],
)
def test_twice_the_operations_are_about_twice_the_work(network, run, graph, lines_run):
    counts = []
    for n in (30, 60):
        g, module = network(graph, n)
        counts.append(lines_run(lambda module=module, context=g.context: run(module, context)))
        module.verify()
    assert counts[1] < 2.4 * counts[0]


def test_what_cannot_be_reduced_may_be_larger_than_the_stack_of_calls_is_deep(monkeypatch):
    """Complete graphs of four nodes: of each, one has to be tried."""
    monkeypatch.setattr(pbqp, "LIMIT", 0)
    rng = np.random.default_rng(0)
    made = Problem()
    for _ in range(1100):
        nodes = [made.node([0, 0]) for _ in range(4)]
        for i, j in itertools.combinations(nodes, 2):
            made.edge(i, j, rng.uniform(0, 9, (2, 2)))
    found = made.solve()
    assert found.cost == made.cost(found.choices) < math.inf
    assert not found.proved
