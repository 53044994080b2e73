"""Scratch folders: gone when their block ends, or when the next process makes one, however theirs ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convc import scratch
from convc.scratch import Scratch

HOLD = """
from convc.scratch import Scratch
scratch = Scratch()
(scratch.path / "file").write_text("")
print(scratch.path, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, which no scratch folder was made in."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    scratch._remove_stale.cache_clear()
    return tmp_path


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a scratch folder until its input ends, and that folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD], **pipes) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())


def test_it_goes_with_its_block(temporary: Path) -> None:
    with Scratch() as folder:
        (folder / "inside").mkdir()
        assert list(temporary.iterdir()) == [folder]
    assert not list(temporary.iterdir())


def test_it_goes_with_its_object(temporary: Path) -> None:
    made = Scratch()
    assert made.path.is_dir()
    del made
    assert not list(temporary.iterdir())


def test_it_goes_with_its_process(temporary: Path) -> None:
    with holder() as (process, folder):
        assert (folder / "file").exists()
        process.communicate("\n")
    assert not list(temporary.iterdir())


def test_that_of_a_killed_process_goes_when_the_next_is_made(temporary: Path) -> None:
    with holder() as (process, folder):
        process.kill()
    assert (folder / "file").exists()
    with Scratch() as own:
        assert list(temporary.iterdir()) == [own]


def test_that_of_a_process_at_work_stays() -> None:
    with holder() as (process, folder):
        with Scratch():
            assert (folder / "file").exists()
        process.communicate("\n")


def test_what_is_not_convcs_stays(temporary: Path) -> None:
    kept = [temporary / name for name in ("convc.mine", "convc-scratch-mine", "convc-scratch-12345678")]
    for path in kept[:2]:
        path.mkdir()
    outside = temporary / "outside"
    outside.mkdir()
    kept[2].symlink_to(outside)
    with Scratch():
        assert all(path.exists() for path in [*kept, outside])


def test_a_forked_process_leaves_it_to_the_one_that_made_it() -> None:
    with Scratch() as folder:
        if not (child := os.fork()):
            made = scratch._remove  # what the end of a block, or of the process, comes to
            made(folder, os.open(folder, os.O_RDONLY), os.getppid())
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
        assert folder.is_dir()
