"""TensorProto to numpy. A tensor's size is compared with the bytes that are there before memory is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convc.frontends.onnx.problem import ImportProblem
from convc.ir.dtypes import from_numpy

# Where the elements lie that are not in `raw_data`; int32_data holds all types that are not named here.
_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_PER_BYTE: Mapping[int, int] = {
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1), 2),
    **dict.fromkeys((TensorProto.INT2, TensorProto.UINT2), 4),
}
"""How many elements of a type lie in one byte, where it is more than one."""


class Initializers(Mapping[str, np.ndarray]):
    """The initializers of a graph as arrays, converted when first asked for."""

    def __init__(self, tensors: Mapping[str, TensorProto], folder: Path | None) -> None:
        self._tensors = tensors
        self._folder = folder
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = to_array(self._tensors[name], self._folder, f"initializer '{name}'")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors


def element_dtype(data_type: int) -> np.dtype:
    """The numpy type of an ONNX element type. Raises ValueError for one that the IR does not hold."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(data_type)
        from_numpy(dtype)
    except (KeyError, ValueError):
        names = [name.lower() for name, value in TensorProto.DataType.items() if value == data_type]
        raise ValueError(f"element type {names[0] if names else data_type} is not supported") from None
    return dtype


def to_array(tensor: TensorProto, folder: Path | None, what: str) -> np.ndarray:
    """The elements of a tensor. Raises ImportProblem where its data does not match its shape."""
    shape = tuple(tensor.dims)
    try:
        dtype = element_dtype(tensor.data_type)
    except ValueError as error:
        raise ImportProblem(f"{what}: {error}") from None
    if min(shape, default=0) < 0:
        raise ImportProblem(f"expected sizes of at least 0, {what} has the shape {shape}")
    if tensor.HasField("segment"):
        raise ImportProblem(f"expected {what} in one piece, it is a segment of a larger tensor")
    packed = _PER_BYTE.get(tensor.data_type, 1)
    count = -(-prod(shape) // packed)  # of elements, or of bytes that hold several
    expected = count * dtype.itemsize
    if tensor.data_location == TensorProto.EXTERNAL:
        raw = _external(tensor, folder, what, expected)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(raw) != expected:
            raise ImportProblem(f"{what} of shape {shape} needs {expected} bytes, the file has {len(raw)}")
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        elements = len(getattr(tensor, field))
        if elements != count:
            raise ImportProblem(f"{what} of shape {shape} needs {count} elements, the file has {elements} in {field}")
        raw = None
    try:
        if raw is None:
            return numpy_helper.to_array(tensor)
        if packed > 1:
            return numpy_helper.to_array(helper.make_tensor("", tensor.data_type, shape, raw, raw=True))
        if dtype.kind == "b":  # a byte other than 0 and 1 would be neither True nor False
            return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
        return np.frombuffer(raw, dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ImportProblem(f"{what} cannot be read: {error}") from None


def _external(tensor: TensorProto, folder: Path | None, what: str, expected: int) -> bytes:
    """The bytes of a tensor that lies in another file, which must be in the model's folder or below it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ImportProblem(f"{what} lies in the file '{location}', but the model was not read from a file")
    try:
        root = folder.resolve()
        path = (root / location).resolve()  # follows symbolic links
        if not location or Path(location).is_absolute() or not path.is_relative_to(root):
            raise ImportProblem(f"expected external data in the model's folder, {what} lies in '{location}': refused")
        if path.exists() and not path.is_file():
            raise ImportProblem(f"expected external data in a file, {what} lies in '{location}', which is none")
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        size = path.stat().st_size
        if offset < 0 or length != expected or offset + length > size:
            raise ImportProblem(
                f"{what} needs {expected} bytes; the model says {length} at {offset} of '{location}', which has {size}"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except ValueError as error:
        raise ImportProblem(f"{what} has external data that cannot be read: {error}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        reason = getattr(error, "strerror", None) or error
        raise ImportProblem(f"{what} lies in '{location}', which cannot be read: {reason}") from None
