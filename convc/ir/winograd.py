"""Winograd's minimal filtering F(m x m, r x r): m*m outputs of an r x r window from one elementwise product.

    Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A

(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.) The matrices are those of Cook and
Toom's algorithm: evaluation of polynomials at `m + r - 2` points and at infinity. A window of r x 1 is transformed
along one axis, to A^T [ (G g) * (B^T d) ]. Where taps are dilated, the elements of a tile are as far apart.

With a stride, each remainder of inputs modulo the stride is a phase: a line of its own, which every stride-th tap goes
over at stride 1. The outputs are the sums of what the phases give, each by F(m, its taps). A phase of a single tap has
nothing to save: its inputs are taken as they are, all by the same weight. Of 3 taps at stride 2, the first and the last
are one phase: F(4, 2) makes 5 products where there were 8, and 4 are left of the other, so that a tile of 4 x 4 outputs
takes 81 products for 144, by 36 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil, prod

import numpy as np


def _pairs(*points: Fraction) -> tuple[Fraction, ...]:
    return tuple(sign * point for point in points for sign in (1, -1))


TILES = {(3, 1): (2, 4), (3, 2): (2, 4), (5, 1): (2, 4), (5, 2): (2,), (7, 1): (2,)}
"""The m that there are for a window, by its taps and along how many axes it has so many. Others come near the error
that one operation may have, or beyond (`benchmarks/winograd_error.py`): that of F(6x6, 3x3) is four times that of
F(4x4, 3x3), with the best points known."""

STRIDES = (1, 2)

POINTS = {
    3: (Fraction(0), Fraction(1)),
    4: (Fraction(0), *_pairs(Fraction(1))),
    # As near to float64 as any that were tried, and float32 holds all coefficients of B^T.
    5: _pairs(Fraction(1, 2), Fraction(5, 4)),
    # Symmetric points whose magnitudes multiply to 1: the error in float32 is 4 to 6 times smaller than that of
    # 0, 1, -1, 2, -2, and near that of direct convolution.
    6: (Fraction(0), *_pairs(Fraction(2, 3), Fraction(3, 2))),
    8: (Fraction(0), *_pairs(Fraction(1, 2), Fraction(1), Fraction(2))),
}
"""The finite points for lines of m + r - 1 inputs; +p and -p stand side by side."""

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Transforms:
    """`a` is A^T, `[m, t]`; `b` is B^T, `[t, t]`; `g` is G, `[d, r]`: place k of a line of t inputs and of products has
    the weight of row `rows[k]` of G. All exact. `phases` has the places of each phase, which follow one another: those
    are a sum over its inputs alone."""

    m: int
    r: int
    stride: int
    a: Matrix
    g: Matrix
    b: Matrix
    rows: tuple[int, ...]
    phases: tuple[range, ...]

    @property
    def t(self) -> int:
        """The side of a tile of inputs, and of products."""
        return len(self.b)

    @property
    def d(self) -> int:
        """The side of a transformed window."""
        return len(self.g)


def tiles_of(window: Sequence[int]) -> tuple[int, ...]:
    """The m that there are for a window of so many taps along each axis; for most there is none."""
    long = [taps for taps in window if taps > 1]
    return TILES.get((long[0], len(long)), ()) if len(set(long)) == 1 else ()


def can_stride(window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> bool:
    """Whether there are tiles at such strides: along axes of several taps that are not dilated alone."""
    each = zip(window, strides, dilations, strict=True)
    return all(stride in (STRIDES if taps > 1 and dilation == 1 else (1,)) for taps, stride, dilation in each)


@cache
def transforms(m: int, stride: int = 1, taps: int = 3) -> Transforms:
    """The matrices of m outputs at a stride for so many taps, with the points of this module."""
    return strided(m, taps, stride, {n: POINTS[m + n - 1] for n in range(2, taps + 1) if m + n - 1 in POINTS})


def along_axes(window: Sequence[int], strides: Sequence[int], m: int) -> tuple[Transforms, ...]:
    """Those of each axis of a window: m outputs, or as they are where it has one tap. Raises ValueError where there is
    no such m for the window."""
    if m not in tiles_of(window):
        raise ValueError(f"expected m of {', '.join(map(str, tiles_of(window))) or 'no number'} for {window}, got {m}")
    return tuple(transforms(m, stride, n) if n > 1 else ONE for n, stride in zip(window, strides, strict=True))


def window_before(sizes: Sequence[int], strides: Sequence[int], m: int) -> tuple[int, ...]:
    """The window that has these sizes when it is transformed. Raises ValueError where there is none."""
    for taps, _ in TILES:
        window = tuple(taps if size > 1 else 1 for size in sizes)
        if m in tiles_of(window) and [axis.d for axis in along_axes(window, strides, m)] == [*sizes]:
            return window
    raise ValueError(f"expected a window that is transformed for m = {m} at strides {[*strides]}, got {[*sizes]}")


def strided(m: int, r: int, stride: int, points: dict[int, Sequence[Fraction]]) -> Transforms:
    """The matrices of m outputs of r taps at a stride; a phase of several taps has the points of so many."""
    t = stride * (m - 1) + r
    a: list[list[Fraction]] = [[] for _ in range(m)]
    g: list[tuple[Fraction, ...]] = []
    b: list[tuple[Fraction, ...]] = []
    rows: list[int] = []
    phases = []
    for phase in range(min(stride, r)):
        taps = ceil((r - phase) / stride)
        own = cook_toom(m, taps, points[taps]) if taps > 1 else _as_they_are(m)
        phases.append(range(len(b), len(b) + len(own.b)))
        rows += [len(g) + row for row in own.rows]
        g += [tuple(_spread(row, phase, stride, r)) for row in own.g]
        b += [tuple(_spread(row, phase, stride, t)) for row in own.b]
        a = [line + list(more) for line, more in zip(a, own.a)]
    return Transforms(m, r, stride, tuple(map(tuple, a)), tuple(g), tuple(b), tuple(rows), tuple(phases))


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
    return Transforms(m, r, 1, a, g, b, tuple(range(t)), (range(t),))


def transformed_weight(weight: np.ndarray, m: int, strides: Sequence[int] = (1, 1)) -> np.ndarray:
    """G g G^T of each window: `[O, I, 3, 3]` to `[O, I, d, d]`, `[O, I, 3, 1]` to `[O, I, d, 1]`, and so on; computed
    in float64 and rounded once; to the last bit the same on every machine, as no library's order of sums has a part in
    it."""
    result = weight.astype(np.float64)
    for axis, how in enumerate(along_axes(weight.shape[2:], strides, m), 2):
        lines = np.moveaxis(result, axis, 0)
        rows = [[float(x) for x in row] for row in how.g]
        result = np.stack([sum(line * x for line, x in zip(lines, row)) for row in rows], axis)
    return result.astype(weight.dtype)


def _as_they_are(m: int) -> Transforms:
    """F(m, 1): as many products as outputs, by one weight."""
    one = tuple(tuple(Fraction(i == j) for j in range(m)) for i in range(m))
    return Transforms(m, 1, 1, one, ((Fraction(1),),), one, (0,) * m, (range(m),))


ONE = _as_they_are(1)
"""What an axis of one tap has: nothing to transform."""


def _spread(row: Sequence[Fraction], phase: int, stride: int, size: int) -> list[Fraction]:
    """The row with its elements `stride` apart, from `phase` on."""
    result = [Fraction(0)] * size
    for k, value in enumerate(row):
        if value:
            result[phase + k * stride] = value
    return result


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of (x - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [*(-root * c for c in coefficients), Fraction(0)]
        coefficients = [x + y for x, y in zip(shifted, scaled)]
    return coefficients
