"""Run, check and time the candidates of one kernel on a GPU, by the run-time's own engine.

Each candidate is a little network of its kernel alone, again and again in one graph, between two events: what the host
takes to launch it does not count. Each time it reads the next of many copies of its weights, which are cold as in a
network that reads many others between two calls. Activations are warm: the kernel before has just written them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from convc.artifact.manifest import ArtifactError
from convc.runtime.cuda.dlpack import DeviceArray
from convc.runtime.cuda.driver import CudaError, Driver
from convc.runtime.cuda.engine import CudaEngine
from convc.runtime.cuda.memory import Allocation, Pool, aligned
from convc.tuning.competing import compete, right_ones
from convc.tuning.cuda.folder import Candidates
from convc.tuning.findings import RUNNING, SINCE, Failed, Finding
from convc.tuning.results import GUARD, Output
from convc.tuning.supervising import Beat

_SAMPLE_NS = 500_000  # a graph has as many calls as take so long: events tell 0.5 us
_CALLS = (2, 256)  # at the least and at the most
_MOST_GRAPHS = 16  # of a candidate, each of which reads other copies of the weights

T = TypeVar("T")


def measure(
    folder: Path,
    number: int,
    library: Path | None,
    candidates: list[int],
    beat: Beat,
    report: Callable[[Finding], None],
) -> None:
    """Report what becomes of some candidates of a kernel: failures at once, times when all are known. Returns early
    when one has spoiled the GPU for this process, which may not survive at all. `library` is the driver's, if it is
    not the system's."""
    bench = Bench(Candidates(folder, checked=False), number, Driver(library), beat)
    try:
        if right := right_ones(bench, candidates, report):
            bench.prepare(right)
            for finding in compete(bench, right, right[0], 0.0):
                report(finding)
    except CudaError as error:
        report(Finding(beat[RUNNING], "crashed", why=str(error)))


@dataclass(frozen=True)
class _Graphs:
    """Those of a candidate: the first of its variants, how many there are, and the calls in each."""

    first: int
    count: int
    calls: int


