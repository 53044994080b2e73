"""Scatters: a thread for each column, whose updates follow one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.ir.sampling import ScatterOp
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import each_thread
from convc.targets.flat import Memory
from convc.targets.scattered import Steps
from convc.targets.written import Written


class Scattered(Written[CudaTarget]):
    name, anchors = "scattered", (ScatterOp,)

    def body(self, kernel: KernelOp, memory: Memory, target: CudaTarget) -> tirx.Stmt:
        steps = Steps(kernel, memory)
        column = tirx.Var("column", "int32")

        def over(extent: int, body: Callable[[Any, Any], tirx.Stmt]) -> tirx.Stmt:
            i = tirx.Var("i", "int32")
            return tirx.For(i, 0, extent, tirx.ForKind.SERIAL, body(i, column))

        body = [over(steps.count, steps.copy), over(steps.updates, steps.update)]
        if not steps.followed:
            return each_thread(target, column, steps.width, tirx.stmt_seq(*body))
        launch = each_thread(target, column, steps.width, tirx.stmt_seq(*body, over(steps.count, steps.follow)))
        return tirx.stmt_seq(tirx.AllocBuffer(steps.rows), launch)
