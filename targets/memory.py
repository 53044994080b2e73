"""Where intermediate values lie: one arena, in which values that never live at the same time share memory.

Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5.2):
the largest value first, each at the lowest gap between those placed already that live at the same time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import merge

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
    occupied = _Occupied(1 + max((value.last for value in values), default=0))
    for number in sorted(range(len(values)), key=lambda n: -values[n].nbytes):
        offsets[number] = occupied.place(values[number])
    return offsets, max((offset + aligned(v.nbytes) for offset, v in zip(offsets, values)), default=0)


class _Occupied:
    """Which memory is taken when: a tree over steps, each node one half of its parent's, each leaf one step.

    `inside` is what is taken at some step of a node, `throughout` what is taken at all of them, but for what a node
    above it has. A lifetime is `throughout` a few nodes, the logarithm of the number of steps, so that neither placing
    a value nor finding its place looks at every other.
    """

    def __init__(self, steps: int) -> None:
        self.leaves = 1 << (steps - 1).bit_length()
        self.inside: dict[int, _Ranges] = defaultdict(_Ranges)
        self.throughout: dict[int, _Ranges] = defaultdict(_Ranges)

    def place(self, value: Lifetime) -> int:
        """Take the lowest gap in which a value fits; its offset."""
        whole, above = self._nodes(value)
        beside = [self.inside[node] for node in whole] + [self.throughout[node] for node in above]
        offset = _first_gap(beside, value.nbytes)
        if value.nbytes:
            for node in whole:
                self.throughout[node].add(offset, offset + aligned(value.nbytes))
            for node in (*whole, *above):
                self.inside[node].add(offset, offset + aligned(value.nbytes))
        return offset

    def _nodes(self, value: Lifetime) -> tuple[list[int], list[int]]:
        """The nodes that make up a lifetime, and all those above them. The root is 1, and the children of n are 2n and
        2n + 1."""
        low, high = value.first + self.leaves, value.last + self.leaves + 1
        whole = []
        while low < high:
            if low % 2:
                whole.append(low)
                low += 1
            if high % 2:
                high -= 1
                whole.append(high)
            low, high = low // 2, high // 2
        above = {node >> up for node in whole for up in range(1, node.bit_length())}
        return whole, sorted(above)


@dataclass
class _Ranges:
    """Ranges of memory, in order, none of which touch: their begins, and their ends."""

    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, begin: int, end: int) -> None:
        """Add a range, as one with those that it touches."""
        low, high = bisect_left(self.ends, begin), bisect_right(self.begins, end)
        if low < high:
            begin, end = min(begin, self.begins[low]), max(end, self.ends[high - 1])
        self.begins[low:high], self.ends[low:high] = [begin], [end]


def _first_gap(taken: Sequence[_Ranges], nbytes: int) -> int:
    """The lowest offset from which on so many bytes are in none of some ranges."""
    offset = 0
    for begin, end in merge(*(zip(ranges.begins, ranges.ends) for ranges in taken)):
        if offset + nbytes <= begin:
            break
        offset = max(offset, end)
    return offset
