"""A network that can be run: an artifact's library, its weights, and memory for its intermediate values."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from convc.artifact.manifest import MANIFEST, ArtifactError, check_files, read_manifest
from convc.notation import shape_text
from convc.runtime import cpu
from convc.runtime.arrays import InputError, dtype_named
from convc.runtime.cpu import CpuEngine, usable_cores

Signature: TypeAlias = list[tuple[str, tuple[int, ...], np.dtype]]


@dataclass(frozen=True)
class StepTime:
    """How long one kernel of a run took. `macs` and `nbytes` are the work that it does at the least."""

    kernel: str
    name: str
    nanoseconds: int
    macs: int
    nbytes: int


class Engine(Protocol):
    """Runs the variants of an artifact on one kind of hardware, on so many threads where that means anything."""

    def order(self, stream: Any) -> Any:
        """A caller's stream as `prepare` and `run` take it; None if the caller has none. Raises InputError."""

    def prepare(self, value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, stream: Any = None) -> Any:
        """A caller's array as `run` takes it: dense, aligned, of this shape and type. Raises InputError."""

    def run(self, number: int, inputs: Sequence[Any], threads: int, stream: Any = None) -> list[Any]:
        """The outputs of a variant, in fresh memory."""

    def profile(self, number: int, inputs: Sequence[Any], threads: int) -> list[int]:
        """Run once; how many nanoseconds each step took."""


class _Variant:
    """The network for one set of input shapes."""

    def __init__(self, entry: Mapping[str, Any], number: int) -> None:
        self.inputs, self.outputs = _signature(entry["inputs"]), _signature(entry["outputs"])
        self.steps: list[dict[str, Any]] = entry["steps"]
        self.number = number


class Executable:
    """A loaded network: call it with arrays. Calls from several threads take turns, since they share memory; calls of
    several networks do not.

    `x` in `exe(x)` is the array of the only input, or a mapping by name; the result is the only output's array, or a
    dictionary by name. `threads` may be set at any time. A copy, and what another process unpickles, loads the
    artifact's folder again.

    On a GPU, `exe(x, stream=s)` does its work on a stream of the caller, which is one of PyTorch or CuPy or the handle
    of any: after what the stream was given before, and before what it is given later. If an input lies in the GPU's
    memory, nothing waits: the call returns while the GPU works, and the results may be used on that stream at once, and
    on others that take them by DLPack. Without `stream` the call returns when the results are there. A stream that is
    given as a handle must live as long as the results.
    """

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], threads: int | None = None, engine: Engine | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.manifest = manifest
        self.threads = manifest["threads"] or usable_cores() if threads is None else threads
        self._engine = engine or _engine(folder, manifest)
        self._variants = [_Variant(entry, number) for number, entry in enumerate(manifest["variants"])]
        self._owned: object = None  # a temporary folder that lives as long as this object

    def __reduce__(self) -> tuple[Any, ...]:
        return load, (self.folder, self.threads)

    @property
    def threads(self) -> int:
        """How many threads of a CPU a run takes. Raises ValueError when it is set to anything but 1 or more."""
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        if not isinstance(threads, int | np.integer) or isinstance(threads, bool) or threads < 1:
            raise ValueError(f"threads: expected a whole number of at least 1, got {threads!r}")
        self._threads = int(threads)

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

    def __call__(self, *args: Any, stream: Any = None, **kwargs: Any) -> Any:
        """Run on the only input's array, on a mapping by name, or on arrays as keyword arguments (one that is called
        `stream` comes in a mapping). Raises InputError."""
        if len(args) == 1 and not kwargs:
            feed = args[0] if isinstance(args[0], Mapping) else {self._only_input(): args[0]}
        elif kwargs and not args:
            feed = kwargs
        else:
            raise InputError(f"expected one array, one mapping or arrays by name, got {len(args)} arguments")
        outputs = self.run(feed, stream=stream)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, inputs: Mapping[str, Any], *, stream: Any = None) -> dict[str, Any]:
        """The outputs by name, in fresh memory: numpy arrays; or, on a GPU, if any input lies in its memory, tensors
        there that DLPack hands on, which are written in the order of `stream`, if there is one. Raises InputError."""
        order = self._engine.order(stream)
        variant, arrays = self._prepared(inputs, order)
        results = self._engine.run(variant.number, arrays, self.threads, order)
        return {name: result for (name, _, _), result in zip(variant.outputs, results, strict=True)}

    def profile(self, inputs: Mapping[str, Any]) -> list[StepTime]:
        """Run once; how long each kernel took, in order."""
        variant, arrays = self._prepared(inputs)
        return [
            StepTime(step["kernel"], step["name"], nanoseconds, step["macs"], step["bytes"])
            for step, nanoseconds in zip(
                variant.steps, self._engine.profile(variant.number, arrays, self.threads), strict=True
            )
        ]

    def save(self, path: str | Path) -> None:
        """Copy the artifact to another folder, which must not exist. Raises FileExistsError and OSError, or
        ArtifactError if the artifact is not there any more as it was loaded, and leaves nothing behind when it does."""
        from convc.artifact.writer import new_folder

        target = Path(path)
        if target.exists():
            raise FileExistsError(f"{target} exists: name another folder, or remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(target) as folder:
            for name in (MANIFEST, *self.manifest["files"]):
                try:
                    shutil.copyfile(self.folder / name, folder / name)
                except FileNotFoundError:
                    raise ArtifactError(f"{self.folder} was removed since it was loaded: {name} is missing") from None
            if read_manifest(folder)["digest"] != self.manifest["digest"]:
                raise ArtifactError(f"{self.folder} was built again since it was loaded: load it again")
            check_files(folder, self.manifest)

    def _prepared(self, inputs: Mapping[str, Any], order: Any = None) -> tuple[_Variant, list[Any]]:
        if not isinstance(inputs, Mapping):
            raise InputError(f"expected a mapping of arrays by name, got {type(inputs).__name__}")
        variant = self._variant(inputs)
        prepare = self._engine.prepare
        return variant, [prepare(inputs[name], name, shape, dtype, order) for name, shape, dtype in variant.inputs]

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
        built = "; ".join(", ".join(f"{name} {shape_text(s)}" for name, s, _ in v.inputs) for v in self._variants)
        got = ", ".join(f"{name} {shape_text(shape)}" for name, shape in zip(names, shapes))
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
    while True:
        before = _stamp(folder)
        try:
            manifest = read_manifest(folder)
            check_files(folder, manifest)
            executable = Executable(folder, manifest, threads)
        except (ArtifactError, OSError):
            if _stamp(folder) == before:
                raise
        else:
            if _stamp(folder) == before:
                return executable
        # It was built again meanwhile: some of what was read may be of the old one, some of the new.


def _stamp(folder: Path) -> tuple[int, int] | None:
    """What tells an artifact from another in the same place."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _signature(entries: Sequence[Mapping[str, Any]]) -> Signature:
    return [(entry["name"], tuple(entry["shape"]), dtype_named(entry["dtype"])) for entry in entries]


def lacking(target: Mapping[str, Any]) -> str:
    """What this machine lacks to run code for a target (a manifest's); empty if nothing, as far as it can tell."""
    if target["kind"] == "cuda":
        from convc.runtime.cuda import engine

        return engine.lacking(target)
    return cpu.lacking(target)


def _engine(folder: Path, manifest: Mapping[str, Any]) -> Engine:
    if manifest["target"]["kind"] == "cuda":
        from convc.runtime.cuda.engine import CudaEngine

        return CudaEngine(folder, manifest)
    return CpuEngine(folder, manifest)
