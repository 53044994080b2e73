"""The fallback: any kernel, each of its tensors computed by a parallel, vectorised loop nest of its own.

It has no tiles and keeps nothing in registers; at -O0 it is the only template, and so the yardstick for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from typing import Any

from tvm import s_tir, tirx

from convc.ir.kernel import KernelOp
from convc.targets.cpu.axes import LONG
from convc.targets.cpu.injective import Injective
from convc.targets.cpu.loops import PARALLEL_ELEMENTS, local_tile
from convc.targets.cpu.ordered import Ordered
from convc.targets.cpu.scattered import Scattered
from convc.targets.generic import spatial_and_reduction, tensors, written
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class Generic:
    """Applies to every kernel."""

    name = "generic"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        return True

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        templates = (Ordered(), Scattered(), Injective())
        if (function := written(kernel, templates, target)) is not None:
            return function
        schedule, blocks = tensors(kernel)
        for block in blocks:
            _schedule_block(schedule, block, target)
        return schedule.mod["main"]


def _schedule_block(schedule: s_tir.Schedule, block: Any, target: CpuTarget) -> None:
    statement = schedule.get(block)
    loops = schedule.get_loops(block)
    size, lanes = _size(schedule, loops), target.lanes(str(statement.writes[0].source.dtype))
    spatial, reduction = spatial_and_reduction(schedule, block)
    parts = None
    is_sum = isinstance(statement.body, tirx.BufferStore) and isinstance(statement.body.value, tirx.Add)
    if is_sum and (over := _over_parts(schedule, reduction)) is not None:
        parts = schedule.rfactor(over, 0)
        *spatial, over = schedule.get_loops(block)
        reduction = [over]
    vector = None
    if spatial:
        *outer, inner = spatial
        rest, vector = schedule.split(inner, [None, lanes]) if lanes > 1 else (inner, None)
        schedule.reorder(*outer, rest, *reduction, *([vector] if vector else []))
        fused = schedule.fuse(*outer, rest)
        if size >= PARALLEL_ELEMENTS:
            schedule.parallel(fused)
    if parts is not None:
        schedule.compute_at(parts, reduction[0], preserve_unit_loops=True)
        local_tile(schedule, parts, unrolled_taps=0)
    if vector is not None:
        schedule.vectorize(vector)
        if reduction:
            init = schedule.decompose_reduction(block, reduction[0])
            schedule.vectorize(schedule.get_loops(init)[-1])


def _over_parts(schedule: s_tir.Schedule, reduction: Sequence[Any]) -> Any | None:
    """Make one loop over the parts of a long sum (see axes), around loops within a part: both of about as many
    iterations. None where the sum is short, or a prime."""
    total, inner = _size(schedule, reduction), 1
    if total <= LONG:
        return None
    for position in reversed(range(len(reduction))):
        extent, most = int(schedule.get(reduction[position]).extent), isqrt(total) // inner
        if extent > most:
            break
        inner *= extent
    # A divisor: TVM loses the test for a shorter last part where it computes the parts at another block's loop.
    size = max((n for n in range(1, most + 1) if extent % n == 0), default=1)
    if inner * size == 1:
        return None
    outer, _ = schedule.split(reduction[position], [None, size])
    return schedule.fuse(*reduction[:position], outer)


def _size(schedule: s_tir.Schedule, loops: Sequence[Any]) -> int:
    return prod(int(schedule.get(loop).extent) for loop in loops)
