"""The cases of a plan in processes of their own, under a deadline: what a kernel does to the GPU's memory, a hang too,
costs one case. Needs nothing but Python.

A process goes through the cases and writes a line of JSON for each thing it finds. When it ends or falls silent

- before its first case, torch may be to blame: convc goes on by itself;
- at another engine than convc, the network goes on without that engine;
- at convc, the next process launches the network's steps one by one, and so names the one to blame; the rest goes on
  without the network. If all of them go through, from there on no kernel begins before the one before it has ended.
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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu.plan import Planned, patience

_START = 120.0
"""Seconds that a process may take to import and to wake the GPU."""
_TRACE = 10.0
"""Seconds that a step may take."""
_END = 10.0
"""Seconds that a killed process may take to end: a driver that is stuck keeps it."""
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


OnChange = Callable[[Results, Mapping[str, Any]], None]


def run_apart(
    command: Sequence[str],
    cases: Sequence[Planned],
    seconds: float,
    on_change: OnChange = lambda results, found: None,
    early: bool = True,
) -> Results:
    """The results of cases, in order, for at most so many seconds. `command` is a process's, which is given the path of
    a JSON file: `cases`, `trace` (whether only to name the steps of the first), `torch` (whether to use it), `early`
    (whether kernels may begin before the one before has ended), `output`. `on_change` is given what is new."""
    supervisor = _Supervisor(command, list(cases), time.monotonic() + seconds, on_change, early)
    supervisor.run()
    return supervisor.results


@dataclass
class _Stop:
    """How far a process came."""

    done: int = 0
    """Cases."""
    begun: bool = False
    engine: str = ""
    """At which it was; none where it was at what comes before them."""
    problem: str = ""
    """Why it did not go on; nothing if there was no time, or no more to do."""


class _Supervisor:
    """What has been found, and what is left to do."""

    def __init__(
        self, command: Sequence[str], cases: list[Planned], deadline: float, on_change: OnChange, early: bool
    ) -> None:
        self.results = Results()
        self._command, self._rest, self._deadline, self._on_change = command, cases, deadline, on_change
        self._options = {"torch": True, "early": early}

    def run(self) -> None:
        while self._rest and self._in_time:
            stop = self._go()
            self._rest = self._rest[stop.done :]
            if stop.problem and self._in_time:
                self._rest = list(self._give_up(stop))
        for case in self._rest:
            known = self.results.row_of(asdict(case)) or {"engines": {}}
            if engines := [name for name in ("convc", *case.peers) if name not in known["engines"]]:
                self.results.unreached.append(f"{case.title}: {', '.join(engines)}")
        self._on_change(self.results, {})

    @property
    def _in_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _give_up(self, stop: _Stop) -> Sequence[Planned]:
        """What is left to do after a process has stopped, in the same order."""
        case, *others = self._rest
        if not stop.begun:
            if not self._options["torch"]:
                self._tell(f"no process begins: {stop.problem}")
                return []
            self._options["torch"] = False
            self._tell(f"torch: {stop.problem}: convc goes on by itself")
            return list(dict.fromkeys(replace(each, peers=()) for each in self._rest))
        if stop.engine not in ("", "convc"):
            self._tell(f"{case.title}: {stop.engine}: {stop.problem}")
            less = (each.without(stop.engine) if each.network == case.network else each for each in self._rest)
            return [each for each in less if each.peers or not self.results.row_of(asdict(each))]
        steps = list(self._steps(case))
        if steps and not steps[-1] and self._options["early"]:
            self._options["early"] = False
            self._tell(
                f"{case.title}: {stop.problem}, though each step by itself goes through: from here on no kernel begins "
                "early"
            )
            return self._rest
        self._tell(f"{case.title}: {stop.problem}{_where(steps)}")
        return [each for each in others if each.network != case.network]

    def _tell(self, line: str) -> None:
        self.results.stopped.append(line)
        self._on_change(self.results, {"stopped": line})

    def _take(self, found: Mapping[str, Any]) -> None:
        self.results.machine.update(found.get("machine", {}))
        self.results.rates.update(found.get("rates", {}))
        if "row" in found:
            self.results.add(found["row"])
        self._on_change(self.results, found)

    def _go(self) -> _Stop:
        """Run a process on what is left."""
        stop, raised = _Stop(), ""
        silence, last = _START, time.monotonic()
        with _Process(self._command, self._rest, trace=False, **self._options) as process:
            while True:
                ended = process.ended
                for found in process.read():
                    last = time.monotonic()
                    match found:
                        case {"begin": _}:
                            stop.begun, stop.engine, silence = True, "", patience("")
                        case {"engine": str(engine)}:
                            stop.engine, silence = engine, patience(engine)
                        case {"done": _}:
                            stop.done += 1
                        case {"raised": str(line)}:
                            raised = f" ({line})"
                    self._take(found)
                if stop.done == len(self._rest) or not self._in_time:
                    return stop
                if ended is not None:
                    stop.problem = f"its process ended with status {ended}{raised}"
                    return stop
                if time.monotonic() - last > silence:
                    stop.problem = f"nothing came for {silence:.0f} s"
                    return stop
                time.sleep(_POLL)

    def _steps(self, case: Planned) -> Iterator[str]:
        """The steps that a process names before each, until it ends or falls silent; the last is empty where all go
        through."""
        deadline = min(self._deadline, time.monotonic() + _START)
        last = 0.0
        with _Process(self._command, [case], trace=True, **self._options) as process:
            while time.monotonic() < deadline:
                ended = process.ended
                for found in process.read():
                    if "step" in found:
                        last = time.monotonic()
                        yield found["step"]
                if ended is not None or (last and time.monotonic() - last > _TRACE):
                    return
                time.sleep(_POLL)


def _where(steps: Sequence[str]) -> str:
    if not steps:
        return ""
    return f", in the step {steps[-1]}" if steps[-1] else ", though each step by itself goes through"


def end_with_parent() -> None:
    """Let this process of `run_apart`'s end when that one does, however it does: the GPU is for who comes next."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # which is open as long as the parent lives
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class _Process:
    """A process on some cases. It ends, with all that it has started, when this is left."""

    def __init__(self, command: Sequence[str], cases: Sequence[Planned], **options: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="convc.")
        task, output = Path(self._folder.name) / "task.json", Path(self._folder.name) / "found.jsonl"
        output.touch()
        contents = {"cases": [asdict(case) for case in cases], "output": str(output), **options}
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
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        self._output.close()
        self._folder.cleanup()
