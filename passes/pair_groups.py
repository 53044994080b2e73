"""Compute two groups of a convolution as one, where each fills half a block of channels.

    conv(x, w, group=g)  =>  conv(x, w', group=g/2)

w' has the filters of both groups, and zeros for the inputs of the other: [O, C/g, *K] -> [O, 2 * C/g, *K]. Legal for
constant weights; zeros add nothing to finite numbers. (Zero times an infinity or NaN is NaN: one in a group's inputs
makes NaN of what reads that place in the other group of its pair too. No group beyond the pair sees it, and `verify`
counts NaN at other places than onnxruntime's as a failure.)

Twice the multiplications in blocks of channels take less time than convolution in plain layout, whose vectors run along
rows, and no layout changes around it: 0.6 of the time at stride 2 and on rows of 7 points, 0.75 on rows of 14, 0.93 to
0.98 on longer ones (AVX-512, between 1x1 convolutions). Four groups as one would take longer.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import shape_of
from convc.ir.windows import ConvOp
from convc.passes.anchors import rebuilt
from convc.passes.rules import BlockRules, Rewriter, RuleSet
from convc.passes.values import holds_floats


def _rules(block: int) -> RuleSet:
    rules = RuleSet()

    @rules.on(ConvOp)
    def convolution(op: ConvOp, rewriter: Rewriter) -> SSAValue | None:
        weight, group = rewriter.known(op.w), op.group.value.data
        outputs, inputs, *window = shape_of(op.w)
        if weight is None or not holds_floats(op.x) or not _halves(group, inputs, outputs, block):
            return None
        filters = weight.reshape(group // 2, 2, outputs // group, inputs, *window)
        pairs = np.zeros((group // 2, 2, outputs // group, 2, inputs, *window), weight.dtype)
        pairs[:, 0, :, 0], pairs[:, 1, :, 1] = filters[:, 0], filters[:, 1]
        w = rewriter.weight(pairs.reshape(outputs, 2 * inputs, *window), op.w, ".paired")
        return rewriter.emit(rebuilt(op, op.x, w, op.bias, group=group // 2))

    return rules


def _halves(group: int, inputs: int, outputs: int, block: int) -> bool:
    """Whether two groups fill whole blocks of inputs and of outputs, and one does not."""
    each = (inputs, outputs // group)
    return group % 2 == 0 and all(2 * n % block == 0 for n in each) and any(n % block for n in each)


class PairGroups(BlockRules):
    name = "pair-groups"
    rules = staticmethod(_rules)
