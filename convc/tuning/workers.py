"""Processes that tune, each for one machine that measures: they build candidates and report what becomes of them."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from multiprocessing import connection
from pathlib import Path

from convc.targets.measurements import TuningError
from convc.tuning.batch import Conditions, Measure, Trial, run_batch
from convc.tuning.processes import FORK, Child
from convc.tuning.workloads import Candidate, Workload


class Worker:
    """A process that runs one batch after another; `workload` is the number of the one at work, or None. Its temporary
    files lie in `folder`, whose owner removes those of a worker that was killed."""

    def __init__(self, workloads: Sequence[Workload], conditions: Conditions, measure: Measure, folder: Path) -> None:
        self.connection, theirs = FORK.Pipe()
        self.child = Child(_work, theirs, workloads, conditions, measure, folder)
        theirs.close()
        self.workload: int | None = None

    def begin(self, workload: int, candidates: Sequence[Candidate], incumbent: tuple[Candidate, float]) -> None:
        """Give it a batch."""
        self.workload = workload
        self.connection.send((workload, candidates, incumbent))

    def receive(self) -> Trial | None:
        """The next outcome, or None when the batch is over. Raises what the worker raised."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.child.kill()
            raise TuningError(f"a tuning process ended: {self.child.why}") from None
        if isinstance(message, Exception):
            raise message
        if message is None:
            self.workload = None
        assert message is None or isinstance(message, Trial)
        return message

    def end(self) -> None:
        """Stop it, and with it what it runs."""
        self.child.kill()
        self.connection.close()


def wait(workers: Sequence[Worker], seconds: float) -> list[Worker]:
    """Those of some workers at work that have something to report, after so many seconds at the most."""
    busy = {worker.connection: worker for worker in workers if worker.workload is not None}
    return [busy[ready] for ready in connection.wait(list(busy), seconds)]  # type: ignore[index]


def _work(
    link: connection.Connection,
    workloads: Sequence[Workload],
    conditions: Conditions,
    measure: Measure,
    folder: Path,
) -> None:
    tempfile.tempdir = str(folder)
    while True:
        try:
            number, candidates, incumbent = link.recv()
        except EOFError:
            return
        try:
            for trial in run_batch(workloads[number], candidates, incumbent, conditions, measure):
                link.send(trial)
            link.send(None)
        except Exception as error:
            try:
                message = pickle.loads(pickle.dumps(error))
            except Exception:
                message = TuningError(f"{type(error).__name__}: {error}")
            link.send(message)
            raise
