"""An artifact's programs on a GPU: kernels, weights and intermediate values there, each network one CUDA graph."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_void_p
from functools import partial
from itertools import chain, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convc.artifact.manifest import KERNELS, WEIGHTS, ArtifactError
from convc.runtime.arrays import aligned_empty, dtype_named, usable
from convc.runtime.cuda.dlpack import DeviceArray, device_array, on_device
from convc.runtime.cuda.driver import Context, CudaError, Driver, capability_of
from convc.runtime.cuda.launch import Launch, memory_of
from convc.runtime.cuda.memory import Allocation, Pool, aligned
from convc.runtime.cuda.streams import Event, Graph, Stream, handle_of
from convc.runtime.weights import read_weights

_VECTOR = 16
"""What vector accesses and tensor maps ask of the address of a caller's tensor."""
_GRAPHS = 8
"""Sets of addresses of inputs whose graphs are kept."""


class CudaEngine:
    """Runs the variants of an artifact on this machine's GPU, or, with a `driver` and modules of machine `code` for it,
    on what that drives. `weights` are the bytes of its weights, where those are not the artifact's. Raises
    ArtifactError.

    Runs share the engine's memory. Threads take turns to give a stream what a run is; on the GPU each run waits for the
    one before, on whatever streams they are, so that the host waits for none. Other engines' runs are not waited for.
    """

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
        driver = driver or Driver()
        self._context, self._pool = Context(driver), Pool(driver)
        self._lock = threading.Lock()
        try:
            code = code or [(folder / KERNELS["cuda"]).read_bytes()]
            weights = read_weights(folder / WEIGHTS, manifest["weight_bytes"]) if weights is None else weights
            self._load(manifest, code, weights)
        except CudaError as error:
            self._context.close()
            raise ArtifactError(f"cannot load {folder}: {error}") from None

    def _load(self, manifest: Mapping[str, Any], code: Sequence[bytes], weights: np.ndarray) -> None:
        context = self._context
        try:
            modules = [context.module(each) for each in code]
        except CudaError as error:
            if not error.unknown_code:
                raise
            here, made = context.driver.version, manifest.get("compiler") or "another compiler"
            raise CudaError(f"the driver, of CUDA {here}, does not load what {made} has made: update it") from None
        variants = manifest["variants"]
        sizes = {
            "weight": weights.nbytes,
            "input": max(_total(variant["inputs"]) for variant in variants),
            "output": max(_total(variant["outputs"]) for variant in variants),
            "arena": max(variant["arena_bytes"] for variant in variants),
            "scratch": max((kernel["scratch_bytes"] for kernel in manifest["kernels"].values()), default=0),
        }
        needed = sum(map(aligned, sizes.values()))
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
            regions[name] = (base, base + aligned(size))
            base += aligned(size)
        context.stream.upload(regions["weight"][0], weights.ctypes.data, weights.nbytes)
        context.stream.synchronise()
        functions = {
            launch["function"]: context.function(module, launch["function"], launch["dynamic_bytes"])
            for kernel in manifest["kernels"].values()
            for module in (modules[kernel.get("module", 0)],)
            for launch in kernel["launches"]
        }
        turns = _Turns(self._pool.context)
        self._variants = [
            _Variant(context, self._pool, turns, variant, manifest["kernels"], functions, regions, pinned)
            for variant in variants
        ]

    def order(self, stream: Any) -> Stream | None:
        """A caller's stream, by its handle or as an object. Raises InputError."""
        return None if stream is None else Stream(self._context.driver, handle_of(stream), stream)

    def prepare(
        self, value: Any, name: str, shape: tuple[int, ...], dtype: np.dtype, stream: Stream | None = None
    ) -> np.ndarray | DeviceArray:
        """A caller's array as it is read by a run on the caller's stream, or on the engine's own: a tensor in the GPU's
        memory where it lies. Raises InputError."""
        if on_device(value):
            self._context.enter()
            return device_array(value, name, shape, dtype, self._pool.context, stream)
        return usable(value, name, shape, dtype)

    def run(
        self, number: int, inputs: Sequence[np.ndarray | DeviceArray], threads: int, stream: Stream | None = None
    ) -> list[Any]:
        """The outputs of a variant, in fresh memory: of the GPU, as DeviceArrays, if any input lies there. These are
        written when a caller's stream has come so far; without one, and in the host's memory, when this returns."""
        with self._lock:
            self._context.enter()
            return self._variants[number].run(inputs, stream)

    def profile(self, number: int, inputs: Sequence[np.ndarray | DeviceArray], threads: int) -> list[int]:
        """Run once; how many nanoseconds each step took, launched by itself."""
        with self._lock:
            self._context.enter()
            return self._variants[number].profile(inputs)

    def trace(self, number: int, inputs: Sequence[np.ndarray | DeviceArray]) -> Iterator[int]:
        """Run once, waiting for each step: its number, before it is launched. What fails or never ends is the step
        that was named last."""
        with self._lock:
            self._context.enter()
            yield from self._variants[number].trace(inputs)

    def elapsed(self, number: int, feeds: Sequence[Sequence[np.ndarray | DeviceArray]]) -> int:
        """Run on several (at most 8) sets of inputs, one after another; how many nanoseconds that took by the GPU's
        clock. Inputs of the host are copied before, to one place: the last counts. Outputs stay in the GPU's memory."""
        with self._lock:
            self._context.enter()
            return self._variants[number].elapsed(feeds)


