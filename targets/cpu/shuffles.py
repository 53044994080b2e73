"""Vectors rearranged in registers, as TIR shuffles that LLVM turns into the target's instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

Name = Callable[[Any], Any]
"""Gives a vector a name, so that it is computed once."""


def shuffle(vectors: Sequence[Any], lanes: Sequence[int]) -> Any:
    """Lanes of the vectors put end to end."""
    return tirx.Shuffle(list(vectors), [tirx.IntImm("int32", lane) for lane in lanes])


def transpose(rows: Sequence[Any], name: Name) -> list[Any]:
    """A square of n vectors of n lanes, n a power of two, in n log2(n) shuffles: stage k exchanges bit k of the row
    with bit k of the lane (Eklundh, 1972)."""
    n = len(rows)
    found = list(rows)
    bit = 1
    while bit < n:
        for i in (i for i in range(n) if not i & bit):
            a, b = found[i], found[i | bit]
            found[i] = name(shuffle([a, b], [lane if not lane & bit else n + (lane ^ bit) for lane in range(n)]))
            found[i | bit] = name(shuffle([a, b], [lane | bit if not lane & bit else n + lane for lane in range(n)]))
        bit *= 2
    return found


def interleave(rows: Sequence[Any], lanes: int) -> list[Any]:
    """Vectors a, b ... as a0 b0 ... a1 b1 ...: as many vectors as came in."""
    count = len(rows)
    places = [(at % count) * lanes + at // count for at in range(count * lanes)]
    return [shuffle(rows, places[i * lanes : (i + 1) * lanes]) for i in range(count)]
