"""Reductions, arg-reductions and softmax.

In a blocked layout (a global average pool) the lanes are channels, and a few channel blocks are summed side by side
to hide the latency of the additions. In plain layout the innermost axis decides: where it is kept, vectors run
along it and a tile of them stays in registers over the whole reduction; where it is reduced, vectors of partial
results run along it and are combined at the end. All passes over a tile or row (largest, exponential, total, quotient)
are computed together, while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import s_tir, tirx

from convc.ir.attributes import ReduceKind, layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block
from convc.ir.neural import ArgReduceOp, ReduceOp, SoftmaxOp
from convc.targets.cpu.loops import even_tile, local_tile, parallel, vectorize
from convc.targets.emit import Emitter, dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.generic import spatial_and_reduction
from convc.targets.rows import Rows, Width, arg_reduce, reduce, reduces_space, softmax
from convc.targets.target import CpuTarget
from convc.targets.template import Config

Anchor = ReduceOp | SoftmaxOp | ArgReduceOp


_SUMS = (ReduceKind.SUM, ReduceKind.MEAN, ReduceKind.SUM_SQUARE, ReduceKind.L1, ReduceKind.L2, ReduceKind.LOG_SUM)


class BlockedReduce:
    """Reductions over spatial axes in NC..{b}c. Config: `blocks`, the channel blocks that are summed side by side."""

    name = "blocked_reduce"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            isinstance(op, ReduceOp)
            and channel_block(layout_of(op.result)) > 0
            and layout_of(op.x) == layout_of(op.result)
            and reduces_space(kernel)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ReduceOp)
        block = channel_block(layout_of(op.x))
        blocks = -(-shape_of(op.x)[1] // block)
        # Two additions begin each cycle and take about four: eight accumulators. Memory feeds half of that.
        vectors = max(1, 4 // max(1, block // target.lanes(dtype_of(op.x))))
        return [{"blocks": tile} for tile in dict.fromkeys(even_tile(blocks, n) for n in (vectors, 2 * vectors, 1))]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        op = kernel.anchor
        assert isinstance(op, ReduceOp)
        emitter = Emitter(kernel)
        reduce(emitter, op)
        schedule = s_tir.Schedule(emitter.prim_func([emitter.compute(kernel.yielded[0], "y")]))
        result = schedule.get_sblock("y")
        batch, channels, *spatial, lanes = schedule.get_loops(result)
        tiles, inner = schedule.split(channels, [None, config["blocks"]])
        schedule.reorder(batch, tiles, *spatial, inner, lanes)
        tile = parallel(schedule, [batch, tiles, *spatial], prod(shape_of(op.x)), target)
        for block in _inner_blocks(schedule):
            schedule.compute_at(block, tile, preserve_unit_loops=True)
            if len(over := spatial_and_reduction(schedule, block)[1]) > 1 and op.kind.data in _SUMS:
                block = _by_rows(schedule, block, over[0])
            local_tile(schedule, block, unrolled_taps=0)
        schedule.unroll(inner)
        vectorize(schedule, lanes, target, dtype_of(op.result))
        return schedule.mod["main"]


class RowReduce:
    """Reductions and softmax in plain layout. Config: `units`, the vectors of partial results or of a tile."""

    name = "row_reduce"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            isinstance(op, Anchor)
            and min(shape_of(op.operands[0]), default=0) > 0
            and layout_of(op.results[0]) is None
            and layout_of(op.operands[0]) is None
            and elementwise_epilogue(kernel)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, Anchor)
        rows, lanes = _rows(op), target.lanes(dtype_of(op.x))
        run = (rows.kept if rows.innermost_is_kept else rows.over)[-1]
        most = max(1, min(target.vector_registers // 2, run // lanes))
        units = _divisor(run // lanes, most)
        # A remainder costs a test in the tail; too few vectors wait for one another.
        best = units if run % lanes == 0 and 3 * units > most else most
        return [{"units": count} for count in dict.fromkeys((best, most, max(1, most // 2), 1))]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        op = kernel.anchor
        assert isinstance(op, Anchor)
        emitter = Emitter(kernel)
        lanes = target.lanes(dtype_of(op.x))
        rows = _rows(op)
        kept = rows.innermost_is_kept
        split = not kept and rows.over[-1] >= lanes > 1
        width = Width(config["units"], lanes) if split else None
        if isinstance(op, ReduceOp):
            reduce(emitter, op, width)
        elif isinstance(op, SoftmaxOp):
            softmax(emitter, op, width)
        else:
            arg_reduce(emitter, op, width)
        schedule = s_tir.Schedule(emitter.prim_func([emitter.compute(kernel.yielded[0], "y")]))
        if kept:
            _schedule_tiles(schedule, rows, config["units"], lanes, target)
        else:
            _schedule_rows(schedule, rows, lanes, target)
        return schedule.mod["main"]


def _by_rows(schedule: s_tir.Schedule, block: Any, outer: Any) -> Any:
    """Make a reduction one of the reductions over all but its outermost loop, whose block is returned. A sum of
    thousands of elements, one after another, rounds off as much of each as the sum is larger: sums of sums do not."""
    rows = schedule.rfactor(outer, 0)
    *spatial, over = schedule.get_loops(block)[-len(schedule.get(block).iter_vars) :]
    local_tile(schedule, block, unrolled_taps=0, loops=(spatial, [over]))
    schedule.compute_at(rows, over, preserve_unit_loops=True)
    return rows


def _rows(op: Anchor) -> Rows:
    axes = [op.axis.value.data] if isinstance(op, ArgReduceOp) else op.axes.get_values()
    return Rows(shape_of(op.x), axes)


def _inner_blocks(schedule: s_tir.Schedule) -> list[Any]:
    """All blocks but the result's, consumers first."""
    *blocks, _ = schedule.get_child_blocks(schedule.get_sblock("root"))
    return list(reversed(blocks))


