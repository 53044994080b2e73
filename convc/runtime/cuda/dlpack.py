"""Tensors in a GPU's memory, to and from other libraries without a copy (dlpack.h, version 0.8)."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convc.notation import shape_text
from convc.runtime.arrays import InputError, aligned_empty
from convc.runtime.cuda.memory import Allocation
from convc.runtime.cuda.streams import LEGACY, Event, Stream

if TYPE_CHECKING:
    from convc.runtime.cuda.driver import Context

_CPU, CUDA = 1, 2  # DLDeviceType
_NAME = b"dltensor"
_USED = b"used_dltensor"
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLDataTypeCode
_BFLOAT = 4


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", _Deleter))

_python = ctypes.pythonapi
_python.PyCapsule_GetPointer.restype = c_void_p
_python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, c_char_p)
_python.PyCapsule_SetName.argtypes = (ctypes.py_object, c_char_p)
_python.PyCapsule_IsValid.argtypes = (ctypes.py_object, c_char_p)
_CapsuleDestructor = ctypes.CFUNCTYPE(None, c_void_p)
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = (c_void_p, c_char_p, _CapsuleDestructor)


class DeviceArray:
    """A dense tensor in a GPU's memory, which DLPack (`torch.from_dlpack`) and CUDA's array interface (CuPy, Numba)
    hand on without a copy. `owner` keeps the memory alive; `device` is the GPU's number among those that the process
    sees; `ready` passes when the tensor is written (None: it is).

    A result of a run on a caller's stream may be used there at once, and on others when these have waited for it:
    whoever takes it by either protocol names or is told a stream, and waits on the GPU."""

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        owner: Any,
        device: int = 0,
        ready: Event | None = None,
    ) -> None:
        self.address, self.shape, self.dtype, self.owner, self.device = address, shape, dtype, owner, device
        self.ready = ready

    def numpy(self) -> np.ndarray:
        """A copy in the host's memory, made when the tensor is written."""
        assert isinstance(self.owner, Allocation), "only results of networks are copied"
        result = aligned_empty(self.shape, self.dtype)
        context = self.owner.pool.context
        context.enter()
        self.wait(context.stream)
        context.stream.download(result.ctypes.data, self.address, result.nbytes)
        context.stream.synchronise()
        return result

    def wait(self, stream: Stream) -> None:
        """Let a stream go on only when the tensor is written."""
        if self.ready:
            stream.wait(self.ready)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        written = None
        if isinstance(self.owner, Allocation):
            self.owner.shared = True  # with a stream that this protocol does not name
            written = self.owner.stream.number if self.ready else None
        typestr, data = self.dtype.str, (self.address, False)
        return {
            "shape": self.shape,
            "typestr": typestr,
            "data": data,
            "strides": None,
            "stream": written,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule, for a consumer that works on `stream`, which waits on the GPU until the tensor is written: the
        handle of a stream, 1 or None for the legacy default stream, 2 for the thread's own, -1 for one that has
        waited already. Raises ValueError for 0, which could be either default stream, and BufferError for what would
        be a copy."""
        if stream == 0:
            raise ValueError("stream 0 is ambiguous: 1 is the legacy default stream, 2 is each thread's own")
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("a tensor in a GPU's memory is handed on where it lies; `numpy()` makes a copy")
        if isinstance(self.owner, Allocation):
            consumer = Stream(self.owner.pool.context.driver, LEGACY if stream is None else stream)
            if consumer.number != self.owner.stream.number:
                self.owner.shared = True
            if stream != -1:
                self.owner.pool.context.enter()
                self.wait(consumer)
        code = _BFLOAT if self.dtype.name == "bfloat16" else _CODES[self.dtype.kind]
        shape = (c_int64 * len(self.shape))(*self.shape)
        tensor = _Tensor(
            self.address, CUDA, self.device, len(self.shape), code, self.dtype.itemsize * 8, 1, shape, None, 0
        )
        managed = _Managed(tensor, None, _DELETE)
        address = ctypes.addressof(managed)
        _handed_out[address] = (managed, shape, self)
        return _python.PyCapsule_New(address, _NAME, _DESTROY)


_handed_out: dict[int, Any] = {}
"""What consumers of capsules hold, by address."""


def _delete(managed: Any) -> None:
    _handed_out.pop(ctypes.addressof(managed.contents), None)


def _destroy(capsule: int) -> None:
    """Nobody has taken the tensor: a consumer renames the capsule and calls the deleter itself."""
    held = ctypes.cast(capsule, ctypes.py_object)
    if _python.PyCapsule_IsValid(held, _NAME):
        _handed_out.pop(_python.PyCapsule_GetPointer(held, _NAME), None)


_DELETE, _DESTROY = _Deleter(_delete), _CapsuleDestructor(_destroy)


def on_device(value: Any) -> bool:
    """Whether a value says that it lies in a GPU's memory."""
    if isinstance(value, DeviceArray) or hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) == CUDA


