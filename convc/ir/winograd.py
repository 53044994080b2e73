"""Winograd's minimal filtering F(m x m, r x r): m*m outputs of an r x r window from one elementwise product.

    Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A

(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.) The matrices are those of Cook and
Toom's algorithm: evaluation of polynomials at `m + r - 2` points and at infinity. A window of r x 1 is transformed
along one axis, to A^T [ (G g) * (B^T d) ]. Where taps are dilated, the elements of a tile are as far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np

POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    # Symmetric points whose magnitudes multiply to 1: the error in float32 is 4 to 6 times smaller than that of
    # 0, 1, -1, 2, -2, and near that of direct convolution.
    4: (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
}
"""The finite points for each m, for windows of 3; those after 0 come in pairs +p, -p.

There is no m = 6: with the best points known its error is four times that of m = 4, more than one operation may have
(`benchmarks/winograd_error.py` measures it)."""

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Transforms:
    """`a` is A^T, `[m, t]`; `g` is G, `[t, r]`; `b` is B^T, `[t, t]`; t = m + r - 1. All exact."""

    m: int
    r: int
    a: Matrix
    g: Matrix
    b: Matrix

    @property
    def t(self) -> int:
        """The side of a tile of inputs, and of products."""
        return self.m + self.r - 1


ONE = Transforms(1, 1, *([((Fraction(1),),)] * 3))
"""What an axis of one tap has: nothing to transform."""


@cache
def transforms(m: int) -> Transforms:
    """The matrices of F(m, 3) with the points of this module."""
    return cook_toom(m, 3, POINTS[m])


def along_axes(sizes: Sequence[int], m: int) -> tuple[Transforms, ...]:
    """Those of each axis of a transformed window: F(m, 3), or none where it has one tap."""
    return tuple(transforms(m) if size > 1 else ONE for size in sizes)


def cook_toom(m: int, r: int, points: Sequence[Fraction]) -> Transforms:
    """The matrices of F(m, r) with m + r - 2 finite points. Rows of B^T are polynomials with leading coefficient 1, so
    that no input is scaled."""
    t = m + r - 1
    a = tuple(tuple([p**j for p in points] + [Fraction(j == m - 1)]) for j in range(m))
    norms = [prod((p - other for other in points if other != p), start=Fraction(1)) for p in points]
    g = tuple(tuple(p**k / norm for k in range(r)) for p, norm in zip(points, norms))
    g += (tuple(Fraction(k == r - 1) for k in range(r)),)
    rows = [_polynomial([other for other in points if other != p]) for p in points] + [_polynomial(points)]
    b = tuple(tuple(row + [Fraction(0)] * (t - len(row))) for row in rows)
    return Transforms(m, r, a, g, b)


def transformed_weight(weight: np.ndarray, m: int) -> np.ndarray:
    """G g G^T of each window: `[O, I, 3, 3]` to `[O, I, t, t]`, `[O, I, 3, 1]` to `[O, I, t, 1]`; computed in float64
    and rounded once; to the last bit the same on every machine, as no library's order of sums has a part in it."""
    g = [[float(x) for x in row] for row in transforms(m).g]

    def along(axis: int, windows: np.ndarray) -> np.ndarray:
        lines = np.moveaxis(windows, axis, 0)
        return np.stack([sum(line * x for line, x in zip(lines, row)) for row in g], axis)

    result = weight.astype(np.float64)
    for axis in range(2, weight.ndim):
        result = along(axis, result) if weight.shape[axis] > 1 else result
    return result.astype(weight.dtype)


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of (x - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [*(-root * c for c in coefficients), Fraction(0)]
        coefficients = [x + y for x, y in zip(shifted, scaled)]
    return coefficients
