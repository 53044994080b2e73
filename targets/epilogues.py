"""What follows a kernel's anchor, as far as templates ask."""

from __future__ import annotations

from xdsl.ir import Operation

from convc.ir.attributes import layout_of, shape_of
from convc.ir.data import CastOp, RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp


def after_anchor(kernel: KernelOp) -> list[Operation]:
    """The operations of a kernel but its anchor and what that reads."""
    before: set[Operation] = set()
    for op in reversed(kernel.ops):
        if op is kernel.anchor or any(use.operation in before for result in op.results for use in result.uses):
            before.add(op)
    return [op for op in kernel.ops if op not in before]


_LIGHT = {Fn.ADD, Fn.SUB, Fn.MUL, Fn.MAX, Fn.MIN, Fn.RELU, Fn.CLIP, Fn.NEG, Fn.ABS, Fn.LEAKY_RELU, Fn.PRELU}


def heavy_epilogue(kernel: KernelOp) -> bool:
    """Whether the kernel's results take many instructions to compute from the anchor's."""
    ops = [op for op in after_anchor(kernel) if isinstance(op, ElementwiseOp)]
    return len(ops) > 4 or any(op.function not in _LIGHT for op in ops)


def elementwise_epilogue(kernel: KernelOp, *, relayout: bool = False) -> bool:
    """Whether a kernel's one result depends on its anchor's element by element, in the layout of that or, where a
    template can `relayout`, in whatever one."""
    anchor = kernel.anchor
    if anchor is None or len(kernel.yielded) != 1:
        return False
    sums, result = anchor.results[0], kernel.yielded[0]
    after = {sums}
    for op in kernel.ops:
        if any(operand in after for operand in op.operands):
            if not isinstance(op, ElementwiseOp | CastOp | RelayoutOp):
                return False
            if shape_of(op.results[0]) != shape_of(sums):
                return False
            after.add(op.results[0])
    return result in after and (relayout or layout_of(result) == layout_of(sums))
