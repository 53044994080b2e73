"""The cases of a plan in processes of their own, under a deadline: what a kernel does to the GPU's memory, a hang too,
costs one case. Needs nothing but Python.

A process goes through the cases and writes a line of JSON for each thing it finds. When it ends or falls silent, the
case that it was at is given up, the next process finds which kernel is to blame, and another goes on with the rest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu.plan import Planned

_START = 120.0
"""Seconds that a process may take to import and to wake the GPU."""
_TRACE = 30.0
_POLL = 0.1


@dataclass
class Results:
    """What has been found so far, as it is written to results.json."""

    machine: dict[str, str] = field(default_factory=dict)
    rates: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """What was given up, in a line each."""
    unreached: list[str] = field(default_factory=list)
    """For what there was no time."""

    def add(self, row: Mapping[str, Any]) -> None:
        """A row; one of the same case gets what is new."""
        if (known := self.row_of(row)) is None:
            self.rows.append(dict(row))
        else:
            known["engines"] |= row["engines"]
            known["kernels"] = row["kernels"] or known["kernels"]

    def row_of(self, case: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of a model, a precision and a batch size."""
        keys = ("model", "precision", "batch")
        return next((row for row in self.rows if all(row[key] == case[key] for key in keys)), None)

    @property
    def engines(self) -> list[str]:
        """The engines of all rows, convc first."""
        return list(dict.fromkeys(["convc", *(name for row in self.rows for name in row["engines"])]))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "engines": self.engines}


def run_apart(
    command: Sequence[str],
    cases: Sequence[Planned],
    seconds: float,
    on_change: Callable[[Results, Mapping[str, Any]], None] = lambda results, found: None,
) -> Results:
    """The results of cases, in order, for at most so many seconds. `command` is a process's, which is given the path of
    a JSON file: `cases`, `trace` (whether only to name the steps of the first), `output`. `on_change` is given what is
    new."""
    deadline, results = time.monotonic() + seconds, Results()
    rest = list(cases)
    while rest and time.monotonic() < deadline:
        at, problem = _go(command, rest, deadline, lambda found: _take(found, results, on_change))
        if problem and time.monotonic() < deadline:
            case = rest[at]
            steps = list(_steps(command, case, deadline))
            where = _where(steps)
            results.stopped.append(f"{case.title}: {problem}{where}")
            on_change(results, {"stopped": results.stopped[-1]})
            # What a network has done once it would do again.
            same = (case.model, case.precision)
            rest = [other for other in rest[at + 1 :] if (other.model, other.precision) != same]
        else:
            rest = rest[at:]
    for case in rest:
        known = results.row_of(asdict(case)) or {"engines": {}}
        if engines := [name for name in ("convc", *case.peers) if name not in known["engines"]]:
            results.unreached.append(f"{case.title}: {', '.join(engines)}")
    on_change(results, {})
    return results


def _where(steps: Sequence[str]) -> str:
    if not steps:
        return ""
    return f", in the step {steps[-1]}" if steps[-1] else ", though each step by itself goes through"


def _take(found: Mapping[str, Any], results: Results, on_change: Callable[..., None]) -> None:
    results.machine.update(found.get("machine", {}))
    results.rates.update(found.get("rates", {}))
    if "row" in found:
        results.add(found["row"])
    on_change(results, found)


def _go(
    command: Sequence[str], cases: Sequence[Planned], deadline: float, take: Callable[[Mapping[str, Any]], None]
) -> tuple[int, str]:
    """Run a process on some cases: how many it has done, and why it did not go on; no reason if there was no time, or
    nothing to do."""
    done, patience, last = 0, _START, time.monotonic()
    with _Process(command, cases, trace=False) as process:
        while True:
            ended = process.ended
            for found in process.read():
                last = time.monotonic()
                if "begin" in found:
                    patience = cases[done].patience
                elif "done" in found:
                    done += 1
                take(found)
            if done == len(cases) or time.monotonic() >= deadline:
                return done, ""
            if ended is not None:
                return done, f"its process ended with status {ended}"
            if time.monotonic() - last > patience:
                return done, f"nothing came for {patience:.0f} s"
            time.sleep(_POLL)


def _steps(command: Sequence[str], case: Planned, deadline: float) -> Iterator[str]:
    """The steps that a process names before each, until it ends or falls silent; the last is empty where all go
    through."""
    deadline = min(deadline, time.monotonic() + _START)
    last = 0.0
    with _Process(command, [case], trace=True) as process:
        while time.monotonic() < deadline:
            ended = process.ended
            for found in process.read():
                if "step" in found:
                    last = time.monotonic()
                    yield found["step"]
            if ended is not None or (last and time.monotonic() - last > _TRACE):
                return
            time.sleep(_POLL)


def end_with_parent() -> None:
    """Let this process of `run_apart`'s end when that one does, however it does: the GPU is for who comes next."""

    def watch() -> None:
        sys.stdin.read()  # which is open as long as the parent lives
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class _Process:
    """A process on some cases. It ends, with all that it has started, when this is left."""

    def __init__(self, command: Sequence[str], cases: Sequence[Planned], trace: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="convc.")
        task, output = Path(self._folder.name) / "task.json", Path(self._folder.name) / "found.jsonl"
        output.touch()
        contents = {"cases": [asdict(case) for case in cases], "trace": trace, "output": str(output)}
        task.write_text(json.dumps(contents))
        self._process = subprocess.Popen(
            [*command, str(task)], start_new_session=True, stdin=subprocess.PIPE, stdout=sys.stderr
        )
        self._output = output.open()
        self._line = ""

    @property
    def ended(self) -> int | None:
        """Its status if it has ended."""
        return self._process.poll()

    def read(self) -> Iterator[dict[str, Any]]:
        """What it has written since."""
        while part := self._output.readline():
            self._line += part
            if self._line.endswith("\n"):
                line, self._line = self._line, ""
                yield json.loads(line)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        self._folder.cleanup()
