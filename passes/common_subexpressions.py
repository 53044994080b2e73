"""Compute the same thing once.

    f(x), f(x)  =>  f(x)

Operations of one class with the same operands and properties are one; so are weights that hold equal arrays. Always
legal, since nothing in the dialect has an effect, and always pays.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from xdsl.ir import Attribute, Block, Operation

from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.elementwise import ElementwiseOp


def merge_common_subexpressions(block: Block, context: CompilerContext) -> bool:
    """Whether there were any. Operations that come first stay."""
    seen: dict[Hashable, Operation] = {}
    names = _Names(context)
    changed = False
    for op in list(block.ops):
        if op.regions or not op.results:
            continue
        properties: Hashable = names.first(op) if isinstance(op, WeightOp) else _sorted(op.properties)
        operands: Hashable = tuple(op.operands)
        if isinstance(op, ElementwiseOp) and op.spec.commutative:
            operands = frozenset(op.operands)
        key = (type(op), operands, properties, _sorted(op.attributes), tuple(result.type for result in op.results))
        first = seen.setdefault(key, op)
        if first is not op:
            for result, other in zip(op.results, first.results, strict=True):
                result.replace_all_uses_with(other)
            block.erase_op(op)
            changed = True
    return changed


def _sorted(attributes: Mapping[str, Attribute]) -> Hashable:
    return tuple(sorted(attributes.items()))


class _Names:
    """The first of the names under which the store holds equal arrays."""

    def __init__(self, context: CompilerContext) -> None:
        self.context = context
        self.candidates: dict[Hashable, list[str]] = {}

    def first(self, op: WeightOp) -> str:
        array = self.context.weights.get(op.key)
        if array is None:
            return op.key
        # A few elements tell most arrays apart; only those that agree in them are compared.
        sample = tuple(array.item(i) for i in range(0, array.size, array.size // 16 + 1))
        candidates = self.candidates.setdefault((array.shape, array.dtype.str, sample), [])
        for name in candidates:
            if name == op.key or _same(self.context.weights[name], array):
                return name
        candidates.append(op.key)
        return op.key


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether arrays of one shape and type hold the same numbers, the signs of zeros included."""
    return np.array_equal(a, b) and (a.dtype.kind != "f" or np.array_equal(np.signbit(a), np.signbit(b)))
