"""What only a 1x1 convolution reads is computed where it copies its inputs.

    kernel(kernel(x, s) { mul }, w) { conv 1x1 }  =>  kernel(x, s, w) { mul, conv 1x1 }

Legal for elementwise kernels that one convolution reads, in blocked layouts. It pays because a band of rows is
computed into the first caches, once, and read from there for all output channels, where it would go to memory and back:
batch-norms before convolutions (DenseNet), the scales of squeeze-and-excite. Windows of more than one point are left
alone: Winograd's algorithm reads tiles that overlap. Runs after `assign-layouts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of, shape_of
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp
from convc.passes.rewriting import absorb, add_clones, kernels_in, main_block, producer_for


@dataclass(frozen=True)
class FusePrologues(ModulePass):
    name = "fuse-prologues"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for kernel in kernels_in(main_block(op)):
            if (producer := prologue(kernel)) is not None and layout_of(producer.outputs[0]) is not None:
                absorb(kernel, producer, _inlined)


def prologue(kernel: KernelOp) -> KernelOp | None:
    """The elementwise kernel that a convolution's kernel could compute itself, if its result is blocked."""
    op = kernel.anchor
    if not isinstance(op, ConvOp) or (producer := producer_for(kernel, op.x)) is None:
        return None
    if set(shape_of(op.w)[2:]) != {1} or any(op.pads.get_values()) or op.group.value.data != 1:
        return None
    shape = shape_of(op.x)
    if min(shape[2:]) == 1:
        return None
    alike = all(isinstance(each, ElementwiseOp) and shape_of(each.result) == shape for each in producer.ops)
    return producer if alike and producer.ops else None


def _inlined(producer: KernelOp, block: Block, arguments: dict[SSAValue, SSAValue]) -> SSAValue:
    """For `absorb`: the producer's operations beside those of its reader."""
    copies = add_clones(producer, block, arguments)
    last = block.last_op
    assert last is not None
    block.erase_op(last)
    return copies[producer.yielded[0]]
