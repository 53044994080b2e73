"""Gather the elements that a 1 x 1 convolution with a stride reads, and convolve them at stride 1.

    conv 1x1 strides s (x)  =>  conv 1x1 (slice[::s] (x))

Where every second element is read, half of each cache line is, by every block of outputs anew; and the points of each
row stand for themselves, so that each row ends in a register tile cut short. Gathered elements follow one another to
the last. Legal always. Pays where the elements are read often, by many outputs: the shortcuts of ResNet-50 take 0.88 of
their time with 512 outputs and 0.97 with 2048, the slice included (AVX2). Convolutions that read the same elements
share a slice. On GPUs, whose loads have strides of their own, it does not pay.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.dialect import CompilerContext
from convc.ir.op import ints
from convc.ir.windows import ConvOp, strides_of
from convc.passes.hoist_strides import SPATIAL, slice_at, steps_over
from convc.passes.rewriting import main_block

_OUTPUTS = 256
"""So many outputs read an element often enough."""


@dataclass(frozen=True)
class GatherStrides(ModulePass):
    name = "gather-strides"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        block, gathered = main_block(op), dict[tuple[SSAValue, tuple[int, ...]], SSAValue]()
        for conv in [each for each in block.ops if isinstance(each, ConvOp) and _pays(each)]:
            strides = strides_of(conv)
            if (conv.x, strides) not in gathered:
                part = slice_at(conv.x, (1, 1, *strides))
                block.insert_op_before(part, conv)
                gathered[conv.x, strides] = part.result
            conv.operands[0] = gathered[conv.x, strides]
            conv.properties["strides"] = ints([1] * len(strides))


def _pays(op: ConvOp) -> bool:
    skips = all(steps_over(op)[SPATIAL:]) and max(strides_of(op)) > 1
    return skips and op.group.value.data == 1 and shape_of(op.w)[0] >= _OUTPUTS
