"""The fallback: any kernel, each of its tensors computed by threads of its own, one launch a tensor, but for what
follows a reduction element by element.

A thread computes an element. At -O0 it is the only template, and so the yardstick for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir, tirx

from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp, ScatterOp
from convc.targets.anchors import bind_anchor
from convc.targets.cuda.injective import Injective
from convc.targets.cuda.ordered import Ordered
from convc.targets.cuda.scattered import Scattered
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import bind_spatial
from convc.targets.emit import Emitter
from convc.targets.epilogues import pointwise_epilogue
from convc.targets.flat import without_elements
from convc.targets.template import Config

_WRITTEN = (GatherOp, GridSampleOp, ScanOp, ScatterOp, TopKOp)
"""What is no tensor expression: its steps follow one another, or its addresses hold elements, which TVM does not
simplify in tensor expressions."""


class Generic:
    """Applies to every kernel."""

    name = "generic"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        return True

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        if isinstance(kernel.anchor, _WRITTEN):
            written = (Ordered(), Scattered(), Injective())
            return next(t for t in written if t.applies(kernel, target)).schedule(kernel, {}, target)
        emitter = Emitter(kernel)
        if kernel.anchor is not None:
            bind_anchor(emitter, kernel.anchor)
        function = emitter.prim_func([emitter.compute(value, f"y{i}") for i, value in enumerate(kernel.yielded)])
        schedule = s_tir.Schedule(function)
        *before, last = schedule.get_child_blocks(schedule.get_sblock("root"))
        if len(before) == 1 and pointwise_epilogue(kernel):
            # The thread that reduces an element goes on to what follows from it.
            schedule_block(schedule, last)
            schedule.compute_at(before[0], schedule.get_loops(last)[-1])
            schedule.set_scope(before[0], 0, "local")
        else:
            for block in (*before, last):
                schedule_block(schedule, block)
        return schedule.mod["main"]


def schedule_block(schedule: s_tir.Schedule, block: Any) -> None:
    """Give a tensor's loops to threads."""
    loops = schedule.get_loops(block)
    if not loops:  # a scalar that is no reduction
        schedule.bind(schedule.add_unit_loop(block), "threadIdx.x")
        return
    statement = schedule.get(block)
    # A tensor of rank 0 has an axis without a loop, before all others.
    axes = statement.iter_vars[len(statement.iter_vars) - len(loops) :]
    spatial = [loop for loop, axis in zip(loops, axes) if axis.iter_type == tirx.IterVar.DataPar]
    bind_spatial(schedule, spatial or [schedule.add_unit_loop(loops[0])])
