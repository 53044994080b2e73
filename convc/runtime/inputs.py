"""Seeded inputs for a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from convc.ir.signature import Signature


def random_inputs(signature: Signature, seed: int) -> dict[str, np.ndarray]:
    """An array for each input: standard normal floats, bytes over their whole range, other integers in [0, 8)
    (they are indices or lengths more often than not), fair booleans."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, shape, dtype in signature:
        if dtype.kind in "fV":  # V: those of ml_dtypes
            array = generator.standard_normal(shape, np.float32).astype(dtype)
        elif dtype.kind == "b":
            array = generator.integers(0, 2, shape).astype(dtype)
        elif dtype.itemsize == 1:
            bounds = np.iinfo(dtype)
            array = generator.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
        else:
            array = generator.integers(0, 8, shape, dtype)
        arrays[name] = array
    return arrays
