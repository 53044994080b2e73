"""Timing networks side by side: interleaved, pinned, warmed up; medians and minima."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

WARM_UP_SECONDS = 0.3
MIN_ROUNDS, MAX_ROUNDS = 5, 1000


@dataclass(frozen=True)
class Timing:
    """Time of one call, in ms."""

    times_ms: tuple[float, ...]
    """One a round, in order."""

    @property
    def median_ms(self) -> float:
        return median(self.times_ms)

    @property
    def min_ms(self) -> float:
        return min(self.times_ms)

    @property
    def runs(self) -> int:
        return len(self.times_ms)

    def ratio_to(self, other: Timing) -> float:
        """The median of the ratios of times in the same round: what slows the machine for a while cancels out."""
        return median(ours / theirs for ours, theirs in zip(self.times_ms, other.times_ms, strict=True))


def interleave(calls: Mapping[str, Callable[[], object]], seconds: float = 5.0) -> dict[str, Timing]:
    """Time some calls in turn, A B A B, for about `seconds` in all: what disturbs the machine disturbs all alike."""
    return take_turns({name: partial(_wall_clock, call) for name, call in calls.items()}, seconds)


def take_turns(timers: Mapping[str, Callable[[], float]], seconds: float = 5.0) -> dict[str, Timing]:
    """The same for calls that take their own time, by another clock than this machine's, and return it in ms."""
    once = 0.0
    for timer in timers.values():
        start = time.perf_counter()
        timer()
        while time.perf_counter() - start < WARM_UP_SECONDS:
            timer()
        begin = time.perf_counter()
        timer()
        once += time.perf_counter() - begin
    rounds = min(max(int(seconds / once), MIN_ROUNDS), MAX_ROUNDS)
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer())
    return {name: Timing(tuple(taken)) for name, taken in times.items()}


def _wall_clock(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


@contextmanager
def pinned(cores: int) -> Iterator[tuple[int, ...]]:
    """Keep this process, and the threads that it starts meanwhile, on its first `cores` cores; their numbers.

    Where the system cannot pin (macOS) nothing is pinned, and the tuple is empty.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    chosen = tuple(sorted(before)[:cores])
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)
