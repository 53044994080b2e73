"""Folders for files that nobody keeps. A process that is killed cannot remove its own: the next one does.

Each folder is locked (flock) for as long as a process that works in it lives: what is not locked is nobody's any more.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path

_PREFIX = "convc-scratch-"
_NAME = re.compile(rf"\.?{_PREFIX}[a-z0-9_]{{8}}")  # as mkdtemp makes them: no folder of a user's is called so
_ATTEMPTS = 3  # a process that is ending may have written one more file meanwhile


class Scratch:
    """A folder for temporary files at `path`: where the system has such, or, out of sight, in a `parent` where what is
    made is to stay. It goes at the end of a `with` block, or with this object. Raises OSError."""

    def __init__(self, parent: Path | None = None) -> None:
        prefix, place = (f".{_PREFIX}", str(parent.absolute())) if parent else (_PREFIX, tempfile.gettempdir())
        _remove_stale(place)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
            if (lock := _lock(self.path, wait=True)) is not None:
                break  # or else another process found it not locked yet, and removed it
        self._remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self._remove()


def _lock(path: Path, *, wait: bool) -> int | None:
    """The file descriptor that locks a folder until it is closed, here and in processes forked from this one. None if
    the folder is gone or, unless we `wait`, another process has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        locked = path.exists()
    except OSError:  # it is in use; or this file system has no locks, and nobody will take the folder for stale
        locked = wait
    if locked:
        return descriptor
    os.close(descriptor)
    return None


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # it is not a forked process's to remove
        for _ in range(_ATTEMPTS):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
        os.close(lock)


@cache
def _remove_stale(parent: str) -> None:
    """Remove what processes that were killed have left, once in a process."""
    found = []
    with suppress(OSError), os.scandir(parent) as entries:  # it may be one that nobody may list
        found = [entry for entry in entries if _NAME.fullmatch(entry.name)]
    for entry in found:
        with suppress(OSError):  # it is gone meanwhile
            own = entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
            if own and (lock := _lock(Path(entry.path), wait=False)) is not None:
                _remove(Path(entry.path), lock, os.getpid())
