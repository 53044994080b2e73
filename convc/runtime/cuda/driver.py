"""The CUDA driver's C interface (cuda.h) by ctypes, as far as networks need it. No toolkit is asked for."""

from __future__ import annotations

import ctypes
import weakref
from contextlib import suppress
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convc.runtime.cuda.streams import Stream

_NAME = "libcuda.so.1"

# CUresult
_OUT_OF_MEMORY = 2
_INVALID_IMAGE, _NO_BINARY_FOR_GPU = 200, 209
_NO_DEVICE = 100
# CUdevice_attribute
_CLOCK_KHZ = 13
_MULTIPROCESSORS = 16
_MEMORY_CLOCK_KHZ = 36
_MEMORY_BITS = 37
_L2_BYTES = 38
_MULTIPROCESSOR_THREADS = 39
_MAJOR, _MINOR = 75, 76
_MULTIPROCESSOR_SHARED_BYTES = 81
_BLOCK_SHARED_BYTES = 97
# CUfunction_attribute
_DYNAMIC_SHARED_BYTES = 8
_STREAM_NON_BLOCKING = 1


class CudaError(Exception):
    """What the driver refused; the message is one line for the user."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    @property
    def unknown_code(self) -> bool:
        """Whether machine code was none that the driver can load."""
        return self.code in (_INVALID_IMAGE, _NO_BINARY_FOR_GPU)

    @property
    def out_of_memory(self) -> bool:
        """Whether the GPU's memory was too small."""
        return self.code == _OUT_OF_MEMORY


@dataclass(frozen=True)
class Gpu:
    """What the driver says of a GPU. Sizes in bytes, rates a second."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes: int
    multiprocessor_shared_bytes: int
    multiprocessor_threads: int
    l2_bytes: int
    bandwidth: float
    clock: float


def capability_of(arch: str) -> tuple[int, int]:
    """The compute capability that an architecture's name stands for: (9, 0) for sm_90a."""
    digits = arch.removeprefix("sm_").rstrip("af")
    return int(digits[:-1]), int(digits[-1])


