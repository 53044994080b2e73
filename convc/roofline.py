"""The roofline: how fast this machine multiplies and reads memory at the most, measured (Williams, Waterman and
Patterson, "Roofline", CACM 2009)."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from convc.runtime.arrays import arena

ROUNDS = 8
READ_BYTES = 256 << 20
"""More than a core's share of the last cache, and than what neighbours on a server leave of it."""


@dataclass(frozen=True)
class Roofline:
    """What some threads do at the most: `gflops` of multiply-adds, each counted as two, and `gbytes` read from memory a
    second."""

    gflops: float
    gbytes: float

    def bound(self, macs: int, nbytes: int, nanoseconds: float) -> tuple[str, float]:
        """What bounds a kernel, `compute` or `memory`, and the part of that bound which it reaches. More than 1 is
        possible: operands may come from a cache, and Winograd's algorithm does with fewer multiplications."""
        compute, memory = 2 * macs / self.gflops, nbytes / self.gbytes
        return ("compute" if compute > memory else "memory"), max(compute, memory) / max(nanoseconds, 1)


def measure(threads: int = 1, vector_bytes: int | None = None) -> Roofline:
    """The roofline of so many threads, in about 0.2 s. Raises ToolchainError where there is no compiler."""
    from convc.targets.cpus import parse_cpu

    width = vector_bytes or parse_cpu("cpu").vector_bits // 8
    library, memory, result = _library(), arena(READ_BYTES), ctypes.c_float()
    memory[:] = 1  # pages that were never written are all one
    part = READ_BYTES // threads

    def multiply(_: int) -> float:
        return 2 * library.convc_multiply(width, 10_000_000 // 3, ctypes.byref(result))

    def read(thread: int) -> float:
        library.convc_read(width, ctypes.c_void_p(memory.ctypes.data + thread * part), part, ctypes.byref(result))
        return part

    with ThreadPoolExecutor(threads) as pool:
        return Roofline(*(max(_rate(pool, work, threads) for _ in range(ROUNDS)) for work in (multiply, read)))


def _rate(pool: ThreadPoolExecutor, work: Callable[[int], float], threads: int) -> float:
    """Units of work in a nanosecond while all threads do theirs."""
    begin = time.perf_counter_ns()
    done = sum(pool.map(work, range(threads)))
    return done / (time.perf_counter_ns() - begin)


def _library() -> ctypes.CDLL:
    from convc.scratch import Scratch
    from convc.targets.toolchain import NATIVE, compile_c, link

    with Scratch() as folder:
        object_file, path = folder / "peak.o", folder / "peak.so"
        compile_c(NATIVE / "peak.c", object_file, platform.machine())
        link(path, [object_file], platform.machine())
        library = ctypes.CDLL(str(path))
    library.convc_multiply.restype = ctypes.c_int64
    library.convc_multiply.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_void_p)
    library.convc_read.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    library.convc_read.restype = None
    return library
