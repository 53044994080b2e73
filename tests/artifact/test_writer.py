"""Artifact folders: whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from convc.artifact.manifest import MANIFEST, ArtifactError
from convc.artifact.writer import new_folder


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
