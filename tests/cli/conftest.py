"""The command line, each call in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Convc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def convc(tmp_path: Path) -> Convc:
    """Runs `convc ARGUMENTS` in an empty folder."""

    def run(*arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
        def no_more_than() -> None:
            import resource

            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = [sys.executable, "-m", "convc", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=no_more_than
        )

    return run
