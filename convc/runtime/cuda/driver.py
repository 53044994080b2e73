"""The CUDA driver's C interface (cuda.h) by ctypes, as far as networks need it. No toolkit is asked for."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_void_p, pointer
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convc.runtime.cuda.launch import Launch

_NAME = "libcuda.so.1"

# CUresult
_OUT_OF_MEMORY = 2
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
_CLUSTER_DIMENSION = 4  # CUlaunchAttributeID
_CAPTURE_THREAD_LOCAL = 1  # other threads' calls do not spoil a capture
_STREAM_NON_BLOCKING = 1


class CudaError(Exception):
    """What the driver refused; the message is one line for the user."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    @property
    def out_of_memory(self) -> bool:
        """Whether the GPU's memory was too small."""
        return self.code == _OUT_OF_MEMORY


@dataclass(frozen=True)
class Gpu:
    """What the driver says of a GPU. Sizes in bytes, rates a second."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
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

    def _check(self, code: int, what: str) -> None:
        if code:
            name = c_char_p()
            self._library.cuGetErrorName(code, byref(name))
            raise CudaError(f"{what}: {(name.value or str(code).encode()).decode()}", code)

    def describe(self) -> Gpu:
        """What the GPU is."""
        name, memory = ctypes.create_string_buffer(128), c_size_t()
        self.call("cuDeviceGetName", name, len(name), self.device)
        self.call("cuDeviceTotalMem_v2", byref(memory), self.device)
        return Gpu(
            name.value.decode(),
            (self._attribute(_MAJOR), self._attribute(_MINOR)),
            memory.value,
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


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = (("id", c_int), ("padding", c_int), ("value", c_uint * 16))


class _Configuration(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        *(("grid", c_uint * 3), ("block", c_uint * 3), ("dynamic_bytes", c_uint)),
        *(("stream", c_void_p), ("attributes", POINTER(_Attribute)), ("count", c_uint)),
    )


class Context:
    """The GPU's primary context, which a process shares with everything else in it that uses the GPU, and a stream.

    Handles are plain integers. Everything made here is freed by `close`."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._handle = c_void_p()
        self._freed_by: dict[int, tuple[str, c_void_p]] = {}
        driver.call("cuDevicePrimaryCtxRetain", byref(self._handle), driver.device)
        self.enter()
        self.stream = self._make("cuStreamCreate", "cuStreamDestroy_v2", c_uint(_STREAM_NON_BLOCKING))

    def enter(self) -> None:
        """Make the calling thread use this context."""
        self.driver.call("cuCtxSetCurrent", self._handle)

    def module(self, code: bytes) -> c_void_p:
        """A module of machine code."""
        return self._make("cuModuleLoadData", "cuModuleUnload", c_char_p(code))

    def function(self, module: c_void_p, name: str, dynamic_bytes: int) -> c_void_p:
        """A function that may ask for so many bytes of dynamic shared memory."""
        function = c_void_p()
        self.driver.call("cuModuleGetFunction", byref(function), module, name.encode())
        if dynamic_bytes:
            self.driver.call("cuFuncSetAttribute", function, _DYNAMIC_SHARED_BYTES, c_int(dynamic_bytes))
        return function

    def memory(self, nbytes: int) -> int:
        """The address of new memory on the GPU, a multiple of 256. Raises CudaError."""
        return int(self.allocate(nbytes).value or 0)

    def allocate(self, nbytes: int) -> c_void_p:
        """The same as a handle, which `free` takes."""
        return self._make("cuMemAlloc_v2", "cuMemFree_v2", c_size_t(max(nbytes, 1)))

    def pinned(self, nbytes: int) -> int:
        """The address of new host memory that the GPU copies from and to at full speed."""
        return int(self._make("cuMemHostAlloc", "cuMemFreeHost", c_size_t(max(nbytes, 1)), c_uint(0)).value or 0)

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free."""
        free, total = c_size_t(), c_size_t()
        self.driver.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def upload(self, target: int, source: int, nbytes: int) -> None:
        """Copy from host memory, in the order of the stream."""
        self.driver.call("cuMemcpyHtoDAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.stream)

    def download(self, target: int, source: int, nbytes: int) -> None:
        """Copy to host memory, in the order of the stream."""
        self.driver.call("cuMemcpyDtoHAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.stream)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU's memory, in the order of the stream."""
        self.driver.call("cuMemcpyDtoDAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.stream)

    def synchronise(self) -> None:
        """Wait for all that the stream was given."""
        self.driver.call("cuStreamSynchronize", self.stream)

    def synchronise_all(self) -> None:
        """Wait for all that the GPU was given by this process."""
        self.driver.call("cuCtxSynchronize")

    def launch(self, launch: Launch) -> None:
        """Give the stream a kernel."""
        cluster = _Attribute(_CLUSTER_DIMENSION, 0, (c_uint * 16)(*launch.cluster))
        configuration = _Configuration(
            *(launch.grid, launch.block, launch.dynamic_bytes, self.stream, pointer(cluster)),
            int(prod(launch.cluster) > 1),
        )
        self.driver.call("cuLaunchKernelEx", byref(configuration), launch.function, launch.parameters, None)

    def begin_capture(self) -> None:
        """From now on record what the stream is given instead of doing it."""
        self.driver.call("cuStreamBeginCapture_v2", self.stream, c_int(_CAPTURE_THREAD_LOCAL))

    def end_capture(self) -> c_void_p:
        """What was recorded, ready to be launched as one."""
        graph = c_void_p()
        self.driver.call("cuStreamEndCapture", self.stream, byref(graph))
        try:
            return self._make("cuGraphInstantiateWithFlags", "cuGraphExecDestroy", graph, ctypes.c_ulonglong(0))
        finally:
            self.driver.call("cuGraphDestroy", graph)

    def replay(self, graph: c_void_p) -> None:
        """Give the stream what was recorded."""
        self.driver.call("cuGraphLaunch", graph, self.stream)

    def event(self) -> c_void_p:
        """A mark that can be put into the stream."""
        return self._make("cuEventCreate", "cuEventDestroy_v2", c_uint(0))

    def record(self, event: c_void_p) -> None:
        """Put a mark into the stream."""
        self.driver.call("cuEventRecord", event, self.stream)

    def nanoseconds(self, begin: c_void_p, end: c_void_p) -> int:
        """Between two marks that the stream has passed."""
        milliseconds = c_float()
        self.driver.call("cuEventElapsedTime", byref(milliseconds), begin, end)
        return round(milliseconds.value * 1e6)

    def free(self, handle: c_void_p) -> None:
        """Free something that was made here, unless `close` has."""
        if found := self._freed_by.pop(id(handle), None):
            self.driver.call(*found)

    def close(self) -> None:
        """Free everything that was made here, the last first."""
        self.enter()
        while self._freed_by:
            self.driver.call(*self._freed_by.popitem()[1])
        self.driver.call("cuDevicePrimaryCtxRelease_v2", self.driver.device)

    def _make(self, function: str, free: str, *arguments: Any) -> c_void_p:
        handle = c_void_p()
        self.driver.call(function, byref(handle), *arguments)
        self._freed_by[id(handle)] = (free, handle)
        return handle


class Allocation:
    """Memory of the GPU that is freed when nothing holds this object."""

    def __init__(self, context: Context, nbytes: int) -> None:
        self.nbytes, self._context = nbytes, context
        self._handle = context.allocate(nbytes)
        self.address = int(self._handle.value or 0)

    def __del__(self) -> None:
        self._context.enter()
        self._context.free(self._handle)
