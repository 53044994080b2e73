"""Weight files: safetensors whose data section is the weight arena itself.

Tensors lie at the offsets that the code was compiled with. The format allows no gaps, so what aligns them is a tensor
too, of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

ALIGNMENT = 64
_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"} | {
    f"{sign}int{bits}": f"{'U' if sign else 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def write_tensors(path: Path, tensors: Mapping[str, tuple[int, np.ndarray]], size: int) -> None:
    """Write tensors, each at its byte offset in a data section of `size` bytes. They are in the order of offsets."""
    header: dict[str, object] = {}
    pads: list[tuple[int, int]] = []
    end = 0
    for name, (offset, array) in tensors.items():
        if offset > end:
            pads.append((end, offset))
        end = offset + array.nbytes
        # What the format has no name for (ml_dtypes) is written as the integers that hold its bits.
        dtype = _TYPES.get(str(array.dtype), f"U{8 * array.dtype.itemsize}")
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (offset, end)}
    if size > end:
        pads.append((end, size))
    for number, (begin, stop) in enumerate(pads):
        header[f"padding.{number}"] = {"dtype": "U8", "shape": [stop - begin], "data_offsets": (begin, stop)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)  # so that the data is aligned in the file as well
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        _write_data(file, tensors, size)


def _write_data(file: BinaryIO, tensors: Mapping[str, tuple[int, np.ndarray]], size: int) -> None:
    written = 0
    for offset, array in tensors.values():
        file.write(bytes(offset - written))
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
        written = offset + array.nbytes
    file.write(bytes(size - written))
