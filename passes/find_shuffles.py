"""Know shuffles of channels, and let each slice of one shuffle its own channels.

    reshape(transpose(reshape(x)))  =>  shuffle(x)      where the first splits the channels into groups, the transpose
                                                        swaps these two axes, and the last joins them
    slice(shuffle(concat(a, b)))    =>  the same with a shuffle and a join of its own, where others read them too

Always legal: values only move. The first pays on GPUs, which compute in blocks of channels: as transposes of more axes
shuffles would leave the blocks before and enter them again after, and that is two trips to memory more. Then joining,
shuffling and slicing are one kernel, and by the second rule no element is moved that the slice does not need. (On a
CPU a transpose of plain memory has vectors, and a shuffle in blocks has none.)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.data import ConcatOp, ReshapeOp, ShuffleOp, SliceOp, TransposeOp
from convc.ir.dialect import CompilerContext
from convc.passes.rewriting import main_block, users
from convc.passes.rules import Rewriter, RuleSet, rewrite

RULES = RuleSet()


# reshape(transpose(reshape(x))) => shuffle(x)
@RULES.on(ReshapeOp)
def shuffle(op: ReshapeOp, rewriter: Rewriter) -> SSAValue | None:
    transpose = op.x.owner
    if not isinstance(transpose, TransposeOp) or not isinstance(split := transpose.x.owner, ReshapeOp):
        return None
    shape = shape_of(split.x)
    if len(shape) < 3 or shape_of(op.result) != shape or len(shape_of(transpose.x)) != len(shape) + 1:
        return None
    batch, groups, each, *spatial = shape_of(transpose.x)
    swapped = [0, 2, 1, *range(3, len(shape) + 1)]
    if (batch, groups * each, *spatial) != shape or list(transpose.perm.get_values()) != swapped:
        return None
    return rewriter.emit(ShuffleOp(split.x, groups))


# slice(shuffle(concat(a, b))) => the same with a shuffle and a join of its own, where others read them too
@RULES.on(SliceOp)
def slice_of_shuffle(op: SliceOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.x.owner
    if not isinstance(inner, ShuffleOp):
        return None
    readers = users(inner.result)
    if len(readers) < 2 or not all(isinstance(reader, SliceOp) for reader in readers):
        return None
    x = inner.x
    if isinstance(join := x.owner, ConcatOp):
        x = rewriter.emit(ConcatOp(join.parts, join.axis.value.data))
    own = rewriter.emit(ShuffleOp(x, inner.groups.value.data))
    return rewriter.emit(SliceOp(own, op.starts.get_values(), shape_of(op.result), op.steps.get_values()))


@dataclass(frozen=True)
class FindShuffles(ModulePass):
    name = "find-shuffles"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        rewrite(main_block(op), ctx, RULES)
