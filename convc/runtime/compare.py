"""How far an array lies from its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convc.notation import shape_text


@dataclass(frozen=True)
class Difference:
    """`error` is max|got - expected| / max|expected| over the finite elements; `problem` says in words what no
    number can: another shape, another element type, NaN or infinity in other places."""

    error: float
    problem: str = ""

    def within(self, tolerance: float) -> bool:
        return not self.problem and self.error <= tolerance


def compare(got: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare an array with its reference. Integers and booleans must be equal (`error` is 0 or infinite)."""
    if got.shape != expected.shape:
        return Difference(np.inf, f"expected shape {shape_text(expected.shape)}, got {shape_text(got.shape)}")
    if got.dtype != expected.dtype:
        return Difference(np.inf, f"expected {expected.dtype}, got {got.dtype}")
    if expected.dtype.kind in "iub":
        unequal = int((got != expected).sum())
        return Difference(np.inf, f"{unequal} of {expected.size} elements differ") if unequal else Difference(0.0)
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    for what, test in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        if (wrong := int((test(got) != test(expected)).sum())) > 0:
            return Difference(np.inf, f"{what} at other places: {wrong} of {expected.size} elements differ")
    finite = np.isfinite(expected)
    a, b = got[finite], expected[finite]
    difference, scale = np.abs(a - b).max(initial=0.0), np.abs(b).max(initial=0.0)
    return Difference(0.0 if difference == 0 else float(difference / scale) if scale else np.inf)
