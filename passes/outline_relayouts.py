"""Make kernels of the layout changes that are left, or put them into the kernels before them.

    relayout(x)                  =>  kernel(x) { relayout }
    relayout(kernel(x) { f })    =>  kernel(x) { f, relayout }     where f is injective and has no other reader

Runs after `prepack-weights`; afterwards every operation of @main but weights, reshapes and the return is a kernel. The
second rule saves a trip to memory; a kernel around an anchor keeps its layout, which its schedule has chosen, and one
of nothing but movements may yet become a view.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of
from convc.ir.data import CastOp, RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp, YieldOp
from convc.passes.rewriting import main_block, outline, parent_of, set_type, users


@dataclass(frozen=True)
class OutlineRelayouts(ModulePass):
    name = "outline-relayouts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for inner in list(main_block(op).ops):
            if not isinstance(inner, RelayoutOp):
                continue
            if (kernel := _computed_for(inner)) is not None:
                _append(kernel, inner)
            else:
                assert inner.next_op is not None
                outline([inner], [inner.result], before=inner.next_op)


def can_change_layout(kernel: KernelOp) -> bool:
    """Whether a kernel that computes its one result element by element can write it in another layout."""
    computes = any(isinstance(op, CastOp | ElementwiseOp) for op in kernel.ops)
    return kernel.anchor is None and len(kernel.outputs) == 1 and computes


def _computed_for(relayout: RelayoutOp) -> KernelOp | None:
    """The kernel that computes a value for this change of layout alone, and can do both."""
    kernel = relayout.x.owner
    if not isinstance(kernel, KernelOp) or len(users(relayout.x)) != 1:
        return None
    return kernel if can_change_layout(kernel) else None


def _append(kernel: KernelOp, relayout: RelayoutOp) -> None:
    last = kernel.block.last_op
    assert isinstance(last, YieldOp)
    inner = RelayoutOp(last.operands[0], layout_of(relayout.result))
    kernel.block.insert_op_before(inner, last)
    last.operands[0] = inner.result
    set_type(kernel.outputs[0], inner.result.type)
    relayout.result.replace_all_uses_with(kernel.outputs[0])
    parent_of(relayout).erase_op(relayout)
