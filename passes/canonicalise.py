"""One form for each graph: identities, constants folded, the same thing computed once, nothing computed in vain.

    x * 1 => x      f(constants) => constant      f(x), f(x) => f(x)      transpose(relu(transpose(x))) => relu(x)

The rules are in rooms of their own, each with its algebra: `identities` of elementwise functions, `movements` of data,
`sinking` of transposes, `reductions`, `constants`. They are legal always, and they pay by what they remove or by the
form they bring about, which the passes that follow look for. At the end the store lets go of weights that nothing
refers to any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.passes.common_subexpressions import merge_common_subexpressions
from convc.passes.constants import CONSTANTS
from convc.passes.identities import IDENTITIES
from convc.passes.movements import MOVEMENTS
from convc.passes.reductions import REDUCTIONS
from convc.passes.rewriting import main_block
from convc.passes.rules import RuleSet, rewrite
from convc.passes.sinking import CANCELLING, SINKING

RULES = RuleSet(CONSTANTS, IDENTITIES, MOVEMENTS, REDUCTIONS, SINKING)


def canonicalise(module: ModuleOp, context: CompilerContext) -> bool:
    """Bring @main into canonical form; whether it was not."""
    block = main_block(module)
    # Pairs of transposes that cancel go first: most of what else would be sunk one operation at a time.
    changed = rewrite(block, context, CANCELLING)
    # `|`: both, each round. Merging what is equal may leave values with a single reader, which rules wait for.
    while rewrite(block, context, RULES) | merge_common_subexpressions(block, context):
        changed = True
    context.weights.keep({op.key for op in module.walk() if isinstance(op, WeightOp)})
    return changed


@dataclass(frozen=True)
class Canonicalise(ModulePass):
    name = "canonicalise"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        canonicalise(op, ctx)
