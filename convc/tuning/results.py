"""What candidates are expected to compute, and whether they did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convc.ir.layout import Layout
from convc.runtime.arrays import aligned_empty
from convc.runtime.compare import compare
from convc.tuning.findings import Failed

GUARD = 1024
"""Bytes around a result, which no kernel may write."""


@dataclass(frozen=True)
class Sample:
    """Some elements of an array of this logical shape, by their places in it as one row."""

    shape: tuple[int, ...]
    places: np.ndarray


@dataclass(frozen=True)
class Result:
    """An output: the logical array expected, or a sample of it; its layout in memory; and how far a candidate may be
    from it: as max|diff|/max|ref|, or where there are no floats, as the part of the elements that may differ."""

    expected: np.ndarray
    layout: str
    tolerance: float
    sample: Sample | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the logical array."""
        return self.sample.shape if self.sample else self.expected.shape


class Output:
    """A result in memory, between guards."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.layout = Layout.parse(result.layout) if result.layout else None
        self.shape = self.layout.physical_shape(result.shape) if self.layout else result.shape
        size = int(np.prod(self.shape)) * result.expected.dtype.itemsize
        self.memory = aligned_empty((GUARD + size + GUARD,), np.dtype(np.uint8))
        self.inside = self.memory[GUARD : GUARD + size]

    def spoil(self) -> None:
        """As floating-point numbers all bytes are NaN now."""
        self.memory[:] = 0xFF

    def check(self, name: str) -> None:
        """Raises Failed unless the memory holds what is expected, and its guards what `spoil` wrote."""
        expected, tolerance = self.result.expected, self.result.tolerance
        if min(self.memory[:GUARD].min(), self.memory[GUARD + self.inside.size :].min()) != 0xFF:
            raise Failed("wrong", f"it writes beyond {name}")
        found = self.inside.view(expected.dtype).reshape(self.shape)
        if self.layout is not None:
            logical = self.layout.unpack(found, self.result.shape)
            if not np.array_equal(self.layout.pack(logical), found, equal_nan=True):
                raise Failed("wrong", f"the padding of {name} does not hold zeros")
            found = logical
        if self.result.sample is not None:
            # What `spoil` wrote is NaN: all that was left out is seen, in the sample or not.
            if expected.dtype.kind in "fV" and np.isnan(found).any() and not np.isnan(expected).any():
                raise Failed("wrong", f"{name} holds NaN, or was not written everywhere")
            found = found.reshape(-1)[self.result.sample.places]
        difference = compare(found, expected)
        if expected.dtype.kind in "iub" and (found != expected).mean() <= tolerance:
            return
        if not difference.within(tolerance):
            error = f"max|diff|/max|ref| is {difference.error:.1e}, expected at most {tolerance:.0e}"
            raise Failed("wrong", f"{name}: {difference.problem or error}")
