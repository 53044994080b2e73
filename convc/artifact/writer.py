"""Write all files of an artifact into a folder beside its final place, which then takes the name."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convc.artifact.manifest import ARTIFACT, ArtifactError, Kind
from convc.scratch import Scratch

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
_OVERTAKEN = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)
"""What renaming fails with if another process was faster."""


@contextmanager
def new_folder(path: Path, kind: Kind = ARTIFACT) -> Iterator[Path]:
    """A folder to fill. When the block ends it becomes `path`, in place of one of its kind that was there; if the block
    raises, nothing of it is left. Of several that are made for one path at once the last stays. Raises ArtifactError if
    something else has the name."""
    check_output(path, kind)
    with Scratch(path.parent) as temporary:
        made = temporary / "new"
        made.mkdir()
        yield made
        while True:
            _check_name(path, kind)
            try:
                return _take_name(made, path)
            except OSError as error:
                if error.errno not in _OVERTAKEN or not made.exists():
                    raise


def check_output(path: Path, kind: Kind = ARTIFACT) -> None:
    """Raises ArtifactError where nothing of a kind may or can be written."""
    _check_name(path, kind)
    if not path.parent.is_dir():
        raise ArtifactError(f"{path.parent} is no folder: make it first, or write elsewhere")
    try:
        with Scratch(path.parent):
            pass
    except OSError as error:
        raise ArtifactError(f"cannot write into {path.parent}: {error.strerror}") from None


def _check_name(path: Path, kind: Kind) -> None:
    if path.exists() and not (path / kind.manifest).is_file():
        raise ArtifactError(f"{path} exists and is no {kind.name}: name another folder, or remove it")


def _take_name(made: Path, path: Path) -> None:
    """Give a folder its final name. Where the system swaps names in one step, whoever looks at `path` finds the old
    folder or the new one, and no process that is killed takes either along."""
    if not path.exists():
        made.rename(path)
    elif not _swapped(made, path):
        old = made.with_name("old")
        path.rename(old)
        try:
            made.rename(path)
        except OSError:
            if not path.exists():
                old.rename(path)
            raise


def _swapped(one: Path, other: Path) -> bool:
    """Swap the names of two folders. False where the system or the file system cannot."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux, or a C library of before 2018
        return False
    if not swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return True
    if (code := ctypes.get_errno()) in _OVERTAKEN:
        raise OSError(code, os.strerror(code), str(other))
    return False
