"""What only a depthwise convolution reads is computed within its kernel, a few rows at a time.

    kernel(kernel(x, v) { conv }, w) { depthwise conv }  =>  kernel(x, v, w) { kernel(x, v) { conv }, depthwise conv }

Legal for a convolution without groups, in blocked layouts, whose result nothing else reads: the outer kernel keeps the
rows that it reads next in a ring (`targets.cpu.conv_depthwise`). It pays where the map between would leave the caches,
as in the first blocks of a MobileNet (Sandler et al., CVPR 2018), which expand an image before they filter it: by the
model, which counts its trip to the last cache and back against tiles that are cut short at the ends of rows. Runs after
`find-views`: what lies in a join's memory has another reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue
from xdsl.passes import ModulePass

from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp
from convc.passes.rewriting import absorb, kernels_in, main_block, producer_for
from convc.targets.cpu.conv_depthwise import can_come_first, saved_cycles
from convc.targets.cpu.depthwise import Depthwise
from convc.targets.cpus import parse_cpu
from convc.targets.target import CpuTarget


@dataclass(frozen=True)
class FuseDepthwise(ModulePass):
    """`target`: a CPU, as `--target` takes it."""

    name = "fuse-depthwise"
    target: str = "cpu"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = parse_cpu(self.target)
        for kernel in kernels_in(main_block(op)):
            if (first := producible(kernel, target)) is None:
                continue
            anchor = kernel.anchor
            assert isinstance(anchor, ConvOp)
            if saved_cycles(first, anchor, target) > 0:
                absorb(kernel, first, nested)


def producible(kernel: KernelOp, target: CpuTarget) -> KernelOp | None:
    """The kernel whose rows a depthwise convolution's kernel could compute itself, if there is such a one."""
    op = kernel.anchor
    if not isinstance(op, ConvOp) or not Depthwise().applies(kernel, target) or not op.x.has_one_use():
        return None
    first = producer_for(kernel, op.x)
    return first if first is not None and can_come_first(first, target) else None


def nested(producer: KernelOp, block: Block, arguments: dict[SSAValue, SSAValue]) -> SSAValue:
    """For `absorb`: the producer as a kernel within."""
    types = [value.type for value in producer.outputs]
    inner = KernelOp([arguments[each] for each in producer.inputs], producer.body.clone(), types)
    block.add_op(inner)
    return inner.outputs[0]
