"""Take from windows the taps that read padding alone.

    conv(x, w) pads p  =>  conv(x, w[..., a:b]) with pads that are smaller by the dilation for each tap

A tap t of an axis reads x at `i * stride - pad + t * dilation` for each output i. Where that is outside of x for all of
them, the tap multiplies zeros. So it is with dilations as large as the image, as in the pyramids of networks that
segment: a 3 x 3 window with a dilation of 24 on 16 x 16 elements is one of a single tap. Legal for weights that are
known and finite: infinity times zero is not zero. Always pays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.dialect import CompilerContext
from convc.ir.windows import ConvOp
from convc.passes.anchors import rebuilt
from convc.passes.rewriting import main_block
from convc.passes.rules import Rewriter, RuleSet, rewrite

RULES = RuleSet()


@RULES.on(ConvOp)
def trim(op: ConvOp, rewriter: Rewriter) -> SSAValue | None:
    weight = rewriter.known(op.w)
    rank = len(shape_of(op.x)) - 2
    pads = list(op.pads.get_values())
    kept = [_reading(op, axis) for axis in range(rank)]
    window = shape_of(op.w)[2:]
    if weight is None or [len(taps) for taps in kept] == list(window) or not np.isfinite(weight).all():
        return None
    for axis, (taps, dilation) in enumerate(zip(kept, op.dilations.get_values(), strict=True)):
        pads[axis] -= taps.start * dilation
        pads[rank + axis] -= (window[axis] - taps.stop) * dilation
    whole = slice(None)
    trimmed = weight[(whole, whole, *(slice(taps.start, taps.stop) for taps in kept))]
    return rewriter.emit(rebuilt(op, op.x, rewriter.weight(np.ascontiguousarray(trimmed), op.w), op.bias, pads))


def _reading(op: ConvOp, axis: int) -> range:
    """The taps of an axis between those at either end that read padding alone and can go: pads must not become
    negative, and one tap stays."""
    size, outputs, taps = shape_of(op.x)[2 + axis], shape_of(op.result)[2 + axis], shape_of(op.w)[2 + axis]
    stride, dilation = op.strides.get_values()[axis], op.dilations.get_values()[axis]
    before, after = op.pads.get_values()[axis], op.pads.get_values()[len(shape_of(op.x)) - 2 + axis]
    first, last = 0, taps - 1
    while first < last and (outputs - 1) * stride - before + first * dilation < 0 and before >= (first + 1) * dilation:
        first += 1
    while first < last and last * dilation - before >= size and after >= (taps - last) * dilation:
        last -= 1
    return range(first, last + 1)


@dataclass(frozen=True)
class TrimTaps(ModulePass):
    name = "trim-taps"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        rewrite(main_block(op), ctx, RULES)
