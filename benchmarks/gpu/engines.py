"""What takes turns: convc's CUDA graph, and torch in the ways that it runs a network, all on the same inputs.

torch is given what suits it best: inputs and weights in the precision and, if that is a 16-bit one, channels last;
convc takes its inputs as the model declares them, and converts them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from convc.runtime import Executable
from convc.runtime.cuda.engine import CudaEngine
from gpu.device import Device, Run, Tensors
from gpu.fused import fused
from gpu.network import Graph, torch_module

Weights: TypeAlias = Mapping[str, np.ndarray]
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FEEDS = 4
"""Sets of inputs that take turns, so that none is in a cache because it was just read."""


class Case:
    """A network at one batch size and precision on a device, with inputs and what torch computes of them in fp32.
    `feeds` are sets of inputs as the model declares them."""

    def __init__(self, graph: Graph, weights: Weights, precision: str, device: Device, seed: int = 0) -> None:
        self.graph, self.weights, self.precision, self.device = graph, weights, precision, device
        self.dtype = DTYPES[precision]
        generator = np.random.default_rng(seed)
        shapes = [entry["shape"] for entry in graph["inputs"]]
        self.feeds = [
            [torch.from_numpy(generator.standard_normal(shape, np.float32)).to(device.name) for shape in shapes]
            for _ in range(FEEDS)
        ]
        use_tf32(False)
        with torch.inference_mode():
            outputs = torch_module(graph, weights).to(device.name)(*self.feeds[0])
        self.expected = [output.cpu().numpy() for output in outputs]
        use_tf32(precision == "tf32")

    def error(self, outputs: Sequence[np.ndarray]) -> float:
        """max|diff| / max|ref| of the worst output for the first feed; NaN and infinities count as infinite."""
        errors = [
            float(np.abs(found.astype(np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30))
            for found, wanted in zip(outputs, self.expected, strict=True)
        ]
        return max(error if np.isfinite(error) else float("inf") for error in errors)

    def module(self, graph: Graph | None = None) -> torch.nn.Module:
        """torch's network in this precision."""
        made = torch_module(graph or self.graph, self.weights, self.dtype).to(self.device.name)
        return made.to(memory_format=torch.channels_last) if self._last else made

    def torch_feeds(self) -> list[list[torch.Tensor]]:
        """The inputs as torch is given them."""
        return [[self._given(x) for x in feed] for feed in self.feeds]

    @property
    def _last(self) -> bool:
        return self.dtype != torch.float32

    def _given(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.dtype)
        return x.to(memory_format=torch.channels_last) if self._last and x.ndim == 4 else x


class Engine:
    """Outputs for the first feed as float32, and the ms that one inference takes, all feeds in turn."""

    def __init__(self, outputs: Callable[[], list[np.ndarray]], milliseconds: Callable[[], float]) -> None:
        self.outputs, self.milliseconds = outputs, milliseconds


def convc_engine(case: Case, executable: Executable, engine: CudaEngine) -> Engine:
    """convc's CUDA graph, on inputs where they lie."""
    names = [entry["name"] for entry in case.graph["inputs"]]
    shapes = [tuple(entry["shape"]) for entry in case.graph["inputs"]]
    number = [[shape for _, shape, _ in inputs] for inputs in executable.signatures].index(shapes)
    prepared = [
        [engine.prepare(x, *signature) for x, signature in zip(feed, executable.signatures[number], strict=True)]
        for feed in case.feeds
    ]

    def outputs() -> list[np.ndarray]:
        found = executable.run(dict(zip(names, case.feeds[0], strict=True)))
        arrays = (found[entry["name"]] for entry in case.graph["outputs"])
        return [array if isinstance(array, np.ndarray) else array.numpy() for array in arrays]

    return Engine(outputs, lambda: engine.elapsed(number, prepared) / len(prepared) / 1e6)


def _torch_engine(case: Case, run: Run) -> Engine:
    def outputs() -> list[np.ndarray]:
        return [output.float().cpu().numpy() for output in run(0)]

    def all_feeds() -> None:
        for number in range(len(case.feeds)):
            run(number)

    return Engine(outputs, lambda: case.device.milliseconds(all_feeds) / len(case.feeds))


def _called(case: Case, module: Callable[..., Tensors]) -> Run:
    feeds = case.torch_feeds()
    return lambda number: module(*feeds[number])


def eager(case: Case) -> Engine:
    """torch, operation by operation."""
    return _torch_engine(case, _called(case, case.module()))


def graphed(case: Case) -> Engine:
    """torch's operations in a CUDA graph."""
    return _torch_engine(case, case.device.graphed(_called(case, case.module()), len(case.feeds)))


def compiled(case: Case) -> Engine:
    """torch.compile's kernels, the best of its search, in a CUDA graph as all others: its own would copy inputs."""
    torch.compiler.reset()  # of the cases before, nothing is needed any more
    module = torch.compile(case.module(), mode="max-autotune-no-cudagraphs", dynamic=False)
    return _torch_engine(case, case.device.graphed(_called(case, module), len(case.feeds)))


def cudnn_fused(case: Case) -> Engine:
    """cuDNN's kernels of convolutions with bias, addend and ReLU, in a CUDA graph. Raises ValueError for a network in
    which nothing is to fuse."""
    graph, count = fused(case.graph)
    if not count:
        raise ValueError("no convolution is followed by ReLU alone")
    return _torch_engine(case, case.device.graphed(_called(case, case.module(graph)), len(case.feeds)))


PEERS: Mapping[str, Callable[[Case], Engine]] = {
    "torch": eager,
    "torch-graph": graphed,
    "torch.compile": compiled,
    "cudnn-fused": cudnn_fused,
}


def use_tf32(use: bool) -> None:
    """Whether torch may round factors of float32 products to TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = use


def one_line(error: BaseException) -> str:
    """An exception as a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
