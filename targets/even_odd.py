"""Products of the matrices of Winograd's algorithm (`convc.ir.winograd`) with vectors in registers.

Points come in pairs +p and -p, so rows of B^T come in pairs too: one has the sum and one the difference of the same
two parts, the even powers and the odd ones. Columns of A^T likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import tvm.script.ir_builder.tirx as T


def even_odd_rows(matrix: Sequence[Sequence[Fraction]], x: Sequence[Any]) -> list[Any]:
    """matrix * x, where rows 2k+1 and 2k+2 differ in the signs of their odd columns."""
    rows = [T.bind(_sum(matrix[0], x))]
    for row in matrix[1:-1:2]:
        even = T.bind(_sum([c if k % 2 == 0 else Fraction(0) for k, c in enumerate(row)], x))
        odd = T.bind(_sum([c if k % 2 else Fraction(0) for k, c in enumerate(row)], x))
        rows += [T.bind(even + odd), T.bind(even - odd)]
    return [*rows, T.bind(_sum(matrix[-1], x))]


def even_odd_columns(matrix: Sequence[Sequence[Fraction]], x: Sequence[Any]) -> list[Any]:
    """matrix * x, where columns 2k+1 and 2k+2 differ in the signs of their odd rows."""
    sums = [T.bind(x[k] + x[k + 1]) for k in range(1, len(x) - 1, 2)]
    differences = [T.bind(x[k] - x[k + 1]) for k in range(1, len(x) - 1, 2)]
    results = []
    for j, row in enumerate(matrix):
        pairs = sums if j % 2 == 0 else differences
        results.append(T.bind(_sum([row[0], *row[1:-1:2], row[-1]], [x[0], *pairs, x[-1]])))
    return results


def _sum(coefficients: Sequence[Fraction], x: Sequence[Any]) -> Any:
    """A linear combination; terms without a factor come first, so that all others are multiply-adds."""
    terms = sorted((c for c in enumerate(coefficients) if c[1]), key=lambda term: abs(term[1]) != 1)
    total = None
    for k, c in terms:
        if total is None:
            total = x[k] if c == 1 else x[k] * _constant(c, x[k])
        else:
            total = total + x[k] if c == 1 else total - x[k] if c == -1 else total + x[k] * _constant(c, x[k])
    return total


def _constant(value: Fraction, like: Any) -> Any:
    return T.Broadcast(T.float32(float(value)), like.ty.dtype.lanes)
