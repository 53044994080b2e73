"""Selections and prefix sums: a thread for each row."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import each_thread
from convc.targets.ordered import ordered
from convc.targets.template import Config


class Ordered:
    """Applies to selections and prefix sums with one result. No configuration."""

    name = "ordered"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        return isinstance(kernel.anchor, ScanOp | TopKOp) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return ordered(kernel, 1, each_thread)
