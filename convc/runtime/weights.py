"""The weights of an artifact."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from convc.artifact.manifest import ArtifactError
from convc.runtime.arrays import arena


def read_weights(path: Path, nbytes: int) -> np.ndarray:
    """The data section of a weight file, in an arena."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        if 8 + header + nbytes != path.stat().st_size:
            raise ArtifactError(f"{path} should hold {nbytes} bytes of weights, its size says otherwise")
        memory = arena(nbytes)
        file.seek(header, os.SEEK_CUR)
        file.readinto(memory[:nbytes].data)
    memory.flags.writeable = False
    return memory
