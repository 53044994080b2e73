"""What takes turns: convc's CUDA graph, and torch in the ways that it runs a network, all on the same inputs.

torch is given what suits it best: inputs and weights in the precision and, if that is a 16-bit one, channels last;
convc takes its inputs as the model declares them, and converts them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from gpu.alone import Engine, Graph, HostCase, Weights, one_line, relative
from gpu.device import Device, Run, Tensors
from gpu.fused import fused
from gpu.network import torch_module

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Case(HostCase):
    """A network on a device, with what torch computes of its inputs in fp32 too, all images of a batch."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        precision: str,
        defined: Mapping[str, np.ndarray],
        device: Device,
    ) -> None:
        super().__init__(graph, weights, precision, defined)
        self.device, self.dtype = device, DTYPES[precision]
        self.feeds = [[torch.from_numpy(x).to(device.name) for x in feed] for feed in self.feeds]
        self.expected: list[np.ndarray] = []
        use_tf32(False)
        # Once: no search for the fastest algorithms.
        torch.backends.cudnn.benchmark = False
        try:
            with torch.inference_mode():
                outputs = torch_module(graph, weights).to(device.name)(*self.feeds[0])
            self.expected = [output.cpu().numpy() for output in outputs]
            self.doubt = super().error(self.expected)
        except Exception as error:
            self.untold = one_line(error)
        torch.backends.cudnn.benchmark = True
        use_tf32(precision == "tf32")

    def error(self, outputs: Sequence[np.ndarray]) -> float:
        """max|diff| / max|ref| of the worst output for the first feed, by the definition and by torch's fp32."""
        pairs = zip(outputs, self.expected, strict=True) if self.expected else ()
        by_torch = [relative(found.astype(np.float64), wanted, np.abs(wanted).max()) for found, wanted in pairs]
        return max([super().error(outputs), *by_torch])

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
