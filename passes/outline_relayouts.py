"""Make kernels of the layout changes that are left.

    relayout(x)  =>  kernel(x) { relayout }

Runs after `prepack-weights`; afterwards every operation of @main but weights, reshapes and the return is a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from convc.ir.data import RelayoutOp
from convc.passes.rewriting import main_block, outline


@dataclass(frozen=True)
class OutlineRelayouts(ModulePass):
    name = "outline-relayouts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for inner in list(main_block(op).ops):
            if isinstance(inner, RelayoutOp):
                assert inner.next_op is not None
                outline([inner], [inner.result], before=inner.next_op)
