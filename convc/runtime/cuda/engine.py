"""An artifact's programs on a GPU: kernels, weights and intermediate values there, each network one CUDA graph."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_void_p
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convc.artifact.manifest import KERNELS, WEIGHTS, ArtifactError
from convc.runtime.arrays import aligned_empty, dtype_named, usable
from convc.runtime.cuda.dlpack import DeviceArray, device_array, on_device
from convc.runtime.cuda.driver import Allocation, Context, CudaError, Driver, capability_of
from convc.runtime.cuda.launch import Launch, memory_of
from convc.runtime.weights import read_weights

_ALIGNMENT = 256
"""What vector accesses and tensor maps may ask of an address."""
_GRAPHS = 8
"""Sets of addresses of inputs whose graphs are kept."""


class CudaEngine:
    """Runs the variants of an artifact on this machine's GPU, or, with a `driver` and modules of machine `code` for it,
    on what that drives. `weights` are the bytes of its weights, where those are not the artifact's. Calls from several
    threads take turns. Raises ArtifactError."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        driver: Driver | None = None,
        code: Sequence[bytes] = (),
        weights: np.ndarray | None = None,
    ) -> None:
        if driver is None and (missing := lacking(manifest["target"])):
            raise ArtifactError(f"built for {manifest['target']['name']}: {missing}")
        self._context = Context(driver or Driver())
        self._close = weakref.finalize(self, self._context.close)
        self._lock = threading.Lock()
        try:
            code = code or [(folder / KERNELS["cuda"]).read_bytes()]
            weights = read_weights(folder / WEIGHTS, manifest["weight_bytes"]) if weights is None else weights
            self._load(manifest, code, weights)
        except CudaError as error:
            self._close()
            raise ArtifactError(f"cannot load {folder}: {error}") from None

    def _load(self, manifest: Mapping[str, Any], code: Sequence[bytes], weights: np.ndarray) -> None:
        context = self._context
        modules = [context.module(each) for each in code]
        variants = manifest["variants"]
        sizes = {
            "weight": weights.nbytes,
            "input": max(_total(variant["inputs"]) for variant in variants),
            "output": max(_total(variant["outputs"]) for variant in variants),
            "arena": max(variant["arena_bytes"] for variant in variants),
            "scratch": max((kernel["scratch_bytes"] for kernel in manifest["kernels"].values()), default=0),
        }
        needed = sum(map(_aligned, sizes.values()))
        try:
            base = context.memory(needed)
            pinned = context.pinned(sizes["input"] + sizes["output"])
        except CudaError as error:
            if not error.out_of_memory:
                raise
            free = context.free_bytes()
            raise CudaError(f"it needs {needed >> 20} MiB of the GPU's memory, {free >> 20} MiB are free") from None
        regions = {}
        for name, size in sizes.items():
            regions[name] = (base, base + _aligned(size))
            base += _aligned(size)
        context.upload(regions["weight"][0], weights.ctypes.data, weights.nbytes)
        context.synchronise()
        functions = {
            launch["function"]: context.function(module, launch["function"], launch["dynamic_bytes"])
            for kernel in manifest["kernels"].values()
            for module in (modules[kernel.get("module", 0)],)
            for launch in kernel["launches"]
        }
        self._variants = [
            _Variant(context, variant, manifest["kernels"], functions, regions, pinned) for variant in variants
        ]

    def prepare(self, value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | DeviceArray:
        """A caller's array as it is read: a tensor in the GPU's memory where it lies. Raises InputError."""
        if on_device(value):
            with self._lock:
                self._context.enter()
                found = device_array(value, name, shape, dtype)
                self._context.synchronise_all()  # whatever writes it, on whatever stream
            return found
        return usable(value, name, shape, dtype)

    def run(self, number: int, inputs: Sequence[np.ndarray | DeviceArray], threads: int) -> list[Any]:
        """The outputs of a variant, in fresh memory: of the GPU, as DeviceArrays, if any input lies there."""
        with self._lock:
            self._context.enter()
            return self._variants[number].run(inputs)

    def profile(self, number: int, inputs: Sequence[np.ndarray | DeviceArray], threads: int) -> list[int]:
        """Run once; how many nanoseconds each step took, launched by itself."""
        with self._lock:
            self._context.enter()
            return self._variants[number].profile(inputs)

    def elapsed(self, number: int, feeds: Sequence[Sequence[np.ndarray | DeviceArray]]) -> int:
        """Run on several (at most 8) sets of inputs, one after another; how many nanoseconds that took by the GPU's
        clock. Inputs of the host are copied before, to one place: the last counts. Outputs stay in the GPU's memory."""
        with self._lock:
            self._context.enter()
            return self._variants[number].elapsed(feeds)


class _Variant:
    """The network for one set of input shapes. Inputs of the host are copied to places of their own; for tensors that
    lie in the GPU's memory there is a graph for each set of addresses, the last few of which are kept."""

    def __init__(
        self,
        context: Context,
        variant: Mapping[str, Any],
        kernels: Mapping[str, Any],
        functions: Mapping[str, c_void_p],
        regions: Mapping[str, tuple[int, int]],
        pinned: int,
    ) -> None:
        self._context, self._kernels, self._functions, self._regions = context, kernels, functions, regions
        self._steps: list[Mapping[str, Any]] = variant["steps"]
        self._inputs = _Staged(variant["inputs"], regions["input"][0], pinned)
        self._outputs = _Staged(variant["outputs"], regions["output"][0], pinned + self._inputs.nbytes)
        self._graphs: OrderedDict[tuple[int, ...], c_void_p] = OrderedDict()
        self._graph(tuple(self._inputs.addresses))

    def run(self, inputs: Sequence[np.ndarray | DeviceArray]) -> list[Any]:
        addresses = self._upload(inputs)
        self._context.replay(self._graph(addresses))
        if any(isinstance(value, DeviceArray) for value in inputs):
            return self._outputs.copied(self._context)
        return self._outputs.download(self._context)

    def profile(self, inputs: Sequence[np.ndarray | DeviceArray]) -> list[int]:
        return self._timed([partial(self._issue, step) for step in self._launches(self._upload(inputs))])

    def elapsed(self, feeds: Sequence[Sequence[np.ndarray | DeviceArray]]) -> int:
        assert len(feeds) <= _GRAPHS, "graphs of more inputs are not kept"
        graphs = [self._graph(self._upload(inputs)) for inputs in feeds]

        def replay() -> None:
            for graph in graphs:
                self._context.replay(graph)

        return self._timed([replay])[0]

    def _timed(self, works: Sequence[Callable[[], None]]) -> list[int]:
        """How many nanoseconds the GPU takes for what each of some functions gives the stream."""
        marks = [self._context.event() for _ in range(len(works) + 1)]
        self._context.record(marks[0])
        for work, mark in zip(works, marks[1:], strict=True):
            work()
            self._context.record(mark)
        self._context.synchronise()
        times = [self._context.nanoseconds(begin, end) for begin, end in pairwise(marks)]
        for mark in marks:
            self._context.free(mark)
        return times

    def _upload(self, inputs: Sequence[np.ndarray | DeviceArray]) -> tuple[int, ...]:
        """Where the inputs lie, those of the host once the stream has copied them."""
        addresses = []
        for number, value in enumerate(inputs):
            if isinstance(value, DeviceArray):
                addresses.append(value.address)
            else:
                addresses.append(self._inputs.upload(self._context, number, value))
        return tuple(addresses)

    def _graph(self, inputs: tuple[int, ...]) -> c_void_p:
        if inputs not in self._graphs:
            steps = self._launches(inputs)
            self._context.begin_capture()
            for step in steps:
                self._issue(step)
            self._graphs[inputs] = self._context.end_capture()
            if len(self._graphs) > _GRAPHS:
                self._context.free(self._graphs.popitem(last=False)[1])
        self._graphs.move_to_end(inputs)
        return self._graphs[inputs]

    def _launches(self, inputs: Sequence[int]) -> list[list[Launch]]:
        """The launches of each step, with its inputs at some addresses."""
        regions = self._regions
        bases = {"input": self._inputs.extents(inputs), "output": self._outputs.extents(self._outputs.addresses)}
        steps = []
        for step in self._steps:
            places = []
            for space, number, offset in step["places"]:
                begin, end = bases[space][number] if space in bases else regions[space]
                places.append((begin + offset, end - begin - offset))
            memory = partial(memory_of, places, regions["scratch"])
            launches = self._kernels[step["kernel"]]["launches"]
            steps.append([Launch(self._context, self._functions[each["function"]], each, memory) for each in launches])
        return steps

    def _issue(self, step: Sequence[Launch]) -> None:
        for launch in step:
            self._context.launch(launch)


class _Staged:
    """Places of tensors in the GPU's memory, and pinned memory of the host through which they are copied."""

    def __init__(self, tensors: Sequence[Mapping[str, Any]], device: int, pinned: int) -> None:
        self.addresses: list[int] = []
        self._pinned: list[int] = []
        self._tensors = [(tuple(t["shape"]), dtype_named(t["dtype"])) for t in tensors]
        self.nbytes = 0
        for tensor in tensors:
            self.addresses.append(device + self.nbytes)
            self._pinned.append(pinned + self.nbytes)
            self.nbytes += _aligned(_nbytes(tensor))

    def extents(self, addresses: Sequence[int]) -> list[tuple[int, int]]:
        """Where the tensors begin and end, if they lie at these addresses."""
        sizes = (prod(shape) * dtype.itemsize for shape, dtype in self._tensors)
        return [(address, address + size) for address, size in zip(addresses, sizes, strict=True)]

    def upload(self, context: Context, number: int, array: np.ndarray) -> int:
        """Copy an array to its place, in the order of the stream; the place's address."""
        ctypes.memmove(self._pinned[number], array.ctypes.data, array.nbytes)
        context.upload(self.addresses[number], self._pinned[number], array.nbytes)
        return self.addresses[number]

    def download(self, context: Context) -> list[np.ndarray]:
        """Wait for the stream, and copy to fresh arrays."""
        results = [aligned_empty(shape, dtype) for shape, dtype in self._tensors]
        for result, address, pinned in zip(results, self.addresses, self._pinned, strict=True):
            context.download(pinned, address, result.nbytes)
        context.synchronise()
        for result, pinned in zip(results, self._pinned, strict=True):
            ctypes.memmove(result.ctypes.data, pinned, result.nbytes)
        return results

    def copied(self, context: Context) -> list[DeviceArray]:
        """Copy to fresh memory of the GPU, and wait for the stream."""
        results = []
        for address, (shape, dtype) in zip(self.addresses, self._tensors, strict=True):
            memory = Allocation(context, prod(shape) * dtype.itemsize)
            context.copy(memory.address, address, memory.nbytes)
            results.append(DeviceArray(memory.address, shape, dtype, memory, context))
        context.synchronise()
        return results


def lacking(target: Mapping[str, Any], library: Path | None = None) -> str:
    """What this machine lacks to run code for a target (a manifest's); empty if nothing. `library` is the driver's, if
    it is not the system's."""
    try:
        gpu = Driver(library).describe()
    except CudaError as error:
        return str(error)
    arch = str(target["arch"])
    built = capability_of(arch)
    same = gpu.capability == built if arch.endswith("a") else gpu.capability[0] == built[0] and gpu.capability >= built
    here = "sm_{}{}".format(*gpu.capability)
    return "" if same else f"this machine's {gpu.name} is {here}: build it again for this GPU"


def _total(tensors: Sequence[Mapping[str, Any]]) -> int:
    return sum(_aligned(_nbytes(tensor)) for tensor in tensors)


def _nbytes(tensor: Mapping[str, Any]) -> int:
    return prod(tensor["shape"]) * dtype_named(tensor["dtype"]).itemsize


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
