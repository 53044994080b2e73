"""Scatters: updates follow one another, the copies before and after them run in parallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.ir.sampling import ScatterOp
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.flat import Memory, without_elements
from convc.targets.scattered import Steps
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class Scattered:
    """Applies to scatters with one result. No configuration."""

    name = "scattered"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        return isinstance(kernel.anchor, ScatterOp) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        memory = Memory.of(kernel)
        steps = Steps(kernel, memory)

        def over(extent: int, body: Callable[[Any, Any], tirx.Stmt], parallel: bool) -> tirx.Stmt:
            i, k = tirx.Var("i", "int32"), tirx.Var("k", "int32")
            large = parallel and extent * steps.width >= PARALLEL_ELEMENTS
            inner = tirx.For(k, 0, steps.width, tirx.ForKind.SERIAL, body(i, k))
            return tirx.For(i, 0, extent, tirx.ForKind.PARALLEL if large else tirx.ForKind.SERIAL, inner)

        body = [over(steps.count, steps.copy, True), over(steps.updates, steps.update, False)]
        if steps.followed:
            body = [tirx.AllocBuffer(steps.rows), *body, over(steps.count, steps.follow, True)]
        return memory.function(tirx.stmt_seq(*body))
