"""The fallback: any kernel, each of its tensors computed by threads of its own, one launch a tensor, but for what
follows a reduction element by element.

A thread computes an element. At -O0 it is the only template, and so the yardstick for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir, tirx

from convc.ir.kernel import KernelOp
from convc.targets.cuda.injective import Injective
from convc.targets.cuda.ordered import Ordered
from convc.targets.cuda.scattered import Scattered
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import bind_spatial
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.generic import spatial_and_reduction, tensors, written
from convc.targets.template import Config


class Generic:
    """Applies to every kernel."""

    name = "generic"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        return True

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        templates = (Ordered(), Scattered(), Injective())
        if (function := written(kernel, templates, target)) is not None:
            return function
        schedule, (*before, last) = tensors(kernel)
        if len(before) == 1 and elementwise_epilogue(kernel):
            # The thread that reduces an element goes on to what follows from it.
            schedule_block(schedule, last, target)
            schedule.compute_at(before[0], schedule.get_loops(last)[-1])
            schedule.set_scope(before[0], 0, "local")
        else:
            for block in (*before, last):
                schedule_block(schedule, block, target)
        return schedule.mod["main"]


def schedule_block(schedule: s_tir.Schedule, block: Any, target: CudaTarget) -> None:
    """Give a tensor's loops to threads."""
    loops = schedule.get_loops(block)
    if not loops:  # a scalar that is no reduction
        schedule.bind(schedule.add_unit_loop(block), "threadIdx.x")
        return
    spatial, _ = spatial_and_reduction(schedule, block)
    bind_spatial(schedule, spatial or [schedule.add_unit_loop(loops[0])], target)
