"""Streams of a GPU, convc's and other libraries', and events, by which one waits for another."""

from __future__ import annotations

import ctypes
import gc
import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_int, c_size_t, c_uint, c_void_p
from math import prod
from typing import TYPE_CHECKING, Any

from convc.runtime.arrays import InputError

if TYPE_CHECKING:
    from convc.runtime.cuda.driver import Context, Driver
    from convc.runtime.cuda.launch import Launch

LEGACY = 1
"""The handle of the default stream that all threads share, for DLPack and for the driver, which also calls it 0."""
_CLUSTER_DIMENSION, _PROGRAMMATIC_SERIALIZATION = 4, 6  # CUlaunchAttributeID
_CAPTURE_THREAD_LOCAL = 1  # other threads' calls do not spoil a capture
_DISABLE_TIMING = 2  # CUevent_flags
_NOT_READY, _CAPTURE_INVALIDATED = 600, 901  # CUresult

_capture = threading.Lock()
"""Held while a stream records: collection is the whole process's, and what switches it off switches it on again."""


@contextmanager
def _uncollected() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = (("id", c_int), ("padding", c_int), ("value", c_uint * 16))


class _Configuration(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        *(("grid", c_uint * 3), ("block", c_uint * 3), ("dynamic_bytes", c_uint)),
        *(("stream", c_void_p), ("attributes", POINTER(_Attribute)), ("count", c_uint)),
    )


class Stream:
    """What a GPU does one after another. `owner` is kept as long as this object: the stream lives at least so long."""

    def __init__(self, driver: Driver, handle: int, owner: Any = None) -> None:
        self.number = handle or LEGACY
        self.handle, self.owner, self._driver = c_void_p(self.number), owner, driver

    def upload(self, target: int, source: int, nbytes: int) -> None:
        """Copy from host memory."""
        self._driver.call("cuMemcpyHtoDAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.handle)

    def download(self, target: int, source: int, nbytes: int) -> None:
        """Copy to host memory."""
        self._driver.call("cuMemcpyDtoHAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.handle)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU's memory."""
        self._driver.call("cuMemcpyDtoDAsync_v2", c_void_p(target), c_void_p(source), c_size_t(nbytes), self.handle)

    def launch(self, launch: Launch, early: bool = False) -> None:
        """Run a kernel; `early`: it may begin before the kernel before has ended, if it waits for that itself."""
        chosen = []
        if prod(launch.cluster) > 1:
            chosen.append(_Attribute(_CLUSTER_DIMENSION, 0, (c_uint * 16)(*launch.cluster)))
        if early and launch.early:
            chosen.append(_Attribute(_PROGRAMMATIC_SERIALIZATION, 0, (c_uint * 16)(1)))
        attributes = ctypes.cast((_Attribute * len(chosen))(*chosen), POINTER(_Attribute))
        configuration = _Configuration(
            *(launch.grid, launch.block, launch.dynamic_bytes, self.handle, attributes, len(chosen))
        )
        self._driver.call("cuLaunchKernelEx", byref(configuration), launch.function, launch.parameters, None)

    def recorded(self, work: Callable[[], None]) -> c_void_p:
        """What some work gives the stream, recorded instead of done: a CUgraph. No garbage is collected meanwhile:
        destructors free memory and wait for the GPU, which spoils a capture of their thread (cuda.h,
        cuThreadExchangeStreamCaptureMode)."""
        graph = c_void_p()
        with _capture, _uncollected():
            self._driver.call("cuStreamBeginCapture_v2", self.handle, c_int(_CAPTURE_THREAD_LOCAL))
            try:
                work()
            except BaseException:
                # What is recorded so far is lost, or spoilt already.
                self._driver.answer("cuStreamEndCapture", _CAPTURE_INVALIDATED, self.handle, byref(graph))
                if graph:
                    self._driver.call("cuGraphDestroy", graph)
                raise
            self._driver.call("cuStreamEndCapture", self.handle, byref(graph))
        return graph

    def replay(self, graph: Graph) -> None:
        """Do what was recorded."""
        self._driver.call("cuGraphLaunch", graph.handle, self.handle)

    def record(self, event: Event) -> None:
        """The event passes when all that the stream was given so far is done."""
        self._driver.call("cuEventRecord", event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Go on only when an event has passed; the host does not wait."""
        self._driver.call("cuStreamWaitEvent", self.handle, event.handle, c_uint(0))

    def follow(self, other: Stream, context: Context) -> None:
        """Go on only when all that another stream was given so far is done."""
        event = Event(context)
        other.record(event)
        self.wait(event)

    def synchronise(self) -> None:
        """Wait for all that the stream was given."""
        self._driver.call("cuStreamSynchronize", self.handle)


class Event:
    """A mark that can be put into a stream; forgotten when nothing holds this object."""

    def __init__(self, context: Context, timed: bool = False) -> None:
        self._context = context
        self.handle = context.make("cuEventCreate", "cuEventDestroy_v2", c_uint(0 if timed else _DISABLE_TIMING))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._context.free(self.handle)

    @property
    def passed(self) -> bool:
        """Whether all before it is done."""
        return self._context.driver.answer("cuEventQuery", _NOT_READY, self.handle) != _NOT_READY

    def synchronise(self) -> None:
        """Wait for all before it."""
        self._context.driver.call("cuEventSynchronize", self.handle)

    def nanoseconds_to(self, end: Event) -> int:
        """Between two timed events that have passed."""
        milliseconds = ctypes.c_float()
        self._context.driver.call("cuEventElapsedTime", byref(milliseconds), self.handle, end.handle)
        return round(milliseconds.value * 1e6)


class Graph:
    """What a stream recorded, ready to be replayed; it must be held until that is done."""

    def __init__(self, context: Context, recorded: c_void_p) -> None:
        self._context = context
        flags = ctypes.c_ulonglong(0)
        try:
            self.handle = context.make("cuGraphInstantiateWithFlags", "cuGraphExecDestroy", recorded, flags)
        finally:
            context.driver.call("cuGraphDestroy", recorded)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._context.free(self.handle)


def handle_of(stream: Any) -> int:
    """The driver's handle of a caller's stream: that number itself, or an object of PyTorch, CuPy or whoever has
    `__cuda_stream__`. Raises InputError for anything else."""
    found = stream
    if hasattr(stream, "__cuda_stream__"):
        found = stream.__cuda_stream__()[1]
    else:
        for name in ("cuda_stream", "ptr"):
            found = getattr(stream, name, found)
    try:
        handle = -1 if isinstance(found, bool) else operator.index(found)
    except TypeError:
        handle = -1
    if handle < 0:
        raise InputError(f"stream: expected a CUDA stream of PyTorch or CuPy, or its handle, got {stream!r}")
    return handle