class _Turns:
    """The order of runs, which share memory: of the GPU, and the pinned memory that inputs are copied through."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runs: deque[tuple[Event, Any]] = deque()  # not known to be done, and what must live so long
        self._read: Event | None = None

    def begin(self, stream: Stream) -> None:
        """Let a stream go on when the last run is done."""
        while self._runs and self._runs[0][0].passed:
            self._runs.popleft()
        if self._runs:
            stream.wait(self._runs[-1][0])

    def end(self, stream: Stream, held: Any) -> Event:
        """Of a run, until which something must be held: the event that passes when it is done."""
        done = Event(self._context)
        stream.record(done)
        self._runs.append((done, held))
        return done

    def write_pinned(self) -> None:
        """Wait until the pinned memory has been read."""
        if self._read:
            self._read.synchronise()

    def read_pinned(self, stream: Stream) -> None:
        """A stream has been given all that reads it."""
        self._read = Event(self._context)
        stream.record(self._read)

    def synchronise(self) -> None:
        """Wait for all runs."""
        if self._runs:
            self._runs[-1][0].synchronise()
        self._runs.clear()


class _Variant:
    """The network for one set of input shapes. Inputs of the host are copied to places of their own; for tensors that
    lie in the GPU's memory there is a graph for each set of addresses, the last few of which are kept."""

    def __init__(
        self,
        context: Context,
        pool: Pool,
        turns: _Turns,
        variant: Mapping[str, Any],
        kernels: Mapping[str, Any],
        functions: Mapping[str, c_void_p],
        regions: Mapping[str, tuple[int, int]],
        pinned: int,
    ) -> None:
        self._context, self._pool, self._turns, self._stream = context, pool, turns, pool.context.stream
        self._kernels, self._functions, self._regions = kernels, functions, regions
        self._steps: list[Mapping[str, Any]] = variant["steps"]
        self._inputs = _Staged(variant["inputs"], regions["input"][0], pinned)
        self._outputs = _Staged(variant["outputs"], regions["output"][0], pinned + self._inputs.nbytes)
        self._graphs: OrderedDict[tuple[int, ...], Graph] = OrderedDict()
        self._graph(tuple(self._inputs.addresses))

    def run(self, inputs: Sequence[np.ndarray | DeviceArray], caller: Stream | None) -> list[Any]:
        stream = caller or self._stream
        given = any(isinstance(value, DeviceArray) for value in inputs)
        self._turns.begin(stream)
        graph = self._graph(self._upload(inputs, stream))
        try:
            stream.replay(graph)
            results: list[Any] = self._outputs.copied(self._pool, stream) if given else self._outputs.download(stream)
        finally:
            done = self._turns.end(stream, (inputs, graph))
        if not given or caller is None:
            self._turns.synchronise()
            return results
        for result in results:
            result.ready = done
        return results

    def profile(self, inputs: Sequence[np.ndarray | DeviceArray]) -> list[int]:
        addresses = self._prepared(inputs)
        return self._timed([partial(self._issue, step, self._stream) for step in self._launches(addresses)])

    def trace(self, inputs: Sequence[np.ndarray | DeviceArray]) -> Iterator[int]:
        for number, step in enumerate(self._launches(self._prepared(inputs))):
            yield number
            self._issue(step, self._stream)
            self._stream.synchronise()

    def elapsed(self, feeds: Sequence[Sequence[np.ndarray | DeviceArray]]) -> int:
        assert len(feeds) <= _GRAPHS, "graphs of more inputs are not kept"
        graphs = [self._graph(self._prepared(inputs)) for inputs in feeds]

        def replay() -> None:
            for graph in graphs:
                self._stream.replay(graph)

        return self._timed([replay])[0]

    def _timed(self, works: Sequence[Callable[[], None]]) -> list[int]:
        """How many nanoseconds the GPU takes for what each of some functions gives the stream."""
        marks = [Event(self._context, timed=True) for _ in range(len(works) + 1)]
        self._stream.record(marks[0])
        for work, mark in zip(works, marks[1:], strict=True):
            work()
            self._stream.record(mark)
        self._stream.synchronise()
        return [begin.nanoseconds_to(end) for begin, end in pairwise(marks)]

    def _prepared(self, inputs: Sequence[np.ndarray | DeviceArray]) -> tuple[int, ...]:
        """Where the inputs lie, for work on the engine's own stream after all runs."""
        self._turns.begin(self._stream)
        return self._upload(inputs, self._stream)

    def _upload(self, inputs: Sequence[np.ndarray | DeviceArray], stream: Stream) -> tuple[int, ...]:
        """Where the inputs lie once the stream has copied those of the host, and those that lie askew."""
        addresses = list(self._inputs.addresses)
        hosts = not all(isinstance(value, DeviceArray) for value in inputs)
        if hosts:
            self._turns.write_pinned()
        for number, value in enumerate(inputs):
            if not isinstance(value, DeviceArray):
                self._inputs.upload(stream, number, value)
            elif value.address % _VECTOR:
                stream.copy(addresses[number], value.address, value.nbytes)
            else:
                addresses[number] = value.address
        if hosts:
            self._turns.read_pinned(stream)
        return tuple(addresses)

    def _graph(self, inputs: tuple[int, ...]) -> Graph:
        if inputs not in self._graphs:
            launches = list(chain.from_iterable(self._launches(inputs)))
            recorder = self._context.stream  # nothing else comes into it

            def work() -> None:
                for number, launch in enumerate(launches):
                    # Kernels alone are recorded: each but the first comes after one.
                    recorder.launch(launch, early=number > 0)

            self._graphs[inputs] = Graph(self._context, recorder.recorded(work))
            if len(self._graphs) > _GRAPHS:
                self._graphs.popitem(last=False)
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

    def _issue(self, step: Sequence[Launch], stream: Stream) -> None:
        for launch in step:
            stream.launch(launch)


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
            self.nbytes += aligned(_nbytes(tensor))

    def extents(self, addresses: Sequence[int]) -> list[tuple[int, int]]:
        """Where the tensors begin and end, if they lie at these addresses."""
        sizes = (prod(shape) * dtype.itemsize for shape, dtype in self._tensors)
        return [(address, address + size) for address, size in zip(addresses, sizes, strict=True)]

    def upload(self, stream: Stream, number: int, array: np.ndarray) -> None:
        """Copy an array to its place."""
        ctypes.memmove(self._pinned[number], array.ctypes.data, array.nbytes)
        stream.upload(self.addresses[number], self._pinned[number], array.nbytes)

    def download(self, stream: Stream) -> list[np.ndarray]:
        """Wait for the stream, and copy to fresh arrays."""
        results = [aligned_empty(shape, dtype) for shape, dtype in self._tensors]
        for result, address, pinned in zip(results, self.addresses, self._pinned, strict=True):
            stream.download(pinned, address, result.nbytes)
        stream.synchronise()
        for result, pinned in zip(results, self._pinned, strict=True):
            ctypes.memmove(result.ctypes.data, pinned, result.nbytes)
        return results

    def copied(self, pool: Pool, stream: Stream) -> list[DeviceArray]:
        """Copy to fresh memory of the GPU."""
        results = []
        for address, (shape, dtype) in zip(self.addresses, self._tensors, strict=True):
            memory = Allocation(pool, prod(shape) * dtype.itemsize, stream)
            stream.copy(memory.address, address, memory.nbytes)
            results.append(DeviceArray(memory.address, shape, dtype, memory))
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
    return sum(aligned(_nbytes(tensor)) for tensor in tensors)


def _nbytes(tensor: Mapping[str, Any]) -> int:
    return prod(tensor["shape"]) * dtype_named(tensor["dtype"]).itemsize
