"""Memory of results: taken from a pool and given back in the order of streams, so that nobody waits for the GPU."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from ctypes import byref, c_int, c_size_t, c_ubyte, c_uint64, c_ushort, c_void_p

from convc.runtime.cuda.driver import Context, CudaError, Driver
from convc.runtime.cuda.streams import Stream

ALIGNMENT = 256
"""Bytes: where tensors begin that share memory, as all memory does that the driver gives."""
_PINNED = 1  # CUmemAllocationType: not to be moved
_DEVICE = 1  # CUmemLocationType
_RELEASE_THRESHOLD = 4  # CUmemPool_attribute


class _Properties(ctypes.Structure):
    """CUmemPoolProps."""

    _fields_ = (
        *(("kind", c_int), ("handles", c_int), ("location", c_int), ("device", c_int), ("security", c_void_p)),
        *(("most_bytes", c_size_t), ("usage", c_ushort), ("reserved", c_ubyte * 54)),
    )


class Pool:
    """Keeps what is given back for the next result, and lives as long as any result does."""

    def __init__(self, driver: Driver) -> None:
        self.context = Context(driver)
        properties = _Properties(kind=_PINNED, location=_DEVICE, device=driver.device.value)
        self.handle = self.context.make("cuMemPoolCreate", "cuMemPoolDestroy", byref(properties))
        driver.call("cuMemPoolSetAttribute", self.handle, _RELEASE_THRESHOLD, byref(c_uint64(2**64 - 1)))


class Allocation:
    """Memory of the GPU for what a stream does from now on. When nothing holds this object it is given back in the
    order of that stream, or, if it is `shared` with others, when the GPU has done all that it was given."""

    def __init__(self, pool: Pool, nbytes: int, stream: Stream) -> None:
        self.nbytes, self.pool, self.stream, self.shared = nbytes, pool, stream, False
        place = c_uint64()
        size = c_size_t(max(nbytes, 1))
        pool.context.driver.call("cuMemAllocFromPoolAsync", byref(place), size, pool.handle, stream.handle)
        self.address = place.value

    def __del__(self) -> None:
        if not hasattr(self, "address") or self.pool.context.closed:
            return
        with suppress(CudaError):  # as in `Context.free`
            self.pool.context.enter()
            if self.shared:
                self.pool.context.synchronise_all()
            self.pool.context.driver.call("cuMemFreeAsync", c_uint64(self.address), self.stream.handle)


def aligned(nbytes: int) -> int:
    """The bytes that a tensor takes up beside others."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
