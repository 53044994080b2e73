"""Fold constant factors and summands into convolutions and products, and into one another.

    (conv(x, w) + b) * s + t  =>  conv(x, w * s) + (b * s + t)          also conv_transpose; matmul keeps a sum
    conv(x * s, w)  =>  conv(x, w * s)
    conv(x + t, w)  =>  conv(x, w) + sum(w * t)          without padding
    (x * s + t) * u + v  =>  x * (s * u) + (t * u + v)

Legal where the constants vary along channels only, weights are constant, and nothing else reads what is between (the
second and third: nothing but convolutions and products that fold it too). Differences, quotients and negations are
sums and products. Always pays: each rule leaves fewer operations. Numbers change by one rounding of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.dialect import CompilerContext
from convc.ir.elementwise import ElementwiseOp
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.affine import Step, chain
from convc.passes.affine_folding import fold_after, fold_before
from convc.passes.anchors import Linear, rounded
from convc.passes.rewriting import main_block
from convc.passes.rules import Rewriter, RuleSet, rewrite
from convc.passes.values import only_user

RULES = RuleSet()


# linear(x, w) * s + t => linear(x, w') + t'
@RULES.on(ElementwiseOp)
def into_what_comes_before(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    return None if _continues(op.result, rewriter) else fold_after(op.result, rewriter)


# (x * s + t) * u + v => x * s' + t'
@RULES.on(ElementwiseOp)
def into_one_another(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    steps = [] if _continues(op.result, rewriter) else list(chain(op.result, rewriter))
    if len(steps) < 2:
        return None
    total = Step.combined(steps)
    if rounded(total.scale, op.result) is None or rounded(total.shift, op.result) is None:
        return None
    # A vector over channels and one over columns make a matrix: two small constants are better.
    fewer = total.operations < sum(step.operations for step in steps)
    if not fewer or total.size > max(step.size for step in steps):
        return None
    return total.emit(steps[-1].x, rewriter, op.result.name_hint or "folded")


def _continues(value: SSAValue, rewriter: Rewriter) -> bool:
    """Whether another step follows, which folds this one with itself: weights are rounded once."""
    user = only_user(value)
    return isinstance(user, ElementwiseOp) and Step.of(user.result, rewriter) is not None


# linear(x * s + t, w) => linear(x, w') + t'
@RULES.on(ConvOp, ConvTransposeOp, MatMulOp)
def into_what_comes_after(op: Linear, rewriter: Rewriter) -> SSAValue | None:
    return fold_before(op, rewriter)


def fold_scales(module: ModuleOp, context: CompilerContext) -> bool:
    """Fold what can be folded; whether there was anything."""
    return rewrite(main_block(module), context, RULES)


@dataclass(frozen=True)
class FoldConvScale(ModulePass):
    name = "fold-conv-scale"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        fold_scales(op, ctx)
