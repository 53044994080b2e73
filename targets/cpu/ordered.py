"""Selections and prefix sums: rows run in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import tirx

from convc.ir.attributes import shape_of
from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.emit import dtype_of
from convc.targets.ordered import ordered
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class Ordered:
    """Applies to selections and prefix sums with one result. No configuration."""

    name = "ordered"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        return isinstance(kernel.anchor, ScanOp | TopKOp) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        op = kernel.anchor
        assert isinstance(op, ScanOp | TopKOp)
        large = prod(shape_of(op.x)) >= PARALLEL_ELEMENTS

        def loop(variable: tirx.Var, extent: int, body: tirx.Stmt) -> tirx.Stmt:
            kind = tirx.ForKind.PARALLEL if large and extent > 1 else tirx.ForKind.SERIAL
            return tirx.For(variable, 0, extent, kind, body)

        return ordered(kernel, target.lanes(dtype_of(op.x)), loop)
