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
    """matrix * x, where what neighbouring rows have in common but for signs is computed once."""
    results: list[Any] = []
    for k, row in enumerate(matrix):
        if len(results) > k:
            continue
        sign = _mirrored(row, matrix[k + 1]) if k + 1 < len(matrix) else 0
        if not sign:
            results.append(T.bind(_sum(row, x)))
            continue
        even = T.bind(_sum([c if i % 2 == 0 else Fraction(0) for i, c in enumerate(row)], x))
        odd = T.bind(_sum([c if i % 2 else Fraction(0) for i, c in enumerate(row)], x))
        results += [T.bind(even + odd), T.bind(even - odd if sign > 0 else odd - even)]
    return results


def even_odd_columns(matrix: Sequence[Sequence[Fraction]], x: Sequence[Any]) -> list[Any]:
    """matrix * x, where neighbouring columns that are the same but for signs are added and subtracted first."""
    columns = list(zip(*matrix, strict=True))
    firsts = [k for k in range(len(columns) - 1) if _mirrored(columns[k], columns[k + 1])]
    sums = {k: T.bind(x[k] + x[k + 1]) for k in firsts}
    differences = {k: T.bind(x[k] - x[k + 1]) for k in firsts}
    kept = [k for k in range(len(columns)) if k - 1 not in firsts]
    results = []
    for j, row in enumerate(matrix):
        pairs = sums if j % 2 == 0 else differences
        results.append(T.bind(_sum([row[k] for k in kept], [pairs.get(k, x[k]) for k in kept])))
    return results


def _mirrored(line: Sequence[Fraction], other: Sequence[Fraction]) -> int:
    """1 where the other line has the odd elements of one negated, -1 where it has the even ones; 0 for any other, and
    where there are only even or only odd ones."""
    if not any(line[::2]) or not any(line[1::2]):
        return 0
    flipped = [-c if k % 2 else c for k, c in enumerate(line)]
    return 1 if list(other) == flipped else -1 if list(other) == [-c for c in flipped] else 0


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
