"""A network that can be run: an artifact's library, its weights, and memory for its intermediate values."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from convc.artifact.manifest import KERNELS, WEIGHTS, ArtifactError, check_files, read_manifest
from convc.runtime.arrays import InputError, aligned_empty, arena, text, usable

ABI = 1
Signature: TypeAlias = list[tuple[str, tuple[int, ...], np.dtype]]


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


@dataclass(frozen=True)
class StepTime:
    """How long one kernel of a run took. `macs` and `nbytes` are the work that it does at the least."""

    kernel: str
    name: str
    nanoseconds: int
    macs: int
    nbytes: int


class _Variant:
    """The network for one set of input shapes."""

    def __init__(self, entry: Mapping[str, Any], function: Any) -> None:
        self.inputs, self.outputs = _signature(entry["inputs"]), _signature(entry["outputs"])
        self.steps: list[dict[str, Any]] = entry["steps"]
        self.arena_bytes: int = entry["arena_bytes"]
        self.function = function


class Executable:
    """A loaded network: call it with arrays. Calls from several threads take turns, since they share memory.

    `x` in `exe(x)` is the array of the only input, or a mapping by name; the result is the only output's array, or a
    dictionary by name. `threads` may be set at any time.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], threads: int | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.threads = threads or manifest["threads"] or usable_cores()
        if missing := lacking(manifest["target"]):
            raise ArtifactError(f"built for {manifest['target']['name']}: {missing}; build it again for this machine")
        self._library = _open_library(folder / KERNELS)
        self._variants = [
            _Variant(entry, getattr(self._library, f"convc_run_{number}"))
            for number, entry in enumerate(manifest["variants"])
        ]
        self._weights = _read_weights(folder / WEIGHTS, manifest["weight_bytes"])
        self._arena = arena(max(variant.arena_bytes for variant in self._variants))
        self._lock = threading.Lock()
        self._owned: object = None  # a temporary folder that lives as long as this object

    @property
    def inputs(self) -> Signature:
        """(name, shape, dtype) of each input, for the first set of shapes."""
        return self._variants[0].inputs

    @property
    def outputs(self) -> Signature:
        """(name, shape, dtype) of each output, for the first set of shapes."""
        return self._variants[0].outputs

    @property
    def signatures(self) -> list[Signature]:
        """The inputs of every variant."""
        return [variant.inputs for variant in self._variants]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on the only input's array, on a mapping by name, or on arrays as keyword arguments."""
        if len(args) == 1 and not kwargs:
            feed = args[0] if isinstance(args[0], Mapping) else {self._only_input(): args[0]}
        elif kwargs and not args:
            feed = kwargs
        else:
            raise InputError(f"expected one array, one mapping or arrays by name, got {len(args)} arguments")
        outputs = self.run(feed)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs by name, in fresh memory. Raises InputError."""
        return self._run(inputs, None)[1]

    def profile(self, inputs: Mapping[str, Any]) -> list[StepTime]:
        """Run once; how long each kernel took, in order."""
        steps = max(len(variant.steps) for variant in self._variants)
        ends = (ctypes.c_int64 * steps)()
        variant = self._run(inputs, ends)[0]
        begins = [0, *ends]
        return [
            StepTime(step["kernel"], step["name"], end - begin, step["macs"], step["bytes"])
            for step, begin, end in zip(variant.steps, begins, ends)
        ]

    def save(self, path: str | Path) -> None:
        """Copy the artifact to another folder, which must not exist."""
        target = Path(path)
        if target.exists():
            raise FileExistsError(f"{target} exists")
        shutil.copytree(self.folder, target)

    def _run(self, inputs: Mapping[str, Any], ends: Any) -> tuple[_Variant, dict[str, np.ndarray]]:
        variant = self._variant(inputs)
        arrays = [usable(inputs[name], name, shape, dtype) for name, shape, dtype in variant.inputs]
        results = {name: aligned_empty(shape, dtype) for name, shape, dtype in variant.outputs}
        call = Call(
            _pointers(arrays),
            _pointers(list(results.values())),
            self._weights.ctypes.data,
            self._arena.ctypes.data,
            ends,
            self.threads,
        )
        with self._lock:
            status = variant.function(ctypes.byref(call))
        if status:
            raise MemoryError(f"the kernel of '{variant.steps[status - 1]['name']}' got no scratch memory")
        return variant, results

    def _variant(self, inputs: Mapping[str, Any]) -> _Variant:
        """The variant for some inputs: the one whose shapes fit, or the first, which says what does not fit."""
        first = self._variants[0]
        names = [name for name, _, _ in first.inputs]
        if unknown := [name for name in inputs if name not in names]:
            raise InputError(f"unknown input '{unknown[0]}'; the inputs are {', '.join(names) or 'none'}")
        if missing := [name for name in names if name not in inputs]:
            raise InputError(f"input '{missing[0]}' is missing; the inputs are {', '.join(names)}")
        if len(self._variants) == 1:
            return first
        shapes = [tuple(getattr(inputs[name], "shape", np.shape(inputs[name]))) for name in names]
        for variant in self._variants:
            if [shape for _, shape, _ in variant.inputs] == shapes:
                return variant
        built = "; ".join(", ".join(f"{name} {text(s)}" for name, s, _ in v.inputs) for v in self._variants)
        got = ", ".join(f"{name} {text(shape)}" for name, shape in zip(names, shapes))
        raise InputError(f"no variant for {got}; built for: {built}")

    def _only_input(self) -> str:
        if len(self.inputs) != 1:
            names = ", ".join(name for name, _, _ in self.inputs) or "none"
            raise InputError(f"expected arrays by name, since the inputs are {names}")
        return self.inputs[0][0]


def load(path: str | Path, threads: int | None = None) -> Executable:
    """The network in an artifact's folder, to run on so many threads (default: the cores that this process may use).

    Raises ArtifactError for what is no artifact, was altered since it was built, or needs another processor.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return Executable(folder, manifest, threads)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _signature(entries: Sequence[Mapping[str, Any]]) -> Signature:
    return [(entry["name"], tuple(entry["shape"]), _dtype(entry["dtype"])) for entry in entries]


def _dtype(name: str) -> np.dtype:
    """numpy's type of this name; ml_dtypes adds bfloat16 and narrower ones to them."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # noqa: F401 - registers them

        return np.dtype(name)


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))


def _open_library(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path.resolve()))
    except OSError as error:
        raise ArtifactError(f"cannot load {path}: {error}") from None
    if (found := library.convc_abi()) != ABI:
        raise ArtifactError(f"{path} has the interface {found}, this convc calls {ABI}: build it again")
    return library


def _read_weights(path: Path, nbytes: int) -> np.ndarray:
    """The data section of a weight file, in an arena."""
    memory = arena(nbytes)
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        if 8 + header + nbytes != path.stat().st_size:
            raise ArtifactError(f"{path} should hold {nbytes} bytes of weights, its size says otherwise")
        file.seek(header, os.SEEK_CUR)
        file.readinto(memory[:nbytes].data)
    memory.flags.writeable = False
    return memory


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
