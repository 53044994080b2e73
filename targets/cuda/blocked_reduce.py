"""Reductions over spatial axes in chunks of channels: global pools, and the averages of squeeze-and-excitation. The
result lies in chunks too, or in plain memory.

A group of threads reduces one place of the result for the channels of a block, each thread as many of them as it reads
at once: neighbours read neighbours in memory, where a row of one channel alone would use an eighth of what is fetched.
Their sums are combined pairwise in shared memory, a tree as in `reduce.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk
from convc.ir.neural import ReduceOp
from convc.targets.buffers import build
from convc.targets.cuda.cores import where
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.injective import MOST_LANES
from convc.targets.cuda.target import WARP, CudaTarget
from convc.targets.cuda.threads import BLOCK, MOST_THREADS, STREAM
from convc.targets.emit import Emitter, dtype_of
from convc.targets.indexing import unravelled
from convc.targets.reducers import Reducer
from convc.targets.rows import Rows, Width, reduce, reduces_space
from convc.targets.template import Config

_LINE = 128
"""Bytes that memory hands out at once: what a group reads together is at least that."""


class BlockedReduce:
    """Config: `threads` of a group."""

    name = "blocked_reduce"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        return (
            isinstance(op, ReduceOp)
            and prod(shape_of(op.x)) > 0
            and channel_chunk(layout_of(op.x)) > 0
            and layout_of(op.result) in (layout_of(op.x), None)
            and reduces_space(kernel)
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ReduceOp)
        lanes, parts = _lanes(op)
        reads = parts * prod(shape_of(op.x)[axis] for axis in op.axes.get_values())
        line = _LINE // (lanes * np.dtype(dtype_of(kernel.block.args[0])).itemsize)
        threads = parts
        while threads < MOST_THREADS and threads < reads:
            few = threads * _places(op) < target.threads and 2 * threads * STREAM <= reads
            if threads >= line and not few:
                break
            threads *= 2
        choices = (threads, threads * 2, threads // 2)
        return [{"threads": each} for each in choices if parts <= each <= MOST_THREADS]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        op = kernel.anchor
        assert isinstance(op, ReduceOp)
        # Blocks of several groups, as long as there is one for each multiprocessor.
        block = max(BLOCK, config["threads"])
        while block > max(config["threads"], WARP) and _places(op) * config["threads"] < block * target.multiprocessors:
            block //= 2
        return build(lambda: _emit(BufferEmitter.of_parameters(kernel), config["threads"], block))


def _lanes(op: ReduceOp) -> tuple[int, int]:
    """How many channels a thread has, and how many threads those of a block."""
    block = channel_chunk(layout_of(op.x))
    lanes = min(block, MOST_LANES)
    return lanes, block // lanes


def _places(op: ReduceOp) -> int:
    """How many groups there are."""
    return prod(_extents(op))


def _extents(op: ReduceOp) -> tuple[int, ...]:
    """Blocks of channels, images and places: what groups there are."""
    batch, channels, *spatial = shape_of(op.result)
    return -(-channels // channel_chunk(layout_of(op.x))), batch, *spatial


def _emit(emitter: BufferEmitter, threads: int, block: int) -> None:
    op = emitter.kernel.anchor
    assert isinstance(op, ReduceOp)
    lanes, parts = _lanes(op)
    groups, places = block // threads, _places(op)
    with (
        T.thread_binding(0, -(-places // groups), thread="blockIdx.x") as number,
        T.thread_binding(0, block, thread="threadIdx.x") as thread,
    ):
        emitter.bind_axes([number, thread], [-(-places // groups), block])
        place, within = T.bind(number * groups + thread // threads), T.bind(thread % threads)
        channels, n, *spatial = (T.bind(i) for i in unravelled(place, _extents(op)))
        first = T.bind((channels * parts + within % parts) * lanes)
        inside = [place < places] if places % groups else []
        group = _Group(op, threads, block, thread, inside)
        group.at = lambda lane: [n, first + lane, *spatial]
        group.first = first
        reduce(emitter, op, make=lambda shape, axes: group)
        with where([*inside, within < parts]):
            emitter.store(group.at, lanes)


class _Group(Rows):
    """The rows of a group's channels, as statements of the function that is being built. `at` gives the index of the
    result that a lane of a thread has, `first` its first channel."""

    at: Callable[[Any], list[Any]]
    first: Any

    def __init__(self, op: ReduceOp, threads: int, block: int, thread: Any, inside: Sequence[Any]) -> None:
        super().__init__(shape_of(op.x), op.axes.get_values())
        # No axes are run together: in the padding of a layout, a channel is none that a flat number has room for.
        self.reduced = [axis in op.axes.get_values() for axis in range(len(self.shape))]
        self.kept_runs = [[axis] for axis, reduced in enumerate(self.reduced) if not reduced]
        self.reduced_runs = [[axis] for axis, reduced in enumerate(self.reduced) if reduced]
        self.op, self.threads, self.block, self.thread, self.inside = op, threads, block, thread, inside

    def reduction(
        self,
        emitter: Emitter,
        element: Callable[[Sequence[Any], Sequence[Any]], Any],
        reducer: Reducer,
        name: str,
        width: Width | None,
    ) -> Callable[[Sequence[Any]], Any]:
        """Statements that reduce the rows of all lanes; the results are in shared memory."""
        lanes, parts = _lanes(self.op)
        count, together = prod(self.over), self.threads // parts

        def value(lane: Any, i: Any) -> Any:
            return element(self.kept_of(self.at(lane), True), [emitter.simplify(j) for j in unravelled(i, self.over)])

        dtype = str(value(0, tirx.IntImm("int32", 0)).ty.dtype)
        own = T.alloc_buffer([lanes], dtype, scope="local")
        shared = T.alloc_buffer([self.block * lanes], dtype, scope="shared")
        with T.unroll(0, lanes) as lane:
            T.buffer_store(own, reducer.identity(dtype), [lane])
        with T.serial(0, -(-count // together)) as step:
            emitter.bind_axes([step], [-(-count // together)])
            i = T.bind(step * together + self.thread % self.threads // parts)
            emitter.bind_axes([i], [count])
            with where([*self.inside, i < count] if count % together else self.inside):
                self._each_lane(
                    emitter, lambda lane: T.buffer_store(own, reducer.combine(own[lane], value(lane, i)), [lane])
                )
        with T.vectorized(0, lanes) as lane:
            T.buffer_store(shared, own[lane], [self.thread * lanes + lane])
        half = self.threads // 2
        while half >= parts:
            T.evaluate(T.tvm_storage_sync("shared"))
            with where([self.thread % self.threads < half]), T.vectorized(0, lanes) as lane:
                at = self.thread * lanes + lane
                T.buffer_store(shared, reducer.combine(shared[at], shared[at + half * lanes]), [at])
            half //= 2
        T.evaluate(T.tvm_storage_sync("shared"))
        begin = (self.thread // self.threads * self.threads + self.thread % parts) * lanes
        return lambda kept: shared[begin + emitter.simplify(kept[1] - self.first)]

    def _each_lane(self, emitter: Emitter, write: Callable[[Any], None]) -> None:
        """`write` for the lanes whose elements can be read: all of a vector, where the padding of a block can."""
        lanes, _ = _lanes(self.op)
        layout = layout_of(self.op.x)
        assert layout
        if not layout.pads(shape_of(self.op.x)) or emitter.padded_like(self.op.x, [(self.op.x, 1)]):
            with T.vectorized(0, lanes) as lane:
                emitter.bind_axes([lane], [lanes])
                write(lane)
            return
        for lane in range(lanes):
            with where([self.first + lane < shape_of(self.op.x)[1]]):
                write(lane)
