#!/usr/bin/env python3
"""How far Winograd's algorithm in float32 is from float64, for 3 x 3 windows, by m, stride and points.

    python benchmarks/winograd_error.py [--channels 256] [--tiles 200]

Inputs are what a ReLU leaves of normal numbers, weights are normal; every sum is made one product after another, as a
kernel does. Errors are relative to the largest output. One operation of convc may be off by 1e-5.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from convc.ir.winograd import POINTS, Matrix, Transforms, strided

OUTPUTS = 32


def pairs(*points: str) -> tuple[Fraction, ...]:
    """0 and +p, -p for each of some fractions."""
    return (Fraction(0), *(sign * Fraction(p) for p in points for sign in (1, -1)))


TRIED = [
    *((m, taps, points) for (m, taps), points in POINTS.items()),
    (4, 3, pairs("1", "2")),
    *((6, 3, pairs(*points)) for points in (("1", "2", "1/2"), ("3/5", "1", "5/3"), ("2/3", "1", "3/2"))),
    *((6, 3, pairs(*points)) for points in (("1/2", "1", "3/2"), ("2/5", "1", "5/2"), ("1/2", "5/6", "8/5"))),
    *((6, 3, pairs(*points)) for points in (("1/2", "7/8", "7/4"), ("3/7", "6/7", "13/8"), ("2/5", "4/5", "7/5"))),
    (2, 2, pairs("1")[1:]),
    *((4, 2, pairs(*points)[1:]) for points in (("1", "2"), ("2/3", "3/2"), ("1/2", "1"), ("2/5", "5/4"))),
    (4, 2, (*pairs("1"), Fraction(2))),
]
"""m, taps and points: of a line of 3 taps at stride 1, or of the 2 that are a phase of it at stride 2."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--tiles", type=int, default=200)
    arguments = parser.parse_args()
    print("| m | stride | points | largest error | root mean square |\n|---|---|---|---|---|")
    for m, taps, points in TRIED:
        stride = 4 - taps
        found = strided(m, 3, stride, {taps: points})
        largest, mean = errors(found, arguments.channels, arguments.tiles)
        print(f"| {m} | {stride} | {' '.join(map(str, points))} | {largest:.1e} | {mean:.1e} |", flush=True)


def errors(found: Transforms, channels: int, tiles: int) -> tuple[float, float]:
    """The largest and the root mean square of the errors of some tiles' outputs."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((tiles, channels, found.t, found.t)), 0).astype(np.float32)
    w = rng.standard_normal((OUTPUTS, channels, 3, 3)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    windows = windows[:, :, :: found.stride, :: found.stride]
    exact = np.einsum("ncxyij,ocij->noxy", windows, w.astype(np.float64), optimize=True)

    g = np.array(found.g, dtype=np.float64)
    u = np.einsum("xi,ocij,yj->ocxy", g, w.astype(np.float64), g, optimize=True).astype(np.float32)
    v = applied(found.b, applied(found.b, x, 2), 3)
    products = np.zeros((tiles, OUTPUTS, found.t, found.t), np.float32)
    u = u[:, :, found.rows][..., found.rows]
    for c in range(channels):
        products += v[:, None, c] * u[None, :, c]
    off = applied(found.a, applied(found.a, products, 2), 3) - exact
    return float(np.abs(off).max() / np.abs(exact).max()), float(np.sqrt((off**2).mean()) / np.abs(exact).max())


def applied(matrix: Matrix, x: np.ndarray, axis: int) -> np.ndarray:
    """matrix * x along an axis, each sum in order."""
    parts = np.moveaxis(x, axis, 0)
    rows = [total([np.float32(c) * part for c, part in zip(row, parts, strict=True) if c]) for row in matrix]
    return np.moveaxis(np.stack(rows), 0, axis)


def total(terms: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of some arrays, one after another."""
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


if __name__ == "__main__":
    main()
