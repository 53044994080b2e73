"""Measuring on other machines: `convc.tuning.server` runs on each, registered with TVM's RPC tracker."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convc.targets.measurements import TuningError
from convc.targets.target import CpuTarget
from convc.tuning.findings import Finding
from convc.tuning.job import Job

MEASURE = "convc.tuning.measure"
LIBRARY, JOB = "candidates.so", "job.npz"
_ATTEMPTS = 3  # servers to ask, when some fail
_PATIENCE = 120.0  # seconds to wait for a server that is free, or for the tracker


def address(text: str) -> tuple[str, int]:
    """HOST:PORT. Raises ValueError for anything else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"expected HOST:PORT, got '{text}'")
    return host, int(port)


@dataclass(frozen=True)
class Remote:
    """The servers that a tracker knows under a key."""

    tracker: tuple[str, int]
    key: str
    target: CpuTarget

    def machines(self) -> int:
        """How many there are. Raises TuningError if there are none, or no tracker."""
        from tvm import rpc

        host, port = self.tracker
        try:
            with _patience():
                socket.create_connection((host, port)).close()  # TVM would ask for a minute if nobody is there
                servers = rpc.connect_tracker(host, port).summary()["server_info"]
        except (OSError, RuntimeError) as error:
            raise TuningError(f"no RPC tracker answers at {host}:{port}: {error}") from None
        found = [server for server in servers if server["key"] == f"server:{self.key}"]
        if not found:
            raise TuningError(f"the tracker at {host}:{port} knows no server for the key '{self.key}'")
        return len(found)

    def __call__(self, job: Job, library: Path) -> Iterator[Finding]:
        """What becomes of the candidates of a job, on the next server that is free. Raises TuningError."""
        from tvm import rpc

        why = ""
        for _ in range(_ATTEMPTS):
            self.machines()
            try:
                with _patience():
                    session = rpc.connect_tracker(*self.tracker).request(self.key, max_retry=1)
                session.upload(bytearray(library.read_bytes()), LIBRARY)
                session.upload(bytearray(job.to_bytes()), JOB)
                answer = json.loads(session.get_function(MEASURE)(json.dumps(self.target.to_dict()), JOB))
            except (OSError, RuntimeError) as error:  # the server is gone, or its machine
                why = str(error).strip().splitlines()[-1]
                continue
            if "error" in answer:
                raise TuningError(f"a server for '{self.key}' cannot measure: {answer['error']}")
            yield from (Finding(**finding) for finding in answer["findings"])
            return
        raise TuningError(f"no server for '{self.key}' completed a measurement: {why}")


@contextmanager
def _patience() -> Iterator[None]:
    """TVM waits for its tracker without end: give the sockets that it opens one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
