"""Write all files of an artifact into a folder beside its final place, which then takes the name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convc.artifact.manifest import ARTIFACT, ArtifactError, Kind


@contextmanager
def new_folder(path: Path, kind: Kind = ARTIFACT) -> Iterator[Path]:
    """A folder to fill. When the block ends it becomes `path`, in place of one of its kind that was there; if the block
    raises, nothing of it is left. Raises ArtifactError if something else has the name."""
    check_output(path, kind)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
        made, old = Path(temporary) / "new", Path(temporary) / "old"
        made.mkdir()
        yield made
        if path.exists():
            path.rename(old)
        try:
            made.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


def check_output(path: Path, kind: Kind = ARTIFACT) -> None:
    """Raises ArtifactError where nothing of a kind may be written."""
    if path.exists() and not (path / kind.manifest).is_file():
        raise ArtifactError(f"{path} exists and is no {kind.name}: name another folder, or remove it")
    if not path.parent.is_dir():
        raise ArtifactError(f"{path.parent} is no folder: make it first, or write elsewhere")
