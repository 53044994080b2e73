#!/usr/bin/env python3
"""How far Winograd's algorithm in float32 is from float64, by m, window, stride and points.

    python benchmarks/winograd_error.py [--channels 256] [--tiles 200]

Inputs are what a ReLU leaves of normal numbers, weights are normal; every sum is made one product after another, as a
kernel does. Errors are relative to the largest output. One operation of convc may be off by 1e-5.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import numpy as np

from convc.ir.winograd import POINTS, STRIDES, TILES, Matrix, Transforms, strided

OUTPUTS = 32


def pairs(*points: str) -> tuple[Fraction, ...]:
    """+p, -p for each of some fractions."""
    return tuple(sign * Fraction(p) for p in points for sign in (1, -1))


def with_0(*points: str) -> tuple[Fraction, ...]:
    """0 as well."""
    return (Fraction(0), *pairs(*points))


ROWS = [(m, taps, axes, stride) for (taps, axes), tiles in TILES.items() for m in tiles for stride in STRIDES]
"""What convc has: outputs along an axis, taps, how many axes, stride."""

OTHERS = [
    (4, 3, 2, 1, with_0("1", "2")),
    *((6, 3, 2, 1, with_0(*points)) for points in (("1", "2", "1/2"), ("3/5", "1", "5/3"), ("2/3", "1", "3/2"))),
    *((6, 3, 2, 1, with_0(*points)) for points in (("1/2", "1", "3/2"), ("2/5", "1", "5/2"), ("1/2", "5/6", "8/5"))),
    (2, 3, 2, 2, pairs("1")),
    *((4, 3, 2, 2, pairs(*points)) for points in (("1", "2"), ("2/3", "3/2"), ("1/2", "1"), ("2/5", "5/4"))),
    *((2, 5, 2, 1, with_0(*points)) for points in (("1", "2"), ("1/2", "5/4"), ("3/4", "5/4"))),
    *((4, 5, axes, 1, with_0("1/2", "1", "2")) for axes in (1, 2)),
    *((2, 7, axes, 1, with_0(*points)) for axes in (1, 2) for points in (("1/2", "1", "3/2"), ("3/5", "1", "5/3"))),
]
"""The same with other points, for the longest phase."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--tiles", type=int, default=200)
    arguments = parser.parse_args()
    print("| m | window | stride | points | largest error | root mean square |\n|---|---|---|---|---|---|")
    for m, taps, axes, stride, *other in [*ROWS, *OTHERS]:
        longest = ceil(taps / stride)
        points = {n: POINTS[m + n - 1] for n in range(2, longest + 1) if m + n - 1 in POINTS}
        points.update((longest, each) for each in other)
        found = strided(m, taps, stride, points)
        largest, mean = errors(found, axes, arguments.channels, arguments.tiles)
        window, names = " x ".join([str(taps)] * axes), " ".join(map(str, points[longest]))
        print(f"| {m} | {window} | {stride} | {names} | {largest:.1e} | {mean:.1e} |", flush=True)


def errors(found: Transforms, axes: int, channels: int, tiles: int) -> tuple[float, float]:
    """The largest and the root mean square of the errors of some tiles' outputs, along one axis or two."""
    rng = np.random.default_rng(0)
    spatial = range(2, 2 + axes)
    x = np.maximum(rng.standard_normal((tiles, channels, *[found.t] * axes)), 0).astype(np.float32)
    w = rng.standard_normal((OUTPUTS, channels, *[found.r] * axes)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (found.r,) * axes, axis=tuple(spatial))
    windows = windows[(..., *[slice(None, None, found.stride)] * axes, *[slice(None)] * axes)]
    exact = np.einsum("nc...k,ock->no...", windows.reshape(*windows.shape[: 2 + axes], -1), w.reshape(*w.shape[:2], -1))

    u = w.astype(np.float64)
    for axis in spatial:
        u = np.moveaxis(np.tensordot(np.array(found.g, dtype=np.float64), u, (1, axis)), 0, axis)
    u, v = u.astype(np.float32), x
    for axis in spatial:
        u, v = u.take(found.rows, axis), applied(found.b, v, axis)
    products = np.zeros((tiles, *u.shape[:1], *u.shape[2:]), np.float32)
    for c in range(channels):
        products += v[:, None, c] * u[None, :, c]
    for axis in spatial:
        products = applied(found.a, products, axis)
    off = products - exact
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
