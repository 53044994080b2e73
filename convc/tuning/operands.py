"""Random operands of kernels, as they lie in memory: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from convc.ir.layout import Layout
from convc.runtime.arrays import dtype_named
from convc.runtime.inputs import random_inputs


@dataclass(frozen=True)
class Operand:
    """Of a kernel: its logical shape, element type and layout in memory, and whether it is known when a network is
    built."""

    shape: tuple[int, ...]
    dtype: str
    layout: str
    weight: bool


def random_operands(operands: Sequence[Operand], seed: int) -> list[np.ndarray]:
    """Their logical arrays."""
    signature = [(str(i), operand.shape, dtype_named(operand.dtype)) for i, operand in enumerate(operands)]
    arrays = list(random_inputs(signature, seed).values())
    for i, operand in enumerate(operands):
        # Sums then have the magnitude of activations.
        if operand.weight and arrays[i].dtype.kind in "fV" and arrays[i].ndim > 1:
            arrays[i] = arrays[i] / arrays[i].dtype.type(max(prod(operand.shape[1:]), 1) ** 0.5)
    return arrays


def in_memory(array: np.ndarray, layout: str) -> np.ndarray:
    """The bytes of a logical array in a layout; none is row-major."""
    packed = Layout.parse(layout).pack(array) if layout else np.ascontiguousarray(array)
    return packed.reshape(-1).view(np.uint8)
