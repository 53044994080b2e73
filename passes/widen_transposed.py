"""Give a transposed convolution of a single output channel a second one, which is zero and cut off again.

    conv_transpose(x, w)  =>  conv_transpose(x, [w, 0])[:, :1]

Legal for constant weights and biases without groups. Pays on CPUs: more than one output channel is computed in blocks,
with vectors of outputs that are mostly padding; a single one would stay in plain layout, for which there is no template
of transposed convolutions, and be computed number by number. What `sum-taps` takes better is gone by then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.data import SliceOp
from convc.ir.dialect import CompilerContext
from convc.ir.windows import ConvTransposeOp
from convc.passes.rewriting import main_block
from convc.passes.rules import Rewriter, RuleSet, rewrite
from convc.passes.values import holds_floats

RULES = RuleSet()


@dataclass(frozen=True)
class WidenTransposed(ModulePass):
    name = "widen-transposed"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        rewrite(main_block(op), ctx, RULES)


@RULES.on(ConvTransposeOp)
def one_output(op: ConvTransposeOp, rewriter: Rewriter) -> SSAValue | None:
    result, weight = shape_of(op.result), rewriter.known(op.w)
    bias = None if op.bias is None else rewriter.known(op.bias)
    if weight is None or (bias is None) != (op.bias is None):  # one is computed
        return None
    if result[1] > 1 or op.group.value.data > 1 or not holds_floats(op.x):
        return None
    shift = None if bias is None or op.bias is None else rewriter.weight(np.pad(bias, (0, 1)), op.bias, ".widened")
    wide = np.concatenate([weight, np.zeros_like(weight)], axis=1)
    geometry = {name: getattr(op, name).get_values() for name in ("strides", "pads", "dilations", "output_padding")}
    y = rewriter.emit(ConvTransposeOp(op.x, rewriter.weight(wide, op.w, ".widened"), shift, **geometry))
    return rewriter.emit(SliceOp(y, [0] * len(result), result))
