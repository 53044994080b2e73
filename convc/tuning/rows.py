"""What tuning found of each kernel of a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A workload: times in us, `ratio` of the tuned to the untuned one; None where it was not measured."""

    name: str
    computes: str
    count: int
    share: float
    untuned_us: float | None
    tuned_us: float | None
    ratio: float
    template: str
    config: dict[str, int]
    candidates: int
    failed: int
