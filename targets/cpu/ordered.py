"""Selections and prefix sums: rows run in parallel."""

from __future__ import annotations

from math import prod

from tvm import tirx

from convc.ir.attributes import shape_of
from convc.ir.kernel import KernelOp
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.emit import dtype_of
from convc.targets.flat import Memory
from convc.targets.ordered import ANCHORS, ordered
from convc.targets.target import CpuTarget
from convc.targets.written import Written


class Ordered(Written[CpuTarget]):
    name, anchors = "ordered", ANCHORS

    def body(self, kernel: KernelOp, memory: Memory, target: CpuTarget) -> tirx.Stmt:
        op = kernel.anchor
        assert isinstance(op, ANCHORS)
        large = prod(shape_of(op.x)) >= PARALLEL_ELEMENTS

        def loop(variable: tirx.Var, extent: int, body: tirx.Stmt) -> tirx.Stmt:
            kind = tirx.ForKind.PARALLEL if large and extent > 1 else tirx.ForKind.SERIAL
            return tirx.For(variable, 0, extent, kind, body)

        return ordered(kernel, memory, target.lanes(dtype_of(op.x)), loop)
