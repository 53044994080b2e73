"""Run, check and time the candidates of a job, in the process that this is called in: it may not survive.

Timing is by comparison. Candidates take turns, A B C A B C, and what counts is the ratio of a candidate's time to the
incumbent's in the same round: the speed of a machine may change by a third from moment to moment, but does so for
both. Clear losers leave early, so that most rounds are spent on those that are close (successive halving: Karnin,
Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013).

On one thread, the time that other processes have of the core does not count.

Weights are cold, as in a network that reads many others between two calls: each call reads the next of many copies.
Activations are warm: the kernel before has just written them.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from convc.bench import pinned
from convc.ir.layout import Layout
from convc.runtime.arrays import aligned_empty, arena
from convc.runtime.cpu import Call
from convc.targets.measurements import Outcome
from convc.tuning.job import Finding, Job
from convc.tuning.problem import Result
from convc.verify.compare import compare

GUARD = 256
"""Bytes around a result, which no kernel may write."""
_SAMPLE_NS = 200_000  # a sample is as many calls as take so long: the clock and the call itself then cost under 1 %
_MOST_CALLS = 64
_STAGES = ((4, 1.3, 8), (8, 1.08, 4), (16, 1.03, 2), (24, 1.0, 1))
"""Rounds, then which candidates go on: those within this factor of the fastest, and no more than so many, beside the
incumbent."""
_STAGE_SECONDS = 2.0  # at the most, for kernels that take long
_FEWEST_ROUNDS = 3
RUNNING, SINCE = range(2)
"""What a process writes down while it works: the candidate that runs, or ran last, and since when, by the monotonic
clock in ns, 0 if it has returned."""


class Failed(Exception):
    """A candidate that is not to be timed, and why."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome: Outcome = outcome


def measure(
    job: Job, library: Path, candidates: list[int], beat: memoryview[int], report: Callable[[Finding], None]
) -> None:
    """Report what becomes of some candidates of a job: failures at once, times when all are known."""
    with pinned(job.threads):
        bench = Bench(job, library, beat)
        right = []
        for candidate in candidates:
            try:
                bench.check(candidate)
                right.append(candidate)
            except Failed as failed:
                report(Finding(candidate, failed.outcome, why=str(failed)))
        if right:
            for finding in compete(bench, right):
                report(finding)


def compete(bench: Bench, candidates: list[int]) -> list[Finding]:
    """Time candidates in turn until those are left that are close to the fastest. A time is the incumbent's, times a
    ratio; where that is not among them, or not known yet, it is that of the first, as it was in the median."""
    job = bench.job
    base = job.incumbent if job.incumbent in candidates else candidates[0]
    calls = {candidate: bench.calls_of_a_sample(candidate) for candidate in candidates}
    rounds: list[dict[int, float]] = []
    alive = candidates
    for count, factor, most in _STAGES:
        begin = time.monotonic()
        for done in range(count):
            if done >= _FEWEST_ROUNDS and time.monotonic() - begin > _STAGE_SECONDS:
                break
            first = done % len(alive)
            rounds.append({each: bench.sample(each, calls[each]) for each in (*alive[first:], *alive[:first])})
        ratios = {candidate: _ratio(rounds, candidate, base) for candidate in alive}
        ranked = sorted(alive, key=ratios.__getitem__)
        alive = [base, *(each for each in ranked[:most] if each != base and ratios[each] <= factor * ratios[ranked[0]])]
        if len(alive) == 1:
            break
    # Those that left early were slower than the fastest in the rounds that both were in; the incumbent's time in those
    # few rounds may have been any.
    best = ranked[0]
    base_ns = job.incumbent_ns if base == job.incumbent else 0.0
    best_ns = (base_ns or median(times[base] for times in rounds)) * _ratio(rounds, best, base)
    return [
        Finding(each, "ok", best_ns * _ratio(rounds, each, best), sum(each in times for times in rounds))
        for each in candidates
    ]


def _ratio(rounds: list[dict[int, float]], candidate: int, other: int) -> float:
    """The median of the ratios of two candidates' times, over the rounds that both were in."""
    return median(times[candidate] / times[other] for times in rounds if candidate in times and other in times)


