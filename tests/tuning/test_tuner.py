"""Tuning as a whole: what is measured, in which order, for how long, and what comes of it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import onnx
import pytest

from convc.pipeline import Build
from convc.runtime import load
from convc.targets.measurements import TuningError
from convc.targets.target import CpuTarget, parse_target
from convc.tuning import tuner as tuner_module
from convc.tuning.findings import Finding
from convc.tuning.job import Job
from convc.tuning.measuring import supervise
from convc.tuning.processes import FORK, Child
from convc.tuning.session import Session, side_by_side
from convc.tuning.summary import choices, rows
from convc.tuning.tuner import Budget, Tuner
from convc.verify import Reference, verify


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they lie: those of processes that are killed stay in the test's folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def recorded(path: Path) -> dict[tuple[Any, ...], float]:
    """When each candidate in a database was measured."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT workload, setting, template, config, at FROM record")
        return {tuple(key): at for *key, at in rows}


def test_a_tuned_network_is_built_of_what_was_measured(
    convolutions: Any, session: Any, target: CpuTarget, tmp_path: Path
) -> None:
    order: list[int] = []

    def report(tuner: Tuner, workload: int | None) -> None:
        order.extend([] if workload is None else [workload])

    made: Session = session(convolutions(), Budget(trials=32), report=report)
    tuner = made.run()
    proposed = sum(len(search.first) for search in tuner.searches)
    assert proposed < 32, "the rest are steps of the search"
    assert tuner.tried == len(tuner.workloads) == 4, "two convolutions, a mean, and a change of layout"
    assert 0 < tuner.ratio <= 1.0
    assert sum(workload.share for workload in tuner.workloads) == pytest.approx(1.0)
    assert len(recorded(made.database)) == tuner.trials == 32
    first = list(dict.fromkeys(order))
    alternatives = [number for number in first if len(tuner.searches[number].first) > 1]
    assert first[: len(alternatives)] == alternatives, "what has no alternative comes after them"
    shares = [tuner.workloads[number].share for number in alternatives]
    assert shares == sorted(shares, reverse=True), "what takes most of the time comes first"

    Build(target, threads=1, database=made.database).run(convolutions(), tmp_path / "m.convc")
    executable = load(tmp_path / "m.convc")
    assert verify(executable.run, Reference(convolutions()), executable.inputs).passed
    for row in rows(tuner):
        built = [
            kernel
            for kernel in executable.manifest["kernels"].values()
            if kernel["template"] == row.template and kernel["config"] == row.config
        ]
        assert built, row
        assert {"ns": pytest.approx(1e3 * (row.tuned_us or 0), abs=1)} in [kernel["cost"] for kernel in built]
    assert len(dict(choices(tuner))) == 6, "a choice for each form of each kernel"
    assert all(figure > 0 for figure in side_by_side(made, seconds=0.2))


def test_nothing_is_measured_twice_and_no_more_than_asked_for(convolutions: Any, session: Any, tmp_path: Path) -> None:
    assert session(convolutions(), Budget(trials=1)).run().trials == 1
    before = recorded(tmp_path / "tuning.db")
    assert session(convolutions(), Budget(trials=3)).run().trials == 3
    after = recorded(tmp_path / "tuning.db")
    assert len(after) == 4
    assert before.items() <= after.items()


def test_the_time_is_kept(convolutions: Any, session: Any) -> None:
    tuner = session(convolutions(), Budget(seconds=0.001)).run()
    assert tuner.trials == 0


def test_a_machine_that_never_answers_does_not_outlast_the_time(
    monkeypatch: pytest.MonkeyPatch, product: Any, session: Any
) -> None:
    def silent(job: Job, library: Path) -> Iterator[Finding]:
        signal.pause()
        yield Finding(0, "ok", 1.0)

    monkeypatch.setattr(tuner_module, "_GRACE", 0.0)
    assert session(product(), Budget(seconds=2.0), machines=[silent]).run().trials == 0


def test_another_machine_is_refused_in_one_line(product: Any, tmp_path: Path) -> None:
    other = "cpu:cortex-a76" if os.uname().machine == "x86_64" else "cpu:haswell"
    made = Session(product(), [{}], parse_target(other), 1, tmp_path / "tuning.db", Budget())
    with pytest.raises(TuningError, match=r"is another machine .*: tune there, or with --rpc on such ones"):
        made.run()


TUNE = """
import sys
from pathlib import Path
from convc.targets.target import parse_target
from convc.tuning.session import Session
from convc.tuning.tuner import Budget, Tuner
def report(tuner, number):
    if tuner.trials:
        print(tuner.trials, flush=True)
session = Session(sys.argv[1], [{}], parse_target("cpu"), 1, Path(sys.argv[2]), Budget(), report=report)
session.run()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_tuning_goes_on_where_it_was(
    number: signal.Signals, convolutions: Any, tmp_path: Path, session: Any, temporary_files: Path
) -> None:
    onnx.save(convolutions(), tmp_path / "net.onnx")
    path = tmp_path / "tuning.db"
    command = [sys.executable, "-c", TUNE, str(tmp_path / "net.onnx"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # some outcomes are known
        time.sleep(random.Random(int(number)).random())
        told = children(process.pid)
        process.send_signal(number)
        process.wait()
    before = recorded(path)
    assert before
    assert not alive(told), "what it ran ends with it"
    if number != signal.SIGKILL:
        assert not list(temporary_files.iterdir())
    tuner = session(convolutions(), Budget(trials=2)).run()
    after = recorded(path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + tuner.trials
    assert not list(temporary_files.iterdir())


def test_kill_at_ten_random_moments_of_tuning_loses_nothing(convolutions: Any, session: Any, tmp_path: Path) -> None:
    path, generator = tmp_path / "tuning.db", random.Random(0)

    def tune(size: int, told: Connection) -> None:
        def report(tuner: Tuner, workload: int | None) -> None:
            if tuner.trials:
                told.send(tuner.trials)

        machines = [supervise]  # this one, but shares of the time by the model: no profile, which takes long
        session(convolutions(size), Budget(), machines=machines, report=report).run()

    for kill in range(10):
        before = recorded(path) if kill else {}
        size = 12 + kill % 3  # each is met again, and goes on where it was
        receive, send = FORK.Pipe(duplex=False)
        child = Child(tune, size, send)
        send.close()
        moment, told = generator.randrange(1, 14), [0]
        try:
            while told[-1] < moment:
                told.append(receive.recv())
            time.sleep(generator.random() * 0.3)
            child.kill()
            while True:
                told.append(receive.recv())
        except (EOFError, OSError):
            child.process.join()
        assert child.process.exitcode == -signal.SIGKILL or not child.process.exitcode, child.why
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        after = recorded(path)
        assert before.items() <= after.items(), "what was measured is there, and was not measured again"
        assert len(after) >= len(before) + told[-1]
    tuner = session(convolutions(12), Budget(trials=2)).run()
    assert len(recorded(path)) == len(after) + tuner.trials


def children(pid: int) -> list[int]:
    """The processes below one, as far as the system tells."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pids: list[int], seconds: float = 5.0) -> list[int]:
    """Those that still run after some time."""
    import psutil

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pids = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not pids:
            break
        time.sleep(0.05)
    return pids
