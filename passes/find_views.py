"""Make views of the kernels that only put values beside each other, take a part, or rename a layout.

    kernel(a, b) { concat }  =>  concat(a, b)          where a and b can be computed in the result's memory
    kernel(x) { slice }      =>  slice(x)              where the slice is a contiguous range of x
    kernel(x) { relayout }   =>  relayout(x)           where it moves nothing

Legal where the memory of the result, or of the operand, holds the other as an aligned range (`convc.ir.views`). Parts
of a join that must lie elsewhere (an input, a weight, an output, a part of another join) are copied first; where all
of them must, the join stays a kernel. Pays always: memory is neither read nor written.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.data import ConcatOp, RelayoutOp, SliceOp
from convc.ir.kernel import KernelOp
from convc.ir.views import Placement, moves_nothing, part_offsets, slice_offset
from convc.passes.rewriting import copy_kernel, kernels_in, main_block, outline, parent_of, returned_values


@dataclass(frozen=True)
class FindViews(ModulePass):
    name = "find-views"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        block = main_block(op)
        returned = set(returned_values(block))
        for kernel in kernels_in(block):
            if len(kernel.ops) == 1 and _is_view(kernel.ops[0], is_returned=kernel.outputs[0] in returned):
                _inline(kernel)
        placement = Placement.of(block)
        joins: dict[ConcatOp, list[int]] = {}
        for join, number in placement.misplaced:
            joins.setdefault(join, []).append(number)
        for join, numbers in joins.items():
            if len(numbers) == len(join.parts):
                after = join.next_op
                assert after is not None
                outline([join], [join.result], before=after)
                continue
            for number in numbers:
                join.operands[number] = copy_kernel(join.parts[number], join)


def _is_view(op: Operation, is_returned: bool) -> bool:
    """Whether an operation can be a view. What is returned must own its memory, as a join does."""
    match op:
        case ConcatOp():
            return part_offsets(op) is not None
        case SliceOp():
            return not is_returned and slice_offset(op) is not None
        case RelayoutOp():
            return not is_returned and moves_nothing(op.x, op.result)
        case _:
            return False


def _inline(kernel: KernelOp) -> None:
    """Put the one operation of a kernel in its place."""
    (inner,) = kernel.ops
    mapping: dict[SSAValue, SSAValue] = dict(zip(kernel.block.args, kernel.inputs, strict=True))
    clone = inner.clone(mapping)
    parent_of(kernel).insert_op_before(clone, kernel)
    clone.results[0].name_hint = kernel.outputs[0].name_hint
    kernel.outputs[0].replace_all_uses_with(clone.results[0])
    parent_of(kernel).erase_op(kernel)