def device_array(
    value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, context: Context, stream: Stream | None
) -> DeviceArray:
    """A caller's tensor in a GPU's memory, for work on `stream` (None: the context's), which waits on the GPU until
    the tensor is written. Where a protocol does not say what writes it, that has been given to the caller's `stream`;
    without one the host waits for the whole GPU. Raises InputError for another shape or dtype, for another GPU, and
    unless it is dense."""
    if isinstance(value, DeviceArray):
        found = value
        found.wait(stream or context.stream)
    else:
        found = _taken(value, name, context, stream)
    if found.dtype != dtype:
        raise InputError(f"input '{name}': expected {dtype}, got {found.dtype}")
    if found.shape != shape:
        raise InputError(f"input '{name}': expected shape {shape_text(shape)}, got {shape_text(found.shape)}")
    if found.device != (here := context.driver.device.value):
        raise InputError(f"input '{name}' lies in the memory of GPU {found.device}, the network runs on GPU {here}")
    return found


def _taken(value: Any, name: str, context: Context, stream: Stream | None) -> DeviceArray:
    reader = stream or context.stream
    if not hasattr(value, "__dlpack__"):
        interface = value.__cuda_array_interface__
        shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
        if interface.get("strides") not in (None, _dense(shape, dtype.itemsize)):
            raise InputError(f"input '{name}': expected a dense tensor, its strides are {interface['strides']}")
        if (writer := interface.get("stream")) is not None:
            reader.follow(Stream(context.driver, writer), context)
        elif "stream" not in interface and stream is None:  # before version 3 it did not say
            context.synchronise_all()
        return DeviceArray(interface["data"][0], shape, dtype, value)
    capsule = value.__dlpack__(stream=reader.number)
    managed = ctypes.cast(_python.PyCapsule_GetPointer(capsule, _NAME), POINTER(_Managed)).contents
    tensor = managed.tensor
    _python.PyCapsule_SetName(capsule, _USED)
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    owner = _Borrowed(managed)
    kinds = {code: kind for kind, code in _CODES.items()}
    if tensor.lanes != 1 or (tensor.code not in kinds and tensor.code != _BFLOAT):
        raise InputError(
            f"input '{name}': DLPack's type {tensor.code} of {tensor.bits} bits is none that networks take"
        )
    if strides not in (None, _dense(shape, 1)) and prod(shape) > 1:
        raise InputError(f"input '{name}': expected a dense tensor, its strides are {strides}")
    if tensor.code == _BFLOAT:
        import ml_dtypes

        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(f"{kinds[tensor.code]}{tensor.bits // 8}")
    return DeviceArray((tensor.data or 0) + tensor.byte_offset, shape, dtype, owner, device=tensor.device_id)


def _dense(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))


class _Borrowed:
    """Another library's tensor, given back when nothing here holds it."""

    def __init__(self, managed: _Managed) -> None:
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.pointer(self._managed))
