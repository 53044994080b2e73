"""Where engines run: the GPU, as torch and convc's run-time drive it in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from convc.runtime import Executable
from convc.runtime.cuda.driver import Driver
from convc.runtime.cuda.engine import CudaEngine
from gpu.alone import loaded

Tensors: TypeAlias = Sequence[torch.Tensor]
Run: TypeAlias = Callable[[int], Tensors]
"""The outputs for the set of inputs of this number."""


class Device(Protocol):
    name: str
    """As torch calls it."""

    def describe(self) -> dict[str, str]:
        """What it is, for a report."""

    def load(self, artifact: Path) -> tuple[Executable, CudaEngine]:
        """convc's network, ready to run. Raises ArtifactError."""

    def check(self) -> None:
        """Give back unused memory. Raises RuntimeError where the device takes no more work."""

    def milliseconds(self, work: Callable[[], object]) -> float:
        """The time, by the device's own clock, of what a function gives it to do."""

    def graphed(self, run: Run, count: int) -> Run:
        """The same with the operations for each of `count` sets of inputs recorded once, and replayed."""


class Cuda:
    """This machine's first GPU; `early`: convc's kernels may begin before the one before has ended. Raises RuntimeError
    without one that torch can use."""

    name = "cuda"

    def __init__(self, early: bool = True) -> None:
        self._early = early
        if not torch.cuda.is_available():
            raise RuntimeError("torch finds no GPU")

    def describe(self) -> dict[str, str]:
        return {
            "gpu": torch.cuda.get_device_name(),
            "driver": Driver().version,
            "torch": torch.__version__,
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }

    def load(self, artifact: Path) -> tuple[Executable, CudaEngine]:
        return loaded(artifact, self._early)

    def check(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    def milliseconds(self, work: Callable[[], object]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def graphed(self, run: Run, count: int) -> Run:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for number in range(count):
                run(number)  # what is chosen, compiled or allocated at first cannot be recorded
        torch.cuda.current_stream().wait_stream(stream)
        graphs: list[torch.cuda.CUDAGraph] = []
        outputs: list[Tensors] = []
        for number in range(count):
            graph = torch.cuda.CUDAGraph()
            # They run one after another, and their outputs are read before the next: they share memory.
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                outputs.append(run(number))
            graphs.append(graph)

        def replay(number: int) -> Tensors:
            graphs[number].replay()
            return outputs[number]

        return replay
