"""Loading the artifact that a verb is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convc.runtime import Executable


def add_emulate(parser: argparse.ArgumentParser) -> None:
    """`--emulate`."""
    parser.add_argument(
        "--emulate",
        action="store_true",
        help="run code for a GPU on this machine's CPU: slow, exact, and in need of a C++ compiler",
    )


def load_artifact(folder: Path, arguments: argparse.Namespace) -> Executable:
    """The network in an artifact's folder, as `--threads` and `--emulate` say. Raises ArtifactError."""
    if arguments.emulate:
        from convc.targets.cuda.emulator.load import load_emulated

        return load_emulated(folder)
    from convc.runtime import load

    return load(folder, threads=arguments.threads)
