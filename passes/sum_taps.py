"""Compute a window of many taps for few outputs as one product of a matrix and each element, and a sum of the parts.

    conv(x, w) + b  =>  p = conv(x, w'); sum over taps t of p[channels of t, moved by t] + b

w' is w with its taps as further output channels and windows of one element: [O, C, *K] -> [K * O, C, 1...]. Legal for
constant weights without groups, at stride 1. Pays where the outputs leave most of a vector of channels empty but the
taps fill it, as in the last layers of networks that draw (one mask, three colours): with vectors of 16, 3 x 3 windows
for one output then take a ninth of the multiplications.
"""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import shape_of
from convc.ir.data import PadOp, ReshapeOp, SliceOp
from convc.ir.functions import Fn
from convc.ir.layout import filled
from convc.ir.windows import ConvOp
from convc.passes.axes import along
from convc.passes.rules import BlockRules, Rewriter, RuleSet
from convc.passes.values import holds_floats

_PAYS = 3
"""How many times fewer multiplications there must be: the parts are written and read again."""


def _rules(block: int) -> RuleSet:
    rules = RuleSet()

    @rules.on(ConvOp)
    def convolution(op: ConvOp, rewriter: Rewriter) -> SSAValue | None:
        weight = rewriter.known(op.w)
        outputs, inputs, *window = shape_of(op.w)
        if weight is None or set(op.strides.get_values()) != {1} or not _pays(op, inputs, outputs, window, block):
            return None
        first = [prod(window) * outputs, inputs, *[1] * len(window)]
        taps = np.moveaxis(weight.reshape(outputs, inputs, -1), -1, 0).reshape(first)
        parts = rewriter.emit(ConvOp(op.x, rewriter.weight(taps, op.w, ".taps")))
        if any(pads := op.pads.get_values()):
            half = len(window)
            parts = rewriter.emit(PadOp(parts, [0, 0, *pads[:half], 0, 0, *pads[half:]]))
        batch, _, *sizes = shape_of(op.result)
        total = None
        for number, tap in enumerate(np.ndindex(*window)):
            starts = [0, number * outputs, *(i * d for i, d in zip(tap, op.dilations.get_values()))]
            part = rewriter.emit(SliceOp(parts, starts, [batch, outputs, *sizes]))
            total = part if total is None else rewriter.elementwise(Fn.ADD, total, part)
        assert total is not None
        return _biased(op, total, rewriter)

    return rules


def _pays(op: ConvOp, inputs: int, outputs: int, window: list[int], block: int) -> bool:
    taps = prod(window)
    usual, here = taps * filled(outputs, block), filled(outputs * taps, block)
    # Few inputs: more would be written than was read.
    return op.group.value.data == 1 and holds_floats(op.x) and usual >= _PAYS * here and outputs * taps <= inputs


def _biased(op: ConvOp, total: SSAValue, rewriter: Rewriter) -> SSAValue:
    if op.bias is None:
        return total
    bias = rewriter.emit(ReshapeOp(op.bias, along(1, len(shape_of(total)), *shape_of(op.bias))))
    return rewriter.elementwise(Fn.ADD, total, bias)


class SumTaps(BlockRules):
    name = "sum-taps"
    rules = staticmethod(_rules)
