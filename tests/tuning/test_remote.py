"""Measuring on other machines: a tracker and two servers, all on this one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convc.targets.measurements import TuningError
from convc.targets.target import CpuTarget, parse_target
from convc.tuning import remote
from convc.tuning.database import Database
from convc.tuning.remote import Remote, address
from convc.tuning.tuner import Budget

KEY = "bench"
SECONDS = 300  # after which a process that this test started is taken to hang


@contextmanager
def server(tracker: int, key: str = KEY) -> Iterator[subprocess.Popen[str]]:
    """A server that the tracker knows."""
    command = [sys.executable, "-m", "convc.tuning.server", "--tracker", f"127.0.0.1:{tracker}", "--key", key]
    command += ["--host", "127.0.0.1", "--port", "19300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        alarm = threading.Timer(SECONDS, process.kill)
        alarm.start()
        try:
            assert process.stdout is not None
            assert any(line.startswith(f"measuring for {key} at port ") for line in process.stdout)
            yield process
        finally:
            alarm.cancel()
            process.kill()


@pytest.fixture(scope="module")
def tracker() -> Iterator[int]:
    """The port of a tracker."""
    pytest.importorskip("tornado", reason="TVM's RPC tracker needs tornado: install convc[rpc]")
    from tvm.rpc.tracker import Tracker

    started = Tracker("127.0.0.1", port=19190, port_end=19290, silent=True)
    yield started.port
    started.terminate()


@pytest.fixture(scope="module")
def machines(tracker: int, target: CpuTarget) -> Iterator[Remote]:
    """Two servers."""
    with server(tracker), server(tracker):
        yield known(tracker, KEY, target)


def known(tracker: int, key: str, target: CpuTarget) -> Remote:
    """The two servers that register under a key, once both have."""
    found, end = Remote(("127.0.0.1", tracker), key, target), time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(TuningError):
            if found.machines() == 2:
                return found
        time.sleep(0.1)
    raise AssertionError(f"two servers for '{key}' did not register")


def test_two_servers_measure_for_one_tuning(
    tracker: int, target: CpuTarget, convolutions: Any, session: Any, tmp_path: Path
) -> None:
    with server(tracker, "pair") as one, server(tracker, "pair") as other:
        machines = known(tracker, "pair", target)
        tuner = session(convolutions(), Budget(trials=24), machines=[machines, machines]).run()
        said = []
        for process in (one, other):
            process.send_signal(signal.SIGTERM)
            said.append(process.communicate(timeout=SECONDS)[0])
            assert process.returncode == 0
    assert tuner.trials == 24
    found = [record for search in tuner.searches for _, record in search.known.values()]
    assert {record.outcome for record in found} == {"ok"}
    assert all(record.ns > 0 for record in found)
    texts = [text for workload in tuner.workloads for text in workload.texts]
    database = Database.read(tmp_path / "tuning.db")
    assert sum(len(database.records(text, tuner.setting)) for text in texts) == 24
    assert all("start serving" in lines for lines in said), "each has had its part"
    with pytest.raises(TuningError, match="knows no server for the key 'pair'"):
        list(machines(*job()))


def test_what_fails_on_a_server_costs_itself_alone(
    machines: Remote, plant: Callable[..., None], product: Any, session: Any
) -> None:
    plant("wrong", "crashed", "none", "hung", "refused", "beyond")
    (search,) = session(product(), Budget(), machines=[machines, machines]).run().searches
    outcomes = {record.config["fault"]: record.outcome for _, record in search.known.values()}
    assert outcomes == {0: "ok", 1: "crashed", 2: "hung", 3: "wrong", 4: "refused", 5: "wrong"}


def test_a_target_that_a_server_is_not_is_its_answer(machines: Remote) -> None:
    other = parse_target("cpu:cortex-a76" if parse_target("cpu").arch == "x86_64" else "cpu:haswell")
    with pytest.raises(TuningError, match="a server for 'bench' cannot measure: "):
        list(Remote(machines.tracker, KEY, other)(*job()))


def job() -> tuple[Any, Path]:
    """Stands for a job and its library: bytes that no server comes to read."""
    return SimpleNamespace(to_bytes=lambda: b"a job"), Path(__file__)


def test_nobody_there_is_one_line(machines: Remote, target: CpuTarget) -> None:
    with pytest.raises(TuningError, match="knows no server for the key 'other'"):
        Remote(machines.tracker, "other", target).machines()


def test_no_tracker_is_one_line(target: CpuTarget) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(TuningError, match=r"no RPC tracker answers at 127\.0\.0\.1:\d+: ") as caught:
            Remote(("127.0.0.1", closed.getsockname()[1]), KEY, target).machines()
    assert "\n" not in str(caught.value)


def test_a_tracker_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, target: CpuTarget) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TuningError, match="no RPC tracker answers"):
        Remote(("127.0.0.1", silent.getsockname()[1]), KEY, target).machines()


def test_servers_that_stay_busy_are_given_up(monkeypatch: pytest.MonkeyPatch, machines: Remote) -> None:
    from tvm import rpc

    monkeypatch.setattr(remote, "_PATIENCE", 0.3)
    held = [rpc.connect_tracker(*machines.tracker).request(KEY) for _ in range(2)]
    with pytest.raises(TuningError, match="no server for 'bench' completed a measurement: "):
        list(machines(*job()))
    del held


@pytest.mark.parametrize(("text", "expected"), [("host:90", ("host", 90)), ("::1:90", ("::1", 90))])
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", ":90", "host:port", "host:9:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, got"):
        address(text)
