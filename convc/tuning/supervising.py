"""Measure a job in child processes: one that crashes or hangs costs the candidate that ran, and no other."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from convc.targets.measurements import TuningError
from convc.tuning.job import Finding, Job
from convc.tuning.measuring import RUNNING, SINCE, measure
from convc.tuning.processes import FORK, Child

_LOOK_SECONDS = 0.1  # between looks at what runs


def supervise(job: Job, library: Path) -> Iterator[Finding]:
    """What becomes of each candidate of a job, as soon as it is known. After a crash the rest is measured again, but
    for what was reported. Raises TuningError where measuring itself fails."""
    left = list(range(len(job.forms)))
    while left:
        beat = memoryview(mmap.mmap(-1, 16)).cast("q")  # shared with the child
        beat[RUNNING] = -1
        receive, send = FORK.Pipe(duplex=False)
        child = Child(_measure, job, library, left, beat, receive, send)
        send.close()
        try:
            for finding in _findings(receive, child, beat, job.limit):
                left.remove(finding.candidate)
                yield finding
        finally:
            receive.close()
            child.kill()
        if not left:
            return
        running, code = beat[RUNNING], child.process.exitcode or 0
        if running not in left or code >= 0 or (code == -9 and not child.killed):
            raise TuningError(f"measuring failed: {child.why}")
        left.remove(running)
        hung = Finding(running, "hung", why=f"it took more than {job.limit:g} s")
        yield hung if child.killed else Finding(running, "crashed", why=child.why)


def _measure(
    job: Job, library: Path, left: list[int], beat: memoryview[int], receive: Connection, send: Connection
) -> None:
    receive.close()
    measure(job, library, left, beat, send.send)
    send.close()


def _findings(receive: Connection, child: Child, beat: memoryview[int], limit: float) -> Iterator[Finding]:
    """What a child reports, until it ends or is ended because a candidate hangs."""
    while True:
        try:
            if receive.poll(_LOOK_SECONDS):
                yield receive.recv()
                continue
        except (EOFError, OSError):  # at the end of the pipe, or of half a message
            child.process.join()
            return
        since = beat[SINCE]
        if since and time.monotonic_ns() - since > limit * 1e9:
            child.kill()
