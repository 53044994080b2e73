"""Scatters: updates follow one another, the copies before and after them run in parallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.ir.sampling import ScatterOp
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.flat import Memory
from convc.targets.scattered import Steps
from convc.targets.target import CpuTarget
from convc.targets.written import Written


class Scattered(Written[CpuTarget]):
    name, anchors = "scattered", (ScatterOp,)

    def body(self, kernel: KernelOp, memory: Memory, target: CpuTarget) -> tirx.Stmt:
        steps = Steps(kernel, memory)

        def over(extent: int, body: Callable[[Any, Any], tirx.Stmt], parallel: bool) -> tirx.Stmt:
            i, k = tirx.Var("i", "int32"), tirx.Var("k", "int32")
            large = parallel and extent * steps.width >= PARALLEL_ELEMENTS
            inner = tirx.For(k, 0, steps.width, tirx.ForKind.SERIAL, body(i, k))
            return tirx.For(i, 0, extent, tirx.ForKind.PARALLEL if large else tirx.ForKind.SERIAL, inner)

        body = [over(steps.count, steps.copy, True), over(steps.updates, steps.update, False)]
        if steps.followed:
            body = [tirx.AllocBuffer(steps.rows), *body, over(steps.count, steps.follow, True)]
        return tirx.stmt_seq(*body)
