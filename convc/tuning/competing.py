"""Time candidates in turn.

Timing is by comparison. Candidates take turns, A B C A B C, and what counts is the ratio of a candidate's time to the
incumbent's in the same round: the speed of a machine may change by a third from moment to moment, but does so for
both. Clear losers leave early, so that most rounds are spent on those that are close (successive halving: Karnin,
Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Protocol

from convc.tuning.findings import Failed, Finding

_STAGES = ((4, 1.3, 8), (8, 1.08, 4), (16, 1.03, 2), (24, 1.0, 1))
"""Rounds, then which candidates go on: those within this factor of the fastest, and no more than so many, beside the
incumbent."""
_STAGE_SECONDS = 2.0  # at the most, for kernels that take long
_FEWEST_ROUNDS = 3


class Course(Protocol):
    """What candidates are checked and timed on."""

    def check(self, candidate: int) -> None:
        """Raises Failed if a candidate does not compute what is expected."""

    def calls_of_a_sample(self, candidate: int) -> int:
        """How many calls take long enough to be timed together."""

    def sample(self, candidate: int, calls: int) -> float:
        """The mean time of some calls, in ns."""


def right_ones(course: Course, candidates: list[int], report: Callable[[Finding], None]) -> list[int]:
    """Those of some candidates that compute what is expected; what became of the others is reported."""
    right = []
    for candidate in candidates:
        try:
            course.check(candidate)
            right.append(candidate)
        except Failed as failed:
            report(Finding(candidate, failed.outcome, why=str(failed)))
    return right


def compete(course: Course, candidates: list[int], incumbent: int, incumbent_ns: float) -> list[Finding]:
    """Time candidates in turn until those are left that are close to the fastest. A time is the incumbent's, times a
    ratio; where that is not among them, or not known yet (0), it is that of the first, as it was in the median."""
    base = incumbent if incumbent in candidates else candidates[0]
    calls = {candidate: course.calls_of_a_sample(candidate) for candidate in candidates}
    rounds: list[dict[int, float]] = []
    alive = candidates
    for count, factor, most in _STAGES:
        begin = time.monotonic()
        for done in range(count):
            if done >= _FEWEST_ROUNDS and time.monotonic() - begin > _STAGE_SECONDS:
                break
            first = done % len(alive)
            rounds.append({each: course.sample(each, calls[each]) for each in (*alive[first:], *alive[:first])})
        ratios = {candidate: _ratio(rounds, candidate, base) for candidate in alive}
        ranked = sorted(alive, key=ratios.__getitem__)
        alive = [base, *(each for each in ranked[:most] if each != base and ratios[each] <= factor * ratios[ranked[0]])]
        if len(alive) == 1:
            break
    # Those that left early were slower than the fastest in the rounds that both were in; the incumbent's time in those
    # few rounds may have been any.
    best = ranked[0]
    base_ns = incumbent_ns if base == incumbent else 0.0
    best_ns = (base_ns or median(times[base] for times in rounds)) * _ratio(rounds, best, base)
    return [
        Finding(each, "ok", best_ns * _ratio(rounds, each, best), sum(each in times for times in rounds))
        for each in candidates
    ]


def _ratio(rounds: list[dict[int, float]], candidate: int, other: int) -> float:
    """The median of the ratios of two candidates' times, over the rounds that both were in."""
    return median(times[candidate] / times[other] for times in rounds if candidate in times and other in times)