class Bench:
    """A job's library with memory for what its candidates read and write."""

    def __init__(self, job: Job, library: Path, beat: memoryview[int]) -> None:
        self.job, self.beat = job, beat
        self.library = ctypes.CDLL(str(library.resolve()))
        self.inputs = [_copied(array) for array in job.problem.inputs]
        self.outputs = [_Output(result) for result in job.problem.results]
        self.weights = {form: Copies(job.problem.weights[form], job.cold_bytes) for form in set(job.forms)}
        self.nanoseconds = ctypes.c_int64()
        pointers = [(ctypes.c_void_p * max(len(each), 1)) for each in (self.inputs, self.outputs)]
        self.call = Call(
            pointers[0](*(array.ctypes.data for array in self.inputs)),
            pointers[1](*(output.inside.ctypes.data for output in self.outputs)),
            None,
            None,
            ctypes.pointer(self.nanoseconds),
            job.threads,
        )

    def run(self, candidate: int) -> int:
        """Call a candidate once; the time it took, in ns: by the clock, or of the processor if that is less, because
        other processes ran meanwhile."""
        self.call.weights = self.weights[self.job.forms[candidate]].following()
        self.beat[RUNNING], self.beat[SINCE] = candidate, time.monotonic_ns()
        begin = time.thread_time_ns()
        status = getattr(self.library, f"convc_run_{candidate}")(ctypes.byref(self.call))
        used = time.thread_time_ns() - begin
        self.beat[SINCE] = 0
        if status:
            raise Failed("crashed", "it got no scratch memory")
        return min(self.nanoseconds.value, used) if self.job.threads == 1 else self.nanoseconds.value

    def check(self, candidate: int) -> None:
        """Raises Failed if a candidate does not compute what is expected, or writes elsewhere."""
        for output in self.outputs:
            output.spoil()
        self.run(candidate)
        for number, output in enumerate(self.outputs):
            output.check(f"result {number}" if len(self.outputs) > 1 else "the result")
        for array, before in zip(self.inputs, self.job.problem.inputs):
            if not np.array_equal(array, before):
                np.copyto(array, before)
                raise Failed("wrong", "it writes into its operands")

    def sample(self, candidate: int, calls: int) -> float:
        """The mean time of some calls, in ns."""
        return sum(self.run(candidate) for _ in range(calls)) / calls

    def calls_of_a_sample(self, candidate: int) -> int:
        return min(max(int(_SAMPLE_NS / max(self.run(candidate), 1)), 1), _MOST_CALLS)


class _Output:
    """A result in memory, between guards."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.layout = Layout.parse(result.layout) if result.layout else None
        expected = result.expected
        self.shape = self.layout.physical_shape(expected.shape) if self.layout else expected.shape
        size = int(np.prod(self.shape)) * expected.dtype.itemsize
        self.memory = aligned_empty((GUARD + size + GUARD,), np.dtype(np.uint8))
        self.inside = self.memory[GUARD : GUARD + size]

    def spoil(self) -> None:
        """As floating-point numbers all bytes are NaN now."""
        self.memory[:] = 0xFF

    def check(self, name: str) -> None:
        expected, tolerance = self.result.expected, self.result.tolerance
        if min(self.memory[:GUARD].min(), self.memory[GUARD + self.inside.size :].min()) != 0xFF:
            raise Failed("wrong", f"it writes beyond {name}")
        found = self.inside.view(expected.dtype).reshape(self.shape)
        if self.layout is not None:
            logical = self.layout.unpack(found, expected.shape)
            if not np.array_equal(self.layout.pack(logical), found, equal_nan=True):
                raise Failed("wrong", f"the padding of {name} does not hold zeros")
            found = logical
        difference = compare(found, expected)
        if expected.dtype.kind != "f" and (found != expected).mean() <= tolerance:
            return
        if not difference.within(tolerance):
            error = f"max|diff|/max|ref| is {difference.error:.1e}, expected at most {tolerance:.0e}"
            raise Failed("wrong", f"{name}: {difference.problem or error}")


class Copies:
    """Many copies of the same bytes."""

    def __init__(self, array: np.ndarray, nbytes: int) -> None:
        self.stride = array.size
        self.count = max(nbytes // max(array.size, 1), 1) if array.size else 1
        self.memory = arena(self.count * self.stride)
        self.memory[: self.count * self.stride].reshape(self.count, self.stride)[:] = array
        self.next = 0

    def following(self) -> int:
        """The address of the next copy."""
        self.next = (self.next + 1) % self.count
        return int(self.memory.ctypes.data) + self.next * self.stride


def _copied(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy
