"""The weight store: the numbers of a network, beside its module.

The IR refers to a weight by name (`convc.weight @conv1`), so printing, parsing and cloning a module never move
100 MB. Arrays in the store are immutable: a pass that changes a weight adds another and lets the old one go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np


class WeightStore(Mapping[str, np.ndarray]):
    """Named, read-only numpy arrays, in the order in which they were added."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, array: np.ndarray, hint: str = "weight") -> str:
        """Store an array under a fresh name made from `hint`; return the name."""
        base = re.sub(r"[^A-Za-z0-9_.$-]+", "_", hint).strip("_") or "weight"
        base = base if base[0].isalpha() or base[0] == "_" else f"w_{base}"
        name, count = base, 0
        while name in self._arrays:
            count += 1
            name = f"{base}.{count}"
        view = np.asarray(array).view()
        view.flags.writeable = False
        self._arrays[name] = view
        return name

    def keep(self, names: set[str]) -> None:
        """Drop every array that is not named."""
        self._arrays = {name: array for name, array in self._arrays.items() if name in names}

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no weight @{name} in the store, which holds {len(self._arrays)} arrays") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def nbytes(self) -> int:
        """The size of all arrays together, in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def save(self, path: Path) -> None:
        """Write a safetensors file, by way of a temporary one. Raises OSError."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        temporary = path.with_name(path.name + ".tmp")
        try:
            save_file({name: np.ascontiguousarray(array) for name, array in self.items()}, temporary)
            os.replace(temporary, path)
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from None
        finally:
            temporary.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> WeightStore:
        """Read a file written by `save`."""
        from safetensors.numpy import load_file

        store = WeightStore()
        for name, array in load_file(path).items():
            store.add(array, name)
        return store