class Bench:
    """The GPU's memory for what a kernel's candidates read and write, and engines that run them."""

    def __init__(self, candidates: Candidates, number: int, driver: Driver, beat: Beat) -> None:
        self._candidates, self._kernel = candidates, candidates.kernels[number]
        self._driver, self._pool, self._beat = driver, Pool(driver), beat
        arrays = candidates.operands(number)
        weights = [i for i, operand in enumerate(self._kernel["operands"]) if operand["weight"]]
        self._inputs = [array for i, array in enumerate(arrays) if i not in weights]
        self._outputs = [Output(result) for result in candidates.results(number)]
        images = [*self._inputs, *(output.memory for output in self._outputs)]
        self._memory = [self._placed(image) for image in images]
        self._weights, self._offsets = _joined({i: arrays[i] for i in weights})
        cold = min(candidates.manifest["network_bytes"], 2 * driver.describe().l2_bytes)
        self._copies = max(cold // max(self._weights.size, 1), 1) if weights else 1
        self._once: dict[int, int] = {}
        self._graphs: dict[int, _Graphs] = {}
        self._turns: dict[int, int] = {}
        self._engine: CudaEngine | None = None

    def check(self, candidate: int) -> None:
        """Raises Failed if a candidate cannot be loaded, does not compute what is expected, or writes elsewhere."""
        self._beat[RUNNING] = candidate
        try:
            engine = self._loaded({candidate: [[0]]}, self._weights)
        except ArtifactError as error:
            raise Failed("refused", str(error)) from None
        for output, memory in zip(self._outputs, self._memory[len(self._inputs) :], strict=True):
            output.spoil()
            self._upload(output.memory, memory)
        self._watched(candidate, lambda: engine.run(0, self._memory, 0))
        for number, (output, memory) in enumerate(zip(self._outputs, self._memory[len(self._inputs) :], strict=True)):
            output.memory[:] = memory.numpy()
            output.check(f"result {number}" if len(self._outputs) > 1 else "the result")
        for before, memory in zip(self._inputs, self._memory):
            if not np.array_equal(memory.numpy(), before):
                self._upload(before, memory)
                raise Failed("wrong", "it writes into its operands")
        self._once[candidate] = self._watched(candidate, lambda: engine.elapsed(0, [self._memory]))

    def prepare(self, candidates: Sequence[int]) -> None:
        """Make ready to time some candidates that are right. Where one follows another, it reads other copies."""
        variants: dict[int, list[list[int]]] = {}
        slot = first = 0
        for candidate in candidates:
            calls = min(max(_SAMPLE_NS // max(self._once[candidate], 1), _CALLS[0]), _CALLS[1])
            count = min(ceil(self._copies / calls), _MOST_GRAPHS)
            self._graphs[candidate] = _Graphs(first, count, calls)
            first += count
            variants[candidate] = []
            for _ in range(count):
                variants[candidate].append([(slot + i) % self._copies for i in range(calls)])
                slot += calls
        self._turns = dict.fromkeys(candidates, 0)
        self._engine = self._loaded(variants, np.tile(self._weights, self._copies))

    def calls_of_a_sample(self, candidate: int) -> int:
        """Replays of a graph."""
        return 1

    def sample(self, candidate: int, calls: int) -> float:
        """The mean time of a call in some replays of a candidate's graphs in turn, in ns."""
        graphs, engine, total = self._graphs[candidate], self._engine, 0
        assert engine is not None
        for _ in range(calls):
            variant = graphs.first + self._turns[candidate]
            self._turns[candidate] = (self._turns[candidate] + 1) % graphs.count
            total += self._watched(candidate, partial(engine.elapsed, variant, [self._memory]))
        return total / (calls * graphs.calls)

    def _watched(self, candidate: int, run: Callable[[], T]) -> T:
        self._beat[RUNNING], self._beat[SINCE] = candidate, time.monotonic_ns()
        result = run()
        self._beat[SINCE] = 0
        return result

    def _loaded(self, variants: Mapping[int, Sequence[Sequence[int]]], weights: np.ndarray) -> CudaEngine:
        """An engine whose variants call some candidates, each on copies of the weights in a given order."""
        described = [self._kernel["candidates"][candidate] for candidate in variants]
        tensors = [{"name": str(i), "shape": [m.nbytes], "dtype": "uint8"} for i, m in enumerate(self._memory)]
        manifest = {
            "target": self._candidates.manifest["target"],
            "weight_bytes": weights.nbytes,
            "kernels": {str(c): {**each, "module": m} for m, (c, each) in enumerate(zip(variants, described))},
            "variants": [
                {"inputs": tensors, "outputs": [], "arena_bytes": 0, "steps": [self._step(c, slot) for slot in slots]}
                for c, each in variants.items()
                for slots in each
            ],
        }
        folder = self._candidates.folder
        code = [(folder / each["file"]).read_bytes() for each in described]
        return CudaEngine(folder, manifest, self._driver, code, weights)

    def _step(self, candidate: int, slot: int) -> dict[str, Any]:
        """A call on the copy of the weights in a slot. What it writes lies among its inputs, between their guards."""
        places, base = [], slot * self._weights.size
        numbers = iter(range(len(self._memory)))
        for i in range(len(self._kernel["operands"])):
            offset = self._offsets.get(i)
            places.append(["input", next(numbers), 0] if offset is None else ["weight", 0, base + offset])
        places += [["input", number, GUARD] for number in numbers]
        return {"kernel": str(candidate), "places": places}

    def _placed(self, image: np.ndarray) -> DeviceArray:
        memory = Allocation(self._pool, image.nbytes, self._pool.context.stream)
        placed = DeviceArray(memory.address, image.shape, image.dtype, memory)
        self._upload(image, placed)
        return placed

    def _upload(self, image: np.ndarray, memory: DeviceArray) -> None:
        self._pool.context.enter()
        self._pool.context.stream.upload(memory.address, image.ctypes.data, image.nbytes)
        self._pool.context.stream.synchronise()


def _joined(arrays: Mapping[int, np.ndarray]) -> tuple[np.ndarray, dict[int, int]]:
    """Arrays of bytes one after another, each aligned, and where each begins."""
    offsets, end = {}, 0
    for i, array in arrays.items():
        offsets[i] = end
        end += aligned(array.size)
    joined = np.zeros(end, np.uint8)
    for i, array in arrays.items():
        joined[offsets[i] : offsets[i] + array.size] = array
    return joined, offsets
