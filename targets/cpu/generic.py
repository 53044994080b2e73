"""The fallback: any kernel, each of its tensors computed by a parallel, vectorised loop nest of its own.

It has no tiles and keeps nothing in registers; at -O0 it is the only template, and so the yardstick for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import s_tir, tirx

from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp
from convc.targets.anchors import bind_anchor
from convc.targets.cpu.injective import Injective
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.cpu.ordered import Ordered
from convc.targets.emit import Emitter
from convc.targets.flat import without_elements
from convc.targets.target import Target
from convc.targets.template import Config

_WRITTEN = (GatherOp, GridSampleOp, ScanOp, TopKOp)
"""What is no tensor expression: its steps follow one another, or its addresses hold elements, which TVM does not
simplify in tensor expressions."""


class Generic:
    """Applies to every kernel."""

    name = "generic"

    def applies(self, kernel: KernelOp, target: Target) -> bool:
        return True

    def candidates(self, kernel: KernelOp, target: Target) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: Target) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        if isinstance(kernel.anchor, _WRITTEN):
            return next(t for t in (Ordered(), Injective()) if t.applies(kernel, target)).schedule(kernel, {}, target)
        emitter = Emitter(kernel)
        if kernel.anchor is not None:
            bind_anchor(emitter, kernel.anchor)
        function = emitter.prim_func([emitter.compute(value, f"y{i}") for i, value in enumerate(kernel.yielded)])
        schedule = s_tir.Schedule(function)
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            _schedule_block(schedule, block, target)
        return schedule.mod["main"]


def _schedule_block(schedule: s_tir.Schedule, block: Any, target: Target) -> None:
    statement = schedule.get(block)
    loops = schedule.get_loops(block)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    # A tensor of rank 0 has an axis without a loop, before all others.
    axes = statement.iter_vars[len(statement.iter_vars) - len(loops) :]
    is_spatial = [axis.iter_type == tirx.IterVar.DataPar for axis in axes]
    spatial = [loop for loop, keep in zip(loops, is_spatial, strict=True) if keep]
    reduction = [loop for loop, keep in zip(loops, is_spatial, strict=True) if not keep]
    if not spatial:
        return
    size = prod(extents)
    lanes = target.lanes(str(statement.writes[0].source.dtype))
    *outer, inner = spatial
    rest, vector = schedule.split(inner, [None, lanes]) if lanes > 1 else (inner, None)
    schedule.reorder(*outer, rest, *reduction, *([vector] if vector else []))
    fused = schedule.fuse(*outer, rest)
    if size >= PARALLEL_ELEMENTS:
        schedule.parallel(fused)
    if vector is not None:
        schedule.vectorize(vector)
    if reduction:
        init = schedule.decompose_reduction(block, reduction[0])
        if vector is not None:
            schedule.vectorize(schedule.get_loops(init)[-1])
