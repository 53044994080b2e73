"""Weights that do not travel: drawn from a seed alike on both machines, packed for kernels as their names say.

What a kernel multiplies by has no part in how long it takes, so a benchmark may draw it; 100 MB of it are a line of
JSON. An artifact's digests tell whether what is made here is what was built with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convc.artifact.manifest import WEIGHTS
from convc.artifact.tensors import write_tensors
from convc.ir.layout import Layout
from convc.ir.winograd import transformed_weight

_BFLOAT16 = "bfloat16"
_WINOGRAD = "winograd"


def drawn(seed: int, shape: Iterable[int], rms: float) -> np.ndarray:
    """float32 numbers of a uniform distribution around 0 with this root mean square. Of numpy only what its promise of
    compatibility covers is used (a bit generator's raw numbers), and arithmetic that rounds alike everywhere."""
    shape = tuple(shape)
    raw = np.random.Philox(seed).random_raw((prod(shape) + 1) // 2).view(np.uint32)[: prod(shape)]
    uniform = (raw >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (uniform * np.float32(rms * 3**0.5)).reshape(shape)


def graph_weights(
    drawings: Mapping[str, Mapping[str, Any]], carried: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The weights of a network as its graph names them: those that are drawn, and those that travel."""
    return {name: drawn(**how) for name, how in drawings.items()} | dict(carried)


def packed(name: str, weights: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The array that an artifact calls `conv1.float16.OIHW8i8o`: the graph's weight `conv1` converted and laid out so.
    None if the name does not say it. bfloat16 is given as the 16-bit integers that hold its bits."""
    known = max((key for key in weights if name == key or name.startswith(f"{key}.")), key=len, default=None)
    if known is None:
        return None
    array = weights[known]
    for step in name.removeprefix(known).split(".")[1:]:
        try:
            array = _step(array, step)
        except (ValueError, IndexError, KeyError):
            return None
    return array


def _step(array: np.ndarray, step: str) -> np.ndarray:
    if step in ("float16", _BFLOAT16):
        return _converted(array, step)
    if step.startswith(_WINOGRAD):
        return transformed_weight(array, int(step.removeprefix(_WINOGRAD)))
    return Layout.parse(step).pack(array)


def _converted(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != _BFLOAT16:
        return array.astype(dtype)
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)  # the upper half, rounded to even


def write_weights(
    artifact: Path,
    layout: Mapping[str, int],
    size: int,
    weights: Mapping[str, np.ndarray],
    carried: Mapping[str, np.ndarray],
) -> None:
    """Write an artifact's weight file of `size` bytes. `layout` gives each array's offset; what `packed` does not make
    is `carried`. Raises KeyError for what is neither."""
    tensors = {}
    for name, offset in layout.items():
        array = carried[name] if name in carried else packed(name, weights)
        if array is None:
            raise KeyError(f"{artifact}: nothing says how {name} is made")
        tensors[name] = (offset, array)
    unfinished = artifact / f"{WEIGHTS}.new"  # at any time the file is whole, if it is there
    write_tensors(unfinished, tensors, size)
    unfinished.replace(artifact / WEIGHTS)


def restore(artifact: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Make the weight file of an artifact that travelled without, as what travelled beside it says."""
    how = json.loads(artifact.with_suffix(".json").read_text())
    with np.load(artifact.with_suffix(".npz")) as carried:
        write_weights(artifact, how["layout"], how["bytes"], weights, carried)