class Driver:
    """The driver, the system's unless a `library` is named, and its first GPU (`CUDA_VISIBLE_DEVICES` says which that
    is). Raises CudaError without either."""

    def __init__(self, library: Path | None = None) -> None:
        name = str(library or _NAME)
        try:
            self._library = ctypes.CDLL(name)
        except OSError:
            raise CudaError(f"this machine has no NVIDIA driver ({name} is not found)") from None
        code = self._library.cuInit(0)
        count = c_int()
        if code == _NO_DEVICE or (not code and (self._library.cuDeviceGetCount(byref(count)) or not count.value)):
            raise CudaError("the NVIDIA driver finds no GPU")
        self._check(code, "starting the NVIDIA driver")
        self.device = c_int()
        self.call("cuDeviceGet", byref(self.device), 0)

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver. Raises CudaError unless it returns CUDA_SUCCESS."""
        self._check(getattr(self._library, function)(*arguments), function)

    def answer(self, function: str, other: int, *arguments: Any) -> int:
        """The same for a function that may also return one other CUresult; which it was."""
        code: int = getattr(self._library, function)(*arguments)
        if code != other:
            self._check(code, function)
        return code

    def _check(self, code: int, what: str) -> None:
        if code:
            name = c_char_p()
            self._library.cuGetErrorName(code, byref(name))
            raise CudaError(f"{what}: {(name.value or str(code).encode()).decode()}", code)

    def describe(self) -> Gpu:
        """What the GPU is."""
        name = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", name, len(name), self.device)
        return Gpu(
            name.value.decode(),
            (self._attribute(_MAJOR), self._attribute(_MINOR)),
            self._attribute(_MULTIPROCESSORS),
            self._attribute(_BLOCK_SHARED_BYTES),
            self._attribute(_MULTIPROCESSOR_SHARED_BYTES),
            self._attribute(_MULTIPROCESSOR_THREADS),
            self._attribute(_L2_BYTES),
            2e3 * self._attribute(_MEMORY_CLOCK_KHZ) * self._attribute(_MEMORY_BITS) / 8,  # two transfers a cycle
            1e3 * self._attribute(_CLOCK_KHZ),
        )

    @property
    def version(self) -> str:
        """The newest CUDA that the driver knows, as `13.0`."""
        number = c_int()
        self.call("cuDriverGetVersion", byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def _attribute(self, which: int) -> int:
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), which, self.device)
        return value.value


class Context:
    """The GPU's primary context, which a process shares with everything else in it that uses the GPU, and a stream.

    Handles are plain integers. Everything made here is freed by `close`, at the latest when nothing holds this object.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._handle = c_void_p()
        self._freed_by: dict[int, tuple[str, c_void_p]] = {}
        driver.call("cuDevicePrimaryCtxRetain", byref(self._handle), driver.device)
        self._close = weakref.finalize(self, _close, driver, self._handle, self._freed_by)
        self.enter()
        handle = self.make("cuStreamCreate", "cuStreamDestroy_v2", c_uint(_STREAM_NON_BLOCKING))
        self.stream = Stream(driver, handle.value or 0)

    def enter(self) -> None:
        """Make the calling thread use this context."""
        self.driver.call("cuCtxSetCurrent", self._handle)

    def module(self, code: bytes) -> c_void_p:
        """A module of machine code."""
        return self.make("cuModuleLoadData", "cuModuleUnload", c_char_p(code))

    def function(self, module: c_void_p, name: str, dynamic_bytes: int) -> c_void_p:
        """A function that may ask for so many bytes of dynamic shared memory."""
        function = c_void_p()
        self.driver.call("cuModuleGetFunction", byref(function), module, name.encode())
        if dynamic_bytes:
            self.driver.call("cuFuncSetAttribute", function, _DYNAMIC_SHARED_BYTES, c_int(dynamic_bytes))
        return function

    def memory(self, nbytes: int) -> int:
        """The address of new memory on the GPU, a multiple of 256. Raises CudaError."""
        return int(self.make("cuMemAlloc_v2", "cuMemFree_v2", c_size_t(max(nbytes, 1))).value or 0)

    def pinned(self, nbytes: int) -> int:
        """The address of new host memory that the GPU copies from and to at full speed."""
        return int(self.make("cuMemHostAlloc", "cuMemFreeHost", c_size_t(max(nbytes, 1)), c_uint(0)).value or 0)

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free."""
        free, total = c_size_t(), c_size_t()
        self.driver.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def synchronise_all(self) -> None:
        """Wait for all that the GPU was given by this process."""
        self.driver.call("cuCtxSynchronize")

    def make(self, function: str, free: str, *arguments: Any) -> c_void_p:
        """What a function of the driver makes, and another frees."""
        handle = c_void_p()
        self.driver.call(function, byref(handle), *arguments)
        self._freed_by[id(handle)] = (free, handle)
        return handle

    def free(self, handle: c_void_p) -> None:
        """Free something that was made here, unless `close` has. After a fault the driver frees nothing any more;
        whoever ran the kernel was told, and the end of the process frees all."""
        if found := self._freed_by.pop(id(handle), None):
            with suppress(CudaError):
                self.enter()
                self.driver.call(*found)

    @property
    def closed(self) -> bool:
        """Whether everything made here is freed."""
        return not self._close.alive

    def close(self) -> None:
        """Wait for the GPU, and free everything that was made here, the last first."""
        self._close()


def _close(driver: Driver, handle: c_void_p, freed_by: dict[int, tuple[str, c_void_p]]) -> None:
    with suppress(CudaError):  # as in `Context.free`
        driver.call("cuCtxSetCurrent", handle)
        driver.call("cuCtxSynchronize")
        while freed_by:
            driver.call(*freed_by.popitem()[1])
        driver.call("cuDevicePrimaryCtxRelease_v2", driver.device)
