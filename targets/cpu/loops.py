"""What the CPU's templates share of loops: those that are written out, and steps that schedule others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import s_tir

from convc.targets.generic import spatial_and_reduction
from convc.targets.indexing import unravelled
from convc.targets.target import CpuTarget

PARALLEL_VECTORS = 1 << 12
"""Fewer vector operations than this take less than a microsecond. A region costs half of one, as long as the workers
have not gone to sleep; and what one core writes alone, the others must fetch from it: 6 ns a line."""

PARALLEL_ELEMENTS = 1 << 15
"""A loop nest of fewer iterations takes some 10 microseconds, and a parallel region costs several."""


@contextmanager
def loop(extent: int, work: int) -> Iterator[Any]:
    """A loop over independent tasks, parallel if they do enough vector operations together."""
    with (T.parallel if extent > 1 and work >= PARALLEL_VECTORS else T.serial)(0, extent) as task:
        yield task


def split(flat: Any, extents: Sequence[int]) -> list[Any]:
    """The index along each axis of a flat one: a number where there is no other."""
    return [0 if extent == 1 else i for i, extent in zip(unravelled(flat, extents), extents, strict=True)]


def bound(index: Any) -> Any:
    """A name for an index that is computed; a number as it is."""
    return index if isinstance(index, int) else T.bind(index)


def at_most(limit: int, total: Any, begin: Any) -> Any:
    """How many to take at once, at most `limit`, from `begin` on, a multiple of that, of so many: a number, if it is
    the same each time."""
    return limit if isinstance(total, int) and total % limit == 0 else T.bind(T.min(limit, total - begin))


def ceil_div(count: Any, size: int) -> Any:
    """A number or an index that is not negative, divided and rounded up."""
    return -(-count // size) if isinstance(count, int) else (count + (size - 1)) // size


def even_tile(extent: int, limit: int) -> int:
    """The largest tile within the limit that splits an extent into nearly equal tiles: 17 by 7 gives 6, 6, 5."""
    return -(-extent // -(-extent // max(1, limit)))


def parallel(schedule: s_tir.Schedule, loops: Sequence[Any], work: int, target: CpuTarget) -> Any:
    """Fuse some loops into one, and run it in parallel if `work` scalar operations are worth waking threads for.
    TVM allows this before a reduction inside is decomposed, not after."""
    fused = schedule.fuse(*loops)
    if work // target.lanes() >= PARALLEL_VECTORS:
        schedule.parallel(fused)
    return fused


def vectorize(schedule: s_tir.Schedule, loop: Any, target: CpuTarget, dtype: str) -> None:
    """Vectorise a loop; one of several vectors is split into them, and unrolled."""
    extent, lanes = int(schedule.get(loop).extent), target.lanes(dtype)
    if extent > lanes and extent % lanes == 0:
        outer, loop = schedule.split(loop, [None, lanes])
        schedule.unroll(outer)
    schedule.vectorize(loop)


def local_tile(
    schedule: s_tir.Schedule,
    block: Any,
    unrolled_taps: int,
    inside: int = 0,
    loops: tuple[list[Any], list[Any]] | None = None,
) -> None:
    """Make of a reduction block that was computed at a tile loop a register tile: its reduction loops, the last
    `unrolled_taps` unrolled, go outside its spatial ones, which are unrolled too, the innermost vectorised; but the
    last `inside` of them stay within all spatial loops but that. The buffer keeps the scope that it has: TVM puts
    buffers of less than 1 KiB on the stack only in the global scope, and LLVM moves those into registers. Elsewhere
    each tile would ask the runtime for memory. `loops` are those of `spatial_and_reduction`, if in another order."""
    spatial, taps = loops or spatial_and_reduction(schedule, block)
    split = len(taps) - inside
    schedule.reorder(*taps[:split], *spatial[:-1], *taps[split:], spatial[-1])
    for loop in (*taps[len(taps) - unrolled_taps :], *spatial[:-1]):
        schedule.unroll(loop)
    schedule.vectorize(spatial[-1])
    first = schedule.get_loops(schedule.decompose_reduction(block, taps[0]))
    for loop in first[-len(spatial) : -1]:
        schedule.unroll(loop)
    schedule.vectorize(first[-1])
