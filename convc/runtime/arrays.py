"""Memory that kernels can use: aligned arrays, arenas on huge pages, and a caller's arrays made so."""

from __future__ import annotations

import ctypes
import mmap
from math import prod
from typing import Any

import numpy as np

from convc.notation import shape_text

ALIGNMENT = 64
_HUGE_PAGE = 2 << 20


class InputError(ValueError):
    """Inputs that do not fit the network; the message is one line for the user."""


def address(array: np.ndarray) -> int:
    """Where an array's memory begins. numpy takes 5 us to say so; ctypes a tenth of that, of what may be written."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (BufferError, TypeError, ValueError):  # read-only, with strides, empty, of a type unknown to buffers
        return array.ctypes.data


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array at a multiple of 64 bytes."""
    nbytes = prod(shape) * dtype.itemsize
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    offset = -address(memory) % ALIGNMENT
    return np.ndarray(shape, dtype, memory, offset)


def arena(nbytes: int) -> np.ndarray:
    """Zeroed bytes, at a multiple of 64. Large ones ask the system for huge pages: one entry of the TLB then covers
    2 MiB, and reading 100 MB of weights misses it 50 times, not 25,000 times."""
    if nbytes < _HUGE_PAGE:
        memory = aligned_empty((max(nbytes, 1),), np.dtype(np.uint8))
        memory[:] = 0
        return memory
    # A multiple of the page beyond what is needed lets the array begin at one.
    mapping = mmap.mmap(-1, nbytes + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = np.frombuffer(mapping, np.uint8)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            mapping.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return memory[:nbytes]  # a kernel without them: it works as well, a little slower
    offset = -address(memory) % _HUGE_PAGE
    return memory[offset : offset + nbytes]


def usable(value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A caller's array as kernels read it: dense, aligned and in this machine's byte order, copied only if it is not.
    Anything with DLPack or numpy's array protocol is taken. Raises InputError for another shape or dtype."""
    if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
        try:
            array = np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            raise InputError(f"input '{name}' cannot be read from the CPU's memory: {error}") from None
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:  # lists of different lengths
            raise InputError(f"input '{name}' is no array: {error}") from None
    if array.dtype.newbyteorder("=") != dtype:
        raise InputError(f"input '{name}': expected {dtype}, got {array.dtype}")
    if array.shape != shape:
        raise InputError(f"input '{name}': expected shape {shape_text(shape)}, got {shape_text(array.shape)}")
    if array.flags.c_contiguous and address(array) % ALIGNMENT == 0 and array.dtype.isnative:
        return array
    copy = aligned_empty(shape, dtype)
    np.copyto(copy, array)
    return copy


def dtype_named(name: str) -> np.dtype:
    """numpy's type of this name; ml_dtypes adds bfloat16 and narrower ones to them."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # noqa: F401 - registers them

        return np.dtype(name)
