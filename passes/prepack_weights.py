"""Lay out weights at compile time.

    relayout(weight @w) : NCHW -> OIHW8i8o  =>  weight @w.OIHW8i8o

Always legal, weights being known, and always pays: the alternative is to do it at every inference. The store then
holds the array as it lies in memory, padding included.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of, with_layout
from convc.ir.data import RelayoutOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.passes.rewriting import erase_dead, main_block


@dataclass(frozen=True)
class PrepackWeights(ModulePass):
    name = "prepack-weights"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        block = main_block(op)
        packed: dict[tuple[str, str], str] = {}
        for relayout in [inner for inner in block.ops if isinstance(inner, RelayoutOp)]:
            weight, layout = relayout.x.owner, layout_of(relayout.result)
            if not isinstance(weight, WeightOp) or layout is None:
                continue
            key = (weight.key, str(layout))
            if key not in packed:
                packed[key] = ctx.weights.add(layout.pack(ctx.weights[weight.key]), f"{weight.key}.{layout}")
            new = WeightOp(packed[key], with_layout(relayout.x.type, layout))
            block.insert_op_before(new, relayout)
            relayout.result.replace_all_uses_with(new.result)
        erase_dead(block)
