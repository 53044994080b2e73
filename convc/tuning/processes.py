"""Child processes that may crash or hang: each ends when it is done, when its time is over, or with its parent."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from tempfile import TemporaryFile
from typing import Any, TypeAlias

_PR_SET_PDEATHSIG = 1
FORK = get_context("fork")
"""Children find TVM and all that was made with it in their copy of the parent; none of it could be pickled. They do
not touch what belongs to the parent: its database, its terminal."""
SPAWN = get_context("spawn")
"""Children begin anew: no copy of a process that has used CUDA's driver may use it."""
Way: TypeAlias = ForkContext | SpawnContext
"""How children come about."""


class Child:
    """A function called in a process of its own. What it writes to stdout and stderr is kept: see `why`."""

    def __init__(self, function: Callable[..., None], *arguments: Any, way: Way = FORK) -> None:
        # It has no name, so that nobody need take it away. What children of both kinds are handed is a connection.
        self._messages = TemporaryFile()  # noqa: SIM115 (until the child ends)
        messages = connection.Connection(os.dup(self._messages.fileno()))
        self.process: BaseProcess = way.Process(
            target=_run, args=(function, arguments, messages, os.getpid()), daemon=False
        )
        self.begin = time.monotonic()
        self.killed = False
        self.process.start()

    def kill(self) -> None:
        """End the process now. Whether this or something else ended it can be told by `killed`."""
        if self.process.exitcode is None:
            self.killed = True
            self.process.kill()
        self.process.join()

    @property
    def why(self) -> str:
        """How the process ended, in a line: the last that it wrote, or the signal that ended it."""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        code = self.process.exitcode or 0
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return lines[-1] if lines else f"exit status {code}"


def end_with_parent() -> None:
    """Let the system end this process when its parent ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(
    function: Callable[..., None], arguments: tuple[Any, ...], messages: connection.Connection, parent: int
) -> None:
    """In the child: no interrupts, which are for the parent to handle, no core dumps, no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    faulthandler.disable()
    sys.stdout = sys.stderr = open(os.dup(messages.fileno()), "w", buffering=1)  # noqa: SIM115 (until the process ends)
    for stream in (1, 2):
        os.dup2(sys.stdout.fileno(), stream)
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def in_children(tasks: Sequence[Callable[[], None]], limit: float, workers: int) -> Iterator[tuple[int, Child]]:
    """Call each of some functions in a child, `workers` at a time, for `limit` seconds at the most; the number and the
    child of each, as they end."""
    waiting = list(enumerate(tasks))[::-1]
    running: dict[int, Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number, task = waiting.pop()
                running[number] = Child(task)
            soonest = min(child.begin for child in running.values()) + limit
            connection.wait([child.process.sentinel for child in running.values()], max(soonest - time.monotonic(), 0))
            for number, child in list(running.items()):
                if child.process.exitcode is None and time.monotonic() > child.begin + limit:
                    child.kill()
                if child.process.exitcode is not None:
                    child.process.join()
                    yield number, running.pop(number)
    finally:
        for child in running.values():
            child.kill()
