"""An artifact's programs on this machine's CPU: a library of kernels, weights, and an arena for what is between."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from convc.artifact.manifest import KERNELS, WEIGHTS, ArtifactError
from convc.runtime.arrays import InputError, address, aligned_empty, arena, dtype_named, usable
from convc.runtime.weights import read_weights

ABI = 1
_MOST_THREADS = 1 << 16
"""More than the library starts, few enough for 32 bits."""
_LOADS = count(1)


class Call(ctypes.Structure):
    """struct convc_call of targets/native/convc.h."""

    _fields_ = (
        ("inputs", ctypes.POINTER(ctypes.c_void_p)),
        ("outputs", ctypes.POINTER(ctypes.c_void_p)),
        ("weights", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("nanoseconds", ctypes.POINTER(ctypes.c_int64)),
        ("threads", ctypes.c_int32),
    )


class _Program:
    """The function of a variant, and what it computes."""

    def __init__(self, library: ctypes.CDLL, number: int, entry: Mapping[str, Any]) -> None:
        self.run = library[f"convc_run_{number}"]
        self.outputs = [(tuple(tensor["shape"]), dtype_named(tensor["dtype"])) for tensor in entry["outputs"]]
        self.steps: list[str] = [step["name"] for step in entry["steps"]]


class CpuEngine:
    """Runs the variants of an artifact. Calls from several threads take turns, since they share memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        if missing := lacking(manifest["target"]):
            raise ArtifactError(f"built for {manifest['target']['name']}: {missing}; build it again for this machine")
        library, variants = _open_library(folder / KERNELS["cpu"]), manifest["variants"]
        for number, entry in enumerate(variants):
            _check_sizes(library, number, entry, folder)
        self._programs = [_Program(library, number, entry) for number, entry in enumerate(variants)]
        self._weights = read_weights(folder / WEIGHTS, manifest["weight_bytes"])
        self._arena = arena(max(variant["arena_bytes"] for variant in variants))
        self._memory = address(self._weights), address(self._arena)
        self._lock = threading.Lock()
        _engines.add(self)

    def order(self, stream: Any) -> None:
        """A CPU has no streams. Raises InputError for one."""
        if stream is not None:
            raise InputError(f"stream: the network runs on a CPU, which has none, got {stream!r}")

    def prepare(
        self, value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, stream: None = None
    ) -> np.ndarray:
        """A caller's array as kernels read it. Raises InputError."""
        return usable(value, name, shape, dtype)

    def run(self, number: int, inputs: Sequence[np.ndarray], threads: int, stream: None = None) -> list[np.ndarray]:
        """The outputs of a variant, in fresh memory."""
        return self._run(number, inputs, threads, None)

    def profile(self, number: int, inputs: Sequence[np.ndarray], threads: int) -> list[int]:
        """Run once; how many nanoseconds each step took."""
        ends = (ctypes.c_int64 * len(self._programs[number].steps))()
        self._run(number, inputs, threads, ends)
        return [end - begin for begin, end in zip([0, *ends], ends)]

    def _run(self, number: int, inputs: Sequence[np.ndarray], threads: int, ends: Any) -> list[np.ndarray]:
        program = self._programs[number]
        results = [aligned_empty(shape, dtype) for shape, dtype in program.outputs]
        call = Call(_pointers(inputs), _pointers(results), *self._memory, ends, min(threads, _MOST_THREADS))
        with self._lock:
            status = program.run(ctypes.byref(call))
        if status:
            raise MemoryError(f"the kernel of '{program.steps[status - 1]}' got no scratch memory")
        return results


_engines: WeakSet[CpuEngine] = WeakSet()


def _unlock() -> None:
    """In a forked child, where no thread is left that would: the lock may have been closed in its parent."""
    for engine in _engines:
        engine._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*map(address, arrays))


def _open_library(path: Path) -> ctypes.CDLL:
    """The library in a file. The dynamic linker takes a name that it has met for the file that had it then, though an
    artifact may have been built there again since; so a file has another name each time: `/` and `/.` write a number
    into its path. The same file is still loaded once."""
    number = f"{next(_LOADS):b}".replace("0", "/").replace("1", "/.")
    try:
        library = ctypes.CDLL(f"{path.parent.resolve()}{number}/{path.name}")
    except OSError as error:
        raise ArtifactError(f"cannot load {path}: {error}") from None
    if (found := library.convc_abi()) != ABI:
        raise ArtifactError(f"{path} has the interface {found}, this convc calls {ABI}: build it again")
    return library


def _check_sizes(library: ctypes.CDLL, number: int, entry: Mapping[str, Any], folder: Path) -> None:
    """Raises ArtifactError where the code works on other memory than a variant in the manifest says."""
    tensors = (*entry["inputs"], *entry["outputs"])
    said = [len(entry["steps"]), entry["arena_bytes"], len(entry["inputs"]), len(entry["outputs"])]
    said += [prod(tensor["shape"]) * dtype_named(tensor["dtype"]).itemsize for tensor in tensors]
    try:
        counts = (ctypes.c_int64 * 4).in_dll(library, f"convc_sizes_{number}")
        sizes = (ctypes.c_int64 * (4 + counts[2] + counts[3])).in_dll(library, f"convc_sizes_{number}")
    except ValueError:
        raise ArtifactError(f"{folder}: its code says nothing of variant {number}: build it again") from None
    if [*sizes] != said:
        raise ArtifactError(f"{folder}: its code and its manifest disagree on variant {number}: build it again")


def lacking(target: Mapping[str, Any]) -> str:
    """What this machine lacks to run code for a target (a manifest's); empty if nothing, as far as it can tell."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    arch = str(target["triple"]).partition("-")[0]
    if arch != here:
        return f"its code is for {arch}, this machine is {here}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    missing = [feature for feature in target["required_features"] if feature not in flags]
    return f"its code needs {', '.join(missing)}, which this machine lacks" if missing else ""
