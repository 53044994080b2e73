"""One unit of tuning: some candidates of a workload, built, run beside the best that is known, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convc.scratch import Scratch
from convc.targets.measurements import Record
from convc.targets.target import CpuTarget
from convc.tuning.building import compile_candidates, link_candidates
from convc.tuning.findings import Finding
from convc.tuning.job import Job
from convc.tuning.problem import make_problem
from convc.tuning.workloads import Candidate, Workload

Measure = Callable[[Job, Path], Iterator[Finding]]
"""What becomes of the candidates of a job in a library: here (`supervise`), or on another machine."""


@dataclass(frozen=True)
class Conditions:
    """Under which all candidates of a network are measured."""

    target: CpuTarget
    threads: int
    cold_bytes: int
    """How much a network reads between two calls of a kernel, or so much of it as matters."""
    limit: float
    """Seconds after which a call hangs."""

    @staticmethod
    def of(target: CpuTarget, threads: int, network_bytes: int, limit: float) -> Conditions:
        """`network_bytes` are the network's weights. More than twice the last cache would change nothing."""
        most = max(2 * target.l3_bytes, 8 * target.l2_bytes)
        return Conditions(target, threads, min(max(network_bytes, 4 * target.l2_bytes), most, _MOST_BYTES), limit)


_MOST_BYTES = 128 << 20


@dataclass(frozen=True)
class Trial:
    """The outcome of one candidate, as it is recorded."""

    candidate: Candidate
    record: Record
    samples: int
    why: str
    machine: str


def run_batch(
    workload: Workload,
    candidates: Sequence[Candidate],
    incumbent: tuple[Candidate, float],
    conditions: Conditions,
    measure: Measure,
) -> Iterator[Trial]:
    """Measure candidates against an incumbent, which is one of them if its time is not known (0), each yielded as soon
    as its outcome is known. Raises OSError, ToolchainError and TuningError where the machine is at fault."""
    known = incumbent[1] > 0
    everyone = [*candidates, incumbent[0]] if known else list(candidates)
    with Scratch() as folder:
        objects, refused = compile_candidates(workload, everyone, conditions.target, folder)
        for finding in refused:
            if finding.candidate < len(candidates):
                yield _trial(everyone[finding.candidate], finding)
        numbers = sorted(objects)
        if not any(number < len(candidates) for number in numbers):
            return
        problem = make_problem(workload)
        library = link_candidates(
            problem, [(everyone[number].form, objects[number]) for number in numbers], conditions.target, folder
        )
        keys = [everyone[number].key for number in numbers]
        first = keys.index(incumbent[0].key) if incumbent[0].key in keys else 0
        job = Job(
            problem,
            forms=tuple(everyone[number].form for number in numbers),
            incumbent=first,
            incumbent_ns=incumbent[1] if keys[first] == incumbent[0].key else 0.0,
            threads=conditions.threads,
            cold_bytes=conditions.cold_bytes,
            limit=conditions.limit,
        )
        for finding in measure(job, library):
            number = numbers[finding.candidate]
            if number < len(candidates):
                yield _trial(everyone[number], finding)


def _trial(candidate: Candidate, finding: Finding) -> Trial:
    record = Record(candidate.template, candidate.config, finding.outcome, finding.ns, time.time())
    return Trial(candidate, record, finding.samples, finding.why, finding.machine)
