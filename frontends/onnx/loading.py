"""Read an ONNX file that nobody vouches for: every size and path is checked before memory is taken."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from convc.frontends.onnx.problem import ImportProblem

_MAX_FILE = 2 << 30  # a protobuf message cannot be larger
_PACKED_FIELDS = {
    TensorProto.FLOAT: ("float_data", 1),
    TensorProto.DOUBLE: ("double_data", 1),
    TensorProto.INT64: ("int64_data", 1),
    TensorProto.UINT32: ("uint64_data", 1),
    TensorProto.UINT64: ("uint64_data", 1),
}


def load(path: Path) -> onnx.ModelProto:
    """The model in a file, its external data left where it is. Raises ImportProblem."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ImportProblem(f"expected an ONNX file, {path} is a folder")
        if size > _MAX_FILE:
            raise ImportProblem(f"{path} is {size} bytes; an ONNX file holds at most {_MAX_FILE} (use external data)")
        data = path.read_bytes()
    except OSError as error:
        raise ImportProblem(f"cannot read {path}: {error.strerror}") from None
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise ImportProblem(f"{path} is not an ONNX model, or is truncated: it does not parse") from None
    check(model, str(path))
    return model


def check(model: onnx.ModelProto, name: str) -> None:
    """Refuse what parsed but is no model: text files do parse as empty protobufs now and then."""
    if not model.opset_import or not model.graph.output:
        raise ImportProblem(f"{name} is not an ONNX model: it has no operator set or no outputs")


def opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set. Raises ImportProblem below 7."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    version = max(versions, default=0)
    if version < 7:
        raise ImportProblem(f"expected ONNX opset 7 or newer, the model has {version or 'none'}")
    return version


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

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors


def to_array(tensor: TensorProto, folder: Path | None, what: str) -> np.ndarray:
    """The elements of a tensor. Raises ImportProblem where its data does not match its shape."""
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ImportProblem(f"{what} has the shape {shape}")
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        raise ImportProblem(f"{what} has the unknown element type {tensor.data_type}") from None
    expected = prod(shape) * dtype.itemsize
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, folder, what, dtype, shape, expected)
    if tensor.HasField("raw_data"):
        if dtype.itemsize > 0 and dtype.kind in "fiub" and len(tensor.raw_data) != expected:
            raise ImportProblem(f"{what} of shape {shape} needs {expected} bytes, the file has {len(tensor.raw_data)}")
    elif tensor.data_type in _PACKED_FIELDS:
        field, per_element = _PACKED_FIELDS[tensor.data_type]
        if len(getattr(tensor, field)) != prod(shape) * per_element:
            count = len(getattr(tensor, field))
            raise ImportProblem(f"{what} of shape {shape} needs {prod(shape)} elements, the file has {count}")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ImportProblem(f"{what} cannot be read: {error}") from None


def _external(
    tensor: TensorProto, folder: Path | None, what: str, dtype: np.dtype, shape: tuple[int, ...], expected: int
) -> np.ndarray:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ImportProblem(f"{what} lies in the file '{location}', but the model was not read from a file")
    root = folder.resolve()
    path = (root / location).resolve()
    if not location or not path.is_relative_to(root):
        raise ImportProblem(f"{what} lies in '{location}', outside the model's folder: refused")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        size = path.stat().st_size
        if offset < 0 or length != expected or offset + length > size:
            raise ImportProblem(
                f"{what} needs {expected} bytes at {offset} of '{location}', which has {size} (length says {length})"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return np.fromfile(file, dtype=dtype, count=prod(shape)).reshape(shape)
    except ValueError as error:
        raise ImportProblem(f"{what} has external data that cannot be read: {error}") from None
    except OSError as error:
        raise ImportProblem(f"{what} lies in '{location}', which cannot be read: {error.strerror}") from None
