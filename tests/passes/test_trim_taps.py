"""Windows whose outer taps read padding alone compute the same without them."""

import numpy as np
import pytest

from convc.ir.attributes import shape_of
from convc.ir.text import main_function
from convc.ir.windows import ConvOp

CASES = {
    # x, kernel, stride, pads, dilation, window that is left
    "a pyramid's widest window": ((2, 3, 16, 16), (3, 3), 1, (36, 36, 36, 36), 36, (1, 1)),
    "a reach of just the image": ((1, 3, 7, 5), (3, 3), 1, (7, 7, 7, 7), 7, (1, 1)),
    "a reach of one less": ((1, 3, 8, 5), (3, 3), 1, (7, 7, 7, 7), 7, (3, 1)),
    "five taps, of which three are left": ((1, 3, 9, 9), (5, 5), 1, (10, 10, 10, 10), 5, (3, 3)),
    "strides": ((1, 3, 9, 11), (3, 5), 3, (10, 20, 10, 20), 10, (1, 2)),
    "uneven pads": ((1, 3, 4, 6), (3, 1), 1, (12, 0, 0, 0), 6, (1, 1)),
    "padding alone for every tap of some outputs": ((1, 3, 2, 2), (2, 2), 1, (9, 9, 9, 9), 3, (2, 2)),
    "rows that are one element": ((1, 3, 13), (3,), 1, (20, 20), 20, (1,)),
}


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_taps_that_are_left_compute_the_same(case, group, graph, apply):
    shape, kernel, stride, pads, dilation, left = CASES[case]
    rng = np.random.default_rng(0)
    g = graph(shape)
    weight = g.weight(rng.standard_normal((6, 3 // group, *kernel)))
    bias = g.weight(rng.standard_normal(6))
    steps = {"strides": [stride] * len(kernel), "dilations": [dilation] * len(kernel)}
    y = g.append(ConvOp(g.inputs[0].value, weight.value, bias.value, pads=pads, group=group, **steps))
    module = apply("trim-taps", g.module(y), g.context)
    (conv,) = (op for op in main_function(module).body.block.ops if isinstance(op, ConvOp))
    assert shape_of(conv.w)[2:] == left


def test_infinite_weights_keep_their_taps(graph, apply):
    g = graph((1, 1, 4))
    y = g.append(ConvOp(g.inputs[0].value, g.weight(np.array([[[np.inf, 1, 1]]])).value, pads=(4, 4), dilations=[4]))
    module = apply("trim-taps", g.module(y), g.context)
    (conv,) = (op for op in main_function(module).body.block.ops if isinstance(op, ConvOp))
    assert shape_of(conv.w) == (1, 1, 3)
