"""Where intermediate values lie: one arena, in which values that never live at the same time share memory.

Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2):
the largest value first, each at the lowest gap between those placed already that live at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.ir.views import ALIGNMENT


@dataclass(frozen=True)
class Lifetime:
    """A value of so many bytes, written at step `first` and read last at step `last`."""

    nbytes: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def aligned(nbytes: int) -> int:
    """The bytes that a value takes up in an arena."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def plan(values: Sequence[Lifetime]) -> tuple[list[int], int]:
    """The offset of each value in the arena, and the arena's size, in bytes."""
    offsets = [0] * len(values)
    placed: list[int] = []
    for number in sorted(range(len(values)), key=lambda n: -values[n].nbytes):
        beside = sorted((n for n in placed if values[n].overlaps(values[number])), key=offsets.__getitem__)
        offset = 0
        for other in beside:
            if offset + values[number].nbytes <= offsets[other]:
                break
            offset = max(offset, offsets[other] + aligned(values[other].nbytes))
        offsets[number] = offset
        placed.append(number)
    return offsets, max((offset + aligned(v.nbytes) for offset, v in zip(offsets, values)), default=0)
