"""Convolutions of gathered elements compute what they did at a stride."""

import numpy as np
import pytest

from convc.ir.data import SliceOp
from convc.ir.text import main_function
from convc.ir.windows import ConvOp

OUTPUTS = 256


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((1, 3, 7, 5), (2, 2)),
        ((2, 3, 8, 8), (2, 2)),
        ((1, 3, 9, 4), (3, 1)),
        ((1, 3, 1, 1), (2, 2)),
        ((1, 3, 2, 11), (5, 4)),
        ((1, 3, 13), (2,)),
        ((1, 3, 4, 5, 6), (1, 2, 3)),
    ],
)
def test_the_same_at_stride_1(shape, strides, graph, apply):
    g = graph(shape)
    weight = g.weight(np.random.default_rng(0).standard_normal((OUTPUTS, shape[1], *[1] * len(strides))))
    y = g.append(ConvOp(g.inputs[0].value, weight.value, strides=strides))
    ops = list(main_function(apply("gather-strides", g.module(y), g.context)).body.block.ops)
    (conv,), parts = ([op for op in ops if isinstance(op, kind)] for kind in (ConvOp, SliceOp))
    assert len(parts) == 1
    assert set(conv.strides.get_values()) == {1}


def test_other_strides_have_slices_of_their_own(graph, apply):
    g = graph((1, 3, 9, 9))
    w = g.weight(np.random.default_rng(0).standard_normal((OUTPUTS, 3, 1, 1))).value
    results = [g.append(ConvOp(g.inputs[0].value, w, strides=strides)) for strides in [(2, 2), (3, 3), (2, 2)]]
    ops = list(main_function(apply("gather-strides", g.module(*results), g.context)).body.block.ops)
    assert sum(isinstance(op, SliceOp) for op in ops) == 2
