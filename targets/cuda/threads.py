"""Loops over a GPU's threads, for functions that are written statement by statement or scheduled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import s_tir, tirx

from convc.targets.cuda.target import WARP, CudaTarget

BLOCK = 256
"""Threads of a block where nothing speaks for another number: eight warps, of which a multiprocessor keeps several
blocks."""
MOST_THREADS = 1024
"""That a block can have."""
STREAM = 4
"""Reads that a thread should have for itself before others join it in a reduction."""
_FEWEST = 2 * WARP
"""Of which a multiprocessor keeps 32 blocks, all the threads that it can have."""


def block_threads(extent: int, target: CudaTarget) -> int:
    """Threads of a block where there are `extent` of them in all: fewer than usual, where multiprocessors would have
    nothing to do."""
    threads = BLOCK
    while threads > _FEWEST and extent < threads * target.multiprocessors:
        threads //= 2
    return threads


def bound(variable: tirx.Var, extent: int, tag: str, body: tirx.Stmt) -> tirx.Stmt:
    """A loop whose iterations are blocks or threads: `tag` is `blockIdx.x`, `threadIdx.x` ..."""
    axis = tirx.IterVar(None, tirx.Var(tag, "int32"), tirx.IterVar.ThreadIndex, tag)
    return tirx.For(variable, 0, extent, tirx.ForKind.THREAD_BINDING, body, thread_binding=axis)


def each_thread(target: CudaTarget, number: tirx.Var, extent: int, body: tirx.Stmt) -> tirx.Stmt:
    """A thread for each number below `extent`, which runs `body`."""
    threads = min(block_threads(extent, target), max(extent, 1))
    block, thread = tirx.Var("block", "int32"), tirx.Var("thread", "int32")
    if extent % threads:
        body = tirx.IfThenElse(number < extent, body, None)
    statement = tirx.stmt_seq(tirx.Bind(number, block * threads + thread), body)
    return bound(block, -(-extent // threads), "blockIdx.x", bound(thread, threads, "threadIdx.x", statement))


@contextmanager
def numbered(extent: int, target: CudaTarget) -> Iterator[Any]:
    """What is written inside, in a function that is being built, is done by a thread for each number below `extent`:
    the number."""
    threads = block_threads(extent, target)
    with (
        T.thread_binding(0, -(-extent // threads), thread="blockIdx.x") as block,
        T.thread_binding(0, threads, thread="threadIdx.x") as thread,
    ):
        number = T.bind(block * threads + thread)
        with T.If(number < extent), T.Then():
            yield number


def bind_spatial(schedule: s_tir.Schedule, loops: Sequence[Any], target: CudaTarget) -> None:
    """One thread for each iteration of some loops."""
    fused = schedule.fuse(*loops)
    extent = int(schedule.get(fused).extent)
    outer, inner = schedule.split(fused, [None, min(block_threads(extent, target), extent)])
    schedule.bind(outer, "blockIdx.x")
    schedule.bind(inner, "threadIdx.x")
