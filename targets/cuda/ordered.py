"""Selections and prefix sums: a thread for each row."""

from __future__ import annotations

from functools import partial

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import each_thread
from convc.targets.flat import Memory
from convc.targets.ordered import ANCHORS, ordered
from convc.targets.written import Written


class Ordered(Written[CudaTarget]):
    name, anchors = "ordered", ANCHORS

    def body(self, kernel: KernelOp, memory: Memory, target: CudaTarget) -> tirx.Stmt:
        return ordered(kernel, memory, 1, partial(each_thread, target))
