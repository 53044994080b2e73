"""Fold batch normalisations into the convolutions and products around them.

    batch_norm(conv(x, w) + b)  =>  conv(x, w * s) + (b * s + t)          also conv_transpose, and matmul of rank 2
    conv(batch_norm(x), w)  =>  conv(x, w * s) + sum(w * t)          without padding
    batch_norm(x)  =>  x * s + t          what is left
    with  s = scale / sqrt(variance + epsilon),  t = shift - mean * s

Legal where the statistics and the weight are constant and nothing else reads what is between the two. Always pays: a
batch normalisation that is folded costs nothing, and one that is not is an operation that any kernel can take in.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, shape_of, tensor
from convc.ir.data import ConstantOp, ReshapeOp
from convc.ir.dialect import CompilerContext
from convc.ir.functions import Fn
from convc.ir.neural import BatchNormOp, MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.affine import Step
from convc.passes.affine_folding import fold_after, fold_before
from convc.passes.anchors import Linear, source_of
from convc.passes.axes import along
from convc.passes.rewriting import main_block
from convc.passes.rules import Rewriter, RuleSet, rewrite

FOLDING, REST = RuleSet(), RuleSet()


# batch_norm(linear(x, w) + b) => linear(x, w') + b'
@FOLDING.on(BatchNormOp)
def into_what_comes_before(op: BatchNormOp, rewriter: Rewriter) -> SSAValue | None:
    return fold_after(op.result, rewriter)


# linear(batch_norm(x), w) => linear(x, w') + b
@FOLDING.on(ConvOp, ConvTransposeOp, MatMulOp)
def into_what_comes_after(op: Linear, rewriter: Rewriter) -> SSAValue | None:
    return fold_before(op, rewriter) if isinstance(source_of(op).owner, BatchNormOp) else None


# batch_norm(x) => x * s + t
@REST.on(BatchNormOp)
def decompose(op: BatchNormOp, rewriter: Rewriter) -> SSAValue:
    step = Step.of(op.result, rewriter)
    if step is not None:
        return step.emit(op.x, rewriter, op.result.name_hint or "batch_norm")
    epsilon = rewriter.emit(ConstantOp(op.epsilon.value.data, tensor(element_type(op.x), ())))
    deviation = rewriter.elementwise(Fn.SQRT, rewriter.elementwise(Fn.ADD, op.variance, epsilon))
    s = rewriter.elementwise(Fn.DIV, op.scale, deviation)
    t = rewriter.elementwise(Fn.SUB, op.shift, rewriter.elementwise(Fn.MUL, op.mean, s))
    rank = len(shape_of(op.x))
    line = along(min(1, rank - 1), rank, *shape_of(s))
    y = rewriter.elementwise(Fn.MUL, op.x, rewriter.emit(ReshapeOp(s, line)))
    return rewriter.elementwise(Fn.ADD, y, rewriter.emit(ReshapeOp(t, line)))


def fold_batch_norms(module: ModuleOp, context: CompilerContext) -> bool:
    """Leave no batch normalisation in @main; whether there was one."""
    block = main_block(module)
    return rewrite(block, context, FOLDING) | rewrite(block, context, REST)


@dataclass(frozen=True)
class FoldBatchNorm(ModulePass):
    name = "fold-batch-norm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        fold_batch_norms(op, ctx)
