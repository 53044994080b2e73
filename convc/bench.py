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

TURN_SECONDS = 0.02
"""How long a turn goes on, if a call is shorter. Calls of one engine follow each other, as its users make them."""

SETTLE_SECONDS, QUIET_SECONDS, QUIET = 1.0, 0.002, 0.1
"""How long to wait at the most for threads to sleep; so long they must have computed for less than this share of it."""


@dataclass(frozen=True)
class Timing:
    """Time of one call, in ms."""

    times_ms: tuple[float, ...]
    """One a round, in order: the median of a turn's calls."""

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
    """Time some calls in turn, A B A B, for about `seconds` in all: what disturbs the machine disturbs all alike.

    A turn begins once the threads of the one before sleep: those of OpenMP spin for up to 200 ms after a call, on the
    cores that the next engine is timed on. A call that is not timed wakes its own; then calls are timed.
    """
    return take_turns({name: partial(_turn, call) for name, call in calls.items()}, seconds)


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
    rounds = int(min(max(seconds / once, MIN_ROUNDS), MAX_ROUNDS))
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer())
    return {name: Timing(tuple(taken)) for name, taken in times.items()}


def _turn(call: Callable[[], object]) -> float:
    """The median time of some calls in a row, in ms."""
    _settle()
    call()
    times: list[float] = []
    end = time.perf_counter() + TURN_SECONDS
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return median(times)


def _settle() -> None:
    """Wait until no thread of this process computes."""
    end = time.perf_counter() + SETTLE_SECONDS
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(QUIET_SECONDS)
        if time.process_time() - before < QUIET * QUIET_SECONDS:
            return


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