def _divisor(extent: int, most: int) -> int:
    """The largest divisor of an extent within a limit."""
    return max(n for n in range(1, most + 1) if extent % n == 0)


def _collapse(schedule: s_tir.Schedule, rows: Rows) -> tuple[list[Any], list[Any]]:
    """Make the result's block one of a loop a run. Returns the loops over kept runs and over reduced ones."""
    block = schedule.get_sblock("y")
    loops = schedule.get_loops(block)
    rank = len(rows.shape)
    present = [axis for axis in range(rank) if len(loops) == rank or not rows.reduced[axis]]
    extents = {axis: int(schedule.get(loop).extent) for axis, loop in zip(present, loops, strict=True)}
    runs = [run for run in rows.runs if any(axis in extents for axis in run)]

    def flat(*index: Any) -> list[Any]:
        at = dict(zip(present, index, strict=True))
        result = []
        for run in runs:
            first, *others = [axis for axis in run if axis in at]
            value = at[first]
            for axis in others:
                value = value * extents[axis] + at[axis]
            result.append(value)
        return result

    if not runs:
        return [], []
    index_map = tirx.IndexMap.from_func(flat, ndim=len(present), index_dtype="int32")
    schedule.transform_block_layout(block, index_map)
    loops = schedule.get_loops(block)
    kept = [loop for loop, run in zip(loops, runs, strict=True) if run in rows.kept_runs]
    return kept, [loop for loop, run in zip(loops, runs, strict=True) if run in rows.reduced_runs]


def _schedule_tiles(schedule: s_tir.Schedule, rows: Rows, units: int, lanes: int, target: CpuTarget) -> None:
    """Vectors along the innermost run, which is kept."""
    (*outer, inner), reduced = _collapse(schedule, rows)
    extent, work = rows.kept[-1], prod(rows.shape)
    width = min(extent, units * lanes)
    tiles, tile = schedule.split(inner, [None, width])
    schedule.reorder(*outer, tiles, *reduced, tile)
    if extent % width == 0:
        at = parallel(schedule, [*outer, tiles], work, target)
    else:
        # The last tile is shorter. Partitioning takes its test out of the others, but not through fused loops.
        if prod(rows.kept[:-1]) > 1:
            parallel(schedule, outer, work, target)
            at = tiles
        else:
            at = parallel(schedule, [tiles], work, target)
        schedule.annotate(at, "pragma_loop_partition_hint", True)
    for block in _inner_blocks(schedule):
        schedule.compute_at(block, at, preserve_unit_loops=True)
        spatial, over = spatial_and_reduction(schedule, block)
        vectors = _vectors(schedule, spatial[-1], lanes)
        if over:
            _accumulate(schedule, block, over, vectors)
        else:
            schedule.vectorize(vectors[-1])
    schedule.vectorize(_vectors(schedule, tile, lanes)[-1])


def _vectors(schedule: s_tir.Schedule, loop: Any, lanes: int) -> list[Any]:
    """Split a loop into vectors; one shorter than that is a vector of its own."""
    if int(schedule.get(loop).extent) <= lanes:
        return [loop]
    return list(schedule.split(loop, [None, lanes]))


def _unroll(schedule: s_tir.Schedule, loops: Sequence[Any]) -> None:
    for loop in loops:
        schedule.unroll(loop)


def _schedule_rows(schedule: s_tir.Schedule, rows: Rows, lanes: int, target: CpuTarget) -> None:
    """Vectors along the innermost run, which is reduced."""
    kept, reduced = _collapse(schedule, rows)
    blocks = _inner_blocks(schedule)
    if kept or reduced:  # a result of rank 0 has no loop
        schedule.reorder(*kept, *reduced)
        row = parallel(schedule, kept or [schedule.add_unit_loop(reduced[0])], prod(rows.shape), target)
        for block in blocks:
            schedule.compute_at(block, row, preserve_unit_loops=True)
    for block in blocks:
        spatial, over = spatial_and_reduction(schedule, block)
        name = schedule.get(block).name_hint
        if not over:
            _vectorize_tail(schedule, spatial[-1], lanes)
        elif name.endswith("_vectors"):
            _accumulate(schedule, block, over, spatial[-2:])
            schedule.annotate(over[-1], "pragma_loop_partition_hint", True)
        elif name.endswith("_lanes"):
            _accumulate(schedule, block, over, spatial[-1:])
        else:
            schedule.unroll(over[-1])
    if reduced:
        _vectorize_tail(schedule, schedule.fuse(*reduced), lanes)


def _accumulate(schedule: s_tir.Schedule, block: Any, over: Sequence[Any], spatial: Sequence[Any]) -> None:
    """Keep the last spatial loops of a block in registers over its reduction."""
    schedule.reorder(*over, *spatial)
    schedule.vectorize(spatial[-1])
    _unroll(schedule, spatial[:-1])
    loops = schedule.get_loops(schedule.decompose_reduction(block, over[0]))
    schedule.vectorize(loops[-1])
    _unroll(schedule, loops[-len(spatial) : -1])


def _vectorize_tail(schedule: s_tir.Schedule, loop: Any, lanes: int) -> None:
    """Vectorise a loop of any extent; what is left over has a body of its own."""
    if int(schedule.get(loop).extent) < lanes:
        return
    outer, vector = schedule.split(loop, [None, lanes])
    schedule.annotate(outer, "pragma_loop_partition_hint", True)
    schedule.vectorize(vector)
