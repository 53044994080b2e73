"""Scheduling steps that the CPU's templates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import s_tir

from convc.ir.attributes import layout_of, shape_of
from convc.ir.data import CastOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.targets.target import Target

PARALLEL_VECTORS = 1 << 15
"""Fewer vector operations than this take some 5 microseconds, which waking other threads costs too."""


def pointwise_epilogue(kernel: KernelOp) -> bool:
    """Whether the kernel's one result has the anchor's shape and layout and depends on it place by place."""
    anchor = kernel.anchor
    if anchor is None or len(kernel.yielded) != 1:
        return False
    value, after = anchor.results[0], {anchor.results[0]}
    for op in kernel.ops:
        if not any(operand in after for operand in op.operands):
            continue
        if not isinstance(op, ElementwiseOp | CastOp):
            return False
        after.add(op.results[0])
    result = kernel.yielded[0]
    return shape_of(result) == shape_of(value) and layout_of(result) == layout_of(value)


def parallel(schedule: s_tir.Schedule, loops: Sequence[Any], work: int, target: Target) -> Any:
    """Fuse some loops into one, and run it in parallel if `work` scalar operations are worth waking threads for.
    TVM allows this before a reduction inside is decomposed, not after."""
    fused = schedule.fuse(*loops)
    if target.cores > 1 and work // target.lanes() >= PARALLEL_VECTORS:
        schedule.parallel(fused)
    return fused


def vectorize(schedule: s_tir.Schedule, loop: Any, target: Target, dtype: str) -> None:
    """Vectorise a loop; one of several vectors is split into them, and unrolled."""
    extent, lanes = int(schedule.get(loop).extent), target.lanes(dtype)
    if extent > lanes and extent % lanes == 0:
        outer, loop = schedule.split(loop, [None, lanes])
        schedule.unroll(outer)
    schedule.vectorize(loop)


def local_tile(schedule: s_tir.Schedule, block: Any, reductions: int, unrolled_taps: int) -> Any:
    """Make of a reduction block that was computed at a tile loop a register tile: its last `reductions` loops go
    outside its spatial ones, which are unrolled, the innermost vectorised. The buffer keeps the scope that it has:
    TVM puts small buffers on the stack only in the global scope, and LLVM moves those into registers."""
    loops = schedule.get_loops(block)
    rank = len(schedule.get(block).iter_vars) - reductions
    spatial, taps = loops[-reductions - rank : -reductions], loops[-reductions:]
    schedule.reorder(*taps, *spatial)
    for loop in taps[reductions - unrolled_taps :]:
        schedule.unroll(loop)
    for loop in spatial[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(spatial[-1])
    init = schedule.decompose_reduction(block, taps[0])
    loops = schedule.get_loops(init)
    for loop in loops[-rank:-1]:
        schedule.unroll(loop)
    schedule.vectorize(loops[-1])
    return init
