"""Measure candidates in child processes: one that crashes or hangs costs the candidate that ran, and no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableSequence
from multiprocessing.connection import Connection
from typing import TypeAlias

from convc.targets.measurements import TuningError
from convc.tuning.findings import RUNNING, SINCE, Finding
from convc.tuning.processes import FORK, Child, Way

_LOOK_SECONDS = 0.1  # between looks at what runs

Beat: TypeAlias = MutableSequence[int]
"""What a child writes down of itself, shared with its parent: see `RUNNING` and `SINCE`."""
Measuring: TypeAlias = Callable[[list[int], Beat, Callable[[Finding], None]], None]
"""Reports what becomes of some candidates, in the process that it is called in. It may return early, after it has
reported one, where it is no good for the rest."""


def supervised(measuring: Measuring, candidates: list[int], limit: float, way: Way = FORK) -> Iterator[Finding]:
    """What becomes of each of some candidates, as soon as it is known; a call that takes more than `limit` seconds
    hangs. After a crash the rest is measured again, but for what was reported. Raises TuningError where measuring
    itself fails."""
    left = list(candidates)
    while left:
        beat = way.RawArray("q", (-1, 0))
        receive, send = way.Pipe(duplex=False)
        child = Child(_measure, measuring, left, beat, send, way=way)
        send.close()
        before = len(left)
        try:
            for finding in _findings(receive, child, beat, limit):
                left.remove(finding.candidate)
                yield finding
        finally:
            receive.close()
            child.kill()
        running, code = beat[RUNNING], child.process.exitcode or 0
        if not left or (code == 0 and len(left) < before):
            continue
        if running not in left or code >= 0 or (code == -9 and not child.killed):
            raise TuningError(f"measuring failed: {child.why}")
        left.remove(running)
        hung = Finding(running, "hung", why=f"it took more than {limit:g} s")
        yield hung if child.killed else Finding(running, "crashed", why=child.why)


def _measure(measuring: Measuring, left: list[int], beat: Beat, send: Connection) -> None:
    measuring(left, beat, send.send)
    send.close()


def _findings(receive: Connection, child: Child, beat: Beat, limit: float) -> Iterator[Finding]:
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
