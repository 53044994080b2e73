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
from xdsl.ir import Block, Region, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of, shape_of
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp, YieldOp
from convc.ir.windows import ConvOp
from convc.passes.rewriting import main_block, parent_of, users


@dataclass(frozen=True)
class FusePrologues(ModulePass):
    name = "fuse-prologues"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for kernel in list(main_block(op).ops):
            if not isinstance(kernel, KernelOp):
                continue
            if (value := prologue(kernel)) is not None and layout_of(value) is not None:
                _join(kernel, value)


def prologue(kernel: KernelOp) -> SSAValue | None:
    """The result of an elementwise kernel that a convolution's kernel could compute itself, if it is blocked."""
    op = kernel.anchor
    if not isinstance(op, ConvOp) or op.x not in kernel.block.args:
        return None
    if set(shape_of(op.w)[2:]) != {1} or any(op.pads.get_values()) or op.group.value.data != 1:
        return None
    value = kernel.operands[next(i for i, argument in enumerate(kernel.block.args) if argument is op.x)]
    producer = value.owner
    if not isinstance(producer, KernelOp) or len(producer.outputs) != 1 or len(users(value)) != 1:
        return None
    if min(shape_of(value)[2:]) == 1:
        return None
    alike = all(isinstance(each, ElementwiseOp) and shape_of(each.result) == shape_of(value) for each in producer.ops)
    return value if alike and producer.ops else None


def _join(kernel: KernelOp, value: SSAValue) -> None:
    """Put the kernel that computes a value into one that reads it."""
    producer = value.owner
    assert isinstance(producer, KernelOp)
    operands = list(dict.fromkeys([*producer.inputs, *(each for each in kernel.inputs if each is not value)]))
    block = Block(arg_types=[each.type for each in operands])
    outside: dict[SSAValue, SSAValue] = dict(zip(operands, block.args, strict=True))
    mapping: dict[SSAValue, SSAValue] = {}
    for inner in (producer, kernel):
        for argument, operand in zip(inner.block.args, inner.inputs, strict=True):
            mapping[argument] = outside[operand]
        for op in inner.block.ops:
            if inner is producer and isinstance(op, YieldOp):
                outside[value] = mapping[op.values[0]]
                continue
            clone = op.clone(mapping)
            block.add_op(clone)
            mapping.update(zip(op.results, clone.results, strict=True))
    joined = KernelOp(operands, Region(block), [each.type for each in kernel.outputs])
    parent_of(kernel).insert_op_before(joined, kernel)
    for old, new in zip(kernel.outputs, joined.outputs, strict=True):
        new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
    parent_of(kernel).erase_op(kernel)
    parent_of(producer).erase_op(producer)
