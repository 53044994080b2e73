"""Artifact folders: whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convc import scratch
from convc.artifact import writer
from convc.artifact.manifest import MANIFEST, ArtifactError
from convc.artifact.writer import check_output, new_folder


def fill(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)


def write_and_fail(path: Path) -> None:
    with new_folder(path) as folder:
        fill(folder, "new")
        raise OSError("No space left on device")


def test_a_folder_gets_its_name_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    with new_folder(path) as folder:
        fill(folder, "new")
        assert not path.exists()
    assert (path / MANIFEST).read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    with new_folder(path) as folder:
        fill(folder, "old")
    with pytest.raises(OSError, match="No space"):
        write_and_fail(path)
    assert (path / MANIFEST).read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_artifact_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    with new_folder(path) as folder:
        fill(folder, "old")
        (folder / "old file").touch()
    with new_folder(path) as folder:
        fill(folder, "new")
    assert {each.name for each in path.iterdir()} == {MANIFEST}
    assert (path / MANIFEST).read_text() == "new"


@pytest.mark.parametrize("made", ["file", "folder"])
def test_what_is_no_artifact_is_not_replaced(made: str, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.touch() if made == "file" else path.mkdir()
    with pytest.raises(ArtifactError, match="exists and is no artifact"), new_folder(path):
        raise AssertionError
    assert path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing is no folder: make it first"), new_folder(tmp_path / "missing/x"):
        raise AssertionError


@pytest.fixture(params=["in one step", "in two"])
def swaps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systems replace folders."""
    if request.param == "in two":
        monkeypatch.setattr(writer, "_swapped", lambda one, other: False)


@pytest.mark.usefixtures("swaps")
def test_of_several_made_at_once_the_last_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    for _ in range(2):  # where nothing was, and where something was
        with new_folder(path) as outer:
            fill(outer, "outer")
            with new_folder(path) as inner:
                fill(inner, "inner")
            assert (path / MANIFEST).read_text() == "inner"
        assert (path / MANIFEST).read_text() == "outer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("swaps")
def test_what_is_no_artifact_and_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    with pytest.raises(ArtifactError, match="exists and is no artifact"), new_folder(path):
        (path / "precious").mkdir(parents=True)
    assert [each.name for each in path.iterdir()] == ["precious"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not swap names")
def test_there_is_one_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    with new_folder(path) as folder:
        fill(folder, "first")
    reads = f"""
from pathlib import Path
while (text := Path({str(path / MANIFEST)!r}).read_text()) != "last":
    pass
"""
    with subprocess.Popen([sys.executable, "-c", reads], stderr=subprocess.PIPE, text=True) as reader:
        for text in [*map(str, range(200)), "last"]:
            with new_folder(path) as folder:
                fill(folder, text)
        assert reader.communicate() == (None, "")


KILLED = """
import os, signal, sys
from pathlib import Path
from convc.artifact.writer import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "model.convc"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    scratch._remove_stale.cache_clear()
    with new_folder(path) as folder:
        fill(folder, "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("parent", ["/proc", "/sys"])
def test_a_folder_that_nothing_can_be_written_into_is_named_at_once(parent: str) -> None:
    if not os.path.isdir(parent):
        pytest.skip(f"this system has no {parent}")
    with pytest.raises(ArtifactError, match=f"cannot write into {parent}: "):
        check_output(Path(parent) / "model.convc")
