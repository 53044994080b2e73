"""Transposed convolutions compute the same as direct ones with their phases as channels."""

import numpy as np
import pytest

from convc.ir.text import main_function
from convc.ir.windows import ConvOp, ConvTransposeOp

CASES = {
    # x, kernel, strides, pads, dilations, output padding
    "twice the size, depthwise upsampling": ((2, 6, 5, 7), (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
    "an odd window, with output padding": ((1, 6, 4, 3), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1)),
    "windows that do not meet": ((1, 6, 3, 5), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)),
    "phases without taps": ((1, 6, 4, 3), (1, 2), (3, 2), (0, 0, 0, 0), (1, 1), (1, 0)),
    "a size that is no multiple of the stride": ((1, 6, 4, 5), (3, 2), (2, 3), (0, 1, 1, 0), (1, 1), (0, 0)),
    "pads as wide as the window": ((1, 6, 7, 6), (3, 3), (2, 2), (2, 3, 2, 3), (1, 1), (0, 0)),
    "dilation by a multiple of the stride": ((1, 6, 5, 4), (3, 2), (2, 2), (1, 1, 0, 1), (2, 3), (0, 1)),
    "stride 1": ((1, 6, 5, 6), (3, 3), (1, 1), (1, 0, 1, 2), (1, 2), (0, 0)),
    "one dimension": ((2, 6, 9), (16,), (8,), (4, 4), (1,), (0,)),
    "three": ((1, 6, 2, 3, 2), (2, 3, 1), (2, 2, 1), (0, 1, 0, 0, 1, 0), (1, 1, 1), (0, 1, 0)),
}


@pytest.mark.parametrize(("group", "outputs"), [(6, 6), (2, 4), (3, 9)])
@pytest.mark.parametrize("case", CASES)
def test_phases_as_channels_compute_the_same(case, group, outputs, graph, apply):
    shape, kernel, strides, pads, dilations, output_padding = CASES[case]
    rng = np.random.default_rng(0)
    g = graph(shape)
    weight = g.weight(rng.standard_normal((6, outputs // group, *kernel)))
    bias = g.weight(rng.standard_normal(outputs))
    steps = {"strides": strides, "pads": pads, "dilations": dilations, "output_padding": output_padding}
    y = g.append(ConvTransposeOp(g.inputs[0].value, weight.value, bias.value, group=group, **steps))
    module = apply("split-phases{channel_block=8}", g.module(y), g.context)
    kinds = {type(op) for op in main_function(module).body.block.ops}
    assert ConvOp in kinds
    assert ConvTransposeOp not in kinds


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "output_padding"),
    [
        ((4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),
        ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
        ((2, 5), (2, 3), (0, 1, 1, 2), (0, 0)),
        ((5,), (3,), (1, 2), (0,)),
    ],
)
def test_few_outputs_are_a_convolution_for_each_phase(kernel, strides, pads, output_padding, graph, apply):
    g = graph((2, 24, 9, 11)[: 2 + len(kernel)])
    weight = g.weight(np.random.default_rng(0).standard_normal((24, 2, *kernel)))
    bias = g.weight(np.random.default_rng(1).standard_normal(2))
    steps = {"strides": strides, "pads": pads, "output_padding": output_padding}
    y = g.append(ConvTransposeOp(g.inputs[0].value, weight.value, bias.value, **steps))
    ops = main_function(apply("split-phases{channel_block=8}", g.module(y), g.context)).body.block.ops
    assert sum(isinstance(op, ConvOp) for op in ops) == np.prod(strides)
    assert not any(isinstance(op, ConvTransposeOp) for op in ops)


def test_few_outputs_of_a_wide_window_are_phases_without_groups_too(graph, apply):
    g = graph((1, 16, 5, 4))
    weight = g.weight(np.random.default_rng(0).standard_normal((16, 1, 9, 9)))
    steps = {"strides": (3, 3), "pads": (4, 4, 4, 4), "output_padding": (2, 2)}
    y = g.append(ConvTransposeOp(g.inputs[0].value, weight.value, **steps))
    module = apply("split-phases{channel_block=8}", g.module(y), g.context)
    assert not any(isinstance(op, ConvTransposeOp) for op in main_function(module).body.block.ops)
