"""Run, check and time the candidates of a job on the CPU.

On one thread, the time that other processes have of the core does not count.

Weights are cold, as in a network that reads many others between two calls: each call reads the next of many copies.
Activations are warm: the kernel before has just written them.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from convc.bench import pinned
from convc.runtime.arrays import aligned_empty, arena
from convc.runtime.cpu import Call
from convc.tuning.competing import compete, right_ones
from convc.tuning.findings import RUNNING, SINCE, Failed, Finding
from convc.tuning.job import Job
from convc.tuning.results import Output
from convc.tuning.supervising import Beat, supervised

_SAMPLE_NS = 200_000  # a sample is as many calls as take so long: the clock and the call itself then cost under 1 %
_MOST_CALLS = 64


def supervise(job: Job, library: Path) -> Iterator[Finding]:
    """What becomes of each candidate of a job, in child processes, as soon as it is known. Raises TuningError where
    measuring itself fails."""
    return supervised(partial(measure, job, library), list(range(len(job.forms))), job.limit)


def measure(job: Job, library: Path, candidates: list[int], beat: Beat, report: Callable[[Finding], None]) -> None:
    """Report what becomes of some candidates of a job: failures at once, times when all are known. The process that
    this is called in may not survive."""
    with pinned(job.threads):
        bench = Bench(job, library, beat)
        if right := right_ones(bench, candidates, report):
            for finding in compete(bench, right, job.incumbent, job.incumbent_ns):
                report(finding)


class Bench:
    """A job's library with memory for what its candidates read and write."""

    def __init__(self, job: Job, library: Path, beat: Beat) -> None:
        self.job, self.beat = job, beat
        self.library = ctypes.CDLL(str(library.resolve()))
        self.inputs = [_copied(array) for array in job.problem.inputs]
        self.outputs = [Output(result) for result in job.problem.results]
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
