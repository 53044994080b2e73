"""Matrix products in tiles: what convolutions and dense layers have in common on a GPU.

    y[row, column] = sum over chunk, i of a[row, chunk, i] * b[column, chunk, i]

Both operands are seen as chunks of `lanes` neighbouring elements along the axis that is summed over: what a thread
copies at once. A block of threads computes a tile of rows and columns. The chunks that it needs next travel from memory
to shared memory while it multiplies those that have arrived, in a ring of stages (CUTLASS, "Efficient GEMM in CUDA").
Where there are too few tiles to fill the GPU, several blocks share the chunks of one, and a second launch adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.targets.cuda.target import WARP
from convc.targets.cuda.threads import BLOCK

_PAD = 8
"""Elements between the rows of b's tile in shared memory: neighbouring threads then write to different banks."""
_WARP_ROWS, _WARP_COLUMNS = 8, 4
"""How the threads of a warp lie on a tile: eight read neighbouring rows of a, four read neighbouring columns of b."""


@dataclass(frozen=True)
class Tile:
    """`rows` x `columns` results a block of threads, of which a thread has `thread_rows` x `thread_columns`; `depth`
    chunks a stage, `stages` of them in the ring; `splits` blocks share the chunks of a tile."""

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int
    depth: int
    stages: int
    splits: int

    @property
    def warps(self) -> tuple[int, int]:
        """Along rows and columns."""
        return self.rows // self.thread_rows // _WARP_ROWS, self.columns // self.thread_columns // _WARP_COLUMNS

    @property
    def threads(self) -> int:
        """Of a block."""
        return prod(self.warps) * WARP

    def shared_bytes(self, lanes: int, itemsize: int) -> int:
        """The shared memory that its ring takes."""
        return self.stages * self.depth * lanes * itemsize * (self.rows + self.columns) + self.stages * self.depth * (
            4 * _PAD * itemsize
        )


@dataclass
class Operand:
    """One side of a product. `place` names what all chunks of a row have in common. `chunk`, a function of that, of the
    chunk's number and of the group, says where in `memory` it begins, and the conditions under which it is there."""

    rows: int
    place: Callable[[Any], Any]
    chunk: Callable[[Any, Any, Any], tuple[Any, Sequence[Any]]]
    memory: Any


@dataclass
class Gemm:
    """A product: `store(row, column, group, value)` writes the `lanes` results from a column on, a multiple of `lanes`,
    `value` being a function of the lane."""

    a: Operand
    b: Operand
    chunks: int
    lanes: int
    groups: int
    store: Callable[[Any, Any, Any, Callable[[Any], Any]], None]

    def emit(self, tile: Tile) -> None:
        """Write the launches, inside a PrimFunc that is being built."""
        assert self.lanes == 4, "threads multiply chunks of four 32-bit floats"
        if tile.splits == 1:
            self._tiles(tile, self.store)
            return
        columns = -(-self.b.rows // self.lanes) * self.lanes
        extents = (tile.splits, self.groups, self.a.rows, columns)
        partial = T.alloc_buffer([prod(extents)], "float32")

        def at(split: Any, row: Any, column: Any, group: Any) -> Any:
            return ((split * self.groups + group) * self.a.rows + row) * columns + column

        def keep(row: Any, column: Any, group: Any, value: Callable[[Any], Any], split: Any) -> None:
            with T.vectorized(0, self.lanes) as lane:
                T.buffer_store(partial, value(lane), [at(split, row, column, group) + lane])

        self._tiles(tile, keep)
        vectors = self.groups * self.a.rows * columns // self.lanes
        with (
            T.thread_binding(0, -(-vectors // BLOCK), thread="blockIdx.x") as block,
            T.thread_binding(0, BLOCK, thread="threadIdx.x") as thread,
        ):
            vector = T.bind(block * BLOCK + thread)
            with T.If(vector < vectors), T.Then():
                # Rows lie side by side in the result.
                row, rest = T.bind(vector % self.a.rows), T.bind(vector // self.a.rows)
                column = T.bind(rest % (columns // self.lanes) * self.lanes)
                group = T.bind(rest // (columns // self.lanes))
                total = T.alloc_buffer([self.lanes], "float32", scope="local")
                with T.vectorized(0, self.lanes) as lane:
                    T.buffer_store(total, partial[at(0, row, column, group) + lane], [lane])
                with T.serial(1, tile.splits) as split, T.vectorized(0, self.lanes) as lane:
                    T.buffer_store(total, total[lane] + partial[at(split, row, column, group) + lane], [lane])
                self.store(row, column, group, lambda lane: total[lane])

    def _tiles(self, tile: Tile, store: Callable[..., None]) -> None:
        row_tiles, column_tiles = -(-self.a.rows // tile.rows), -(-self.b.rows // tile.columns)
        with (
            T.thread_binding(0, row_tiles, thread="blockIdx.x") as row_tile,
            T.thread_binding(0, column_tiles, thread="blockIdx.y") as column_tile,
            T.thread_binding(0, self.groups * tile.splits, thread="blockIdx.z") as third,
            T.thread_binding(0, tile.threads, thread="threadIdx.x") as thread,
        ):
            group, split = (third // tile.splits, third % tile.splits) if self.groups > 1 else (0, third)
            _Block(self, tile, row_tile * tile.rows, column_tile * tile.columns, group, split, thread).emit(store)


class _Block:
    """What a block of threads does."""

    def __init__(self, gemm: Gemm, tile: Tile, row: Any, column: Any, group: Any, split: Any, thread: Any) -> None:
        self.gemm, self.tile = gemm, tile
        self.row, self.column, self.group, self.split, self.thread = row, column, group, split, thread
        lanes, depth, stages = gemm.lanes, tile.depth, tile.stages
        self.a_stage = depth * tile.rows * lanes
        self.b_row = tile.columns + _PAD  # of those columns that are equal modulo `lanes`
        self.b_stage = depth * lanes * self.b_row
        self.a_tile = T.alloc_buffer([stages * self.a_stage], "float32", scope="shared.dyn")
        self.b_tile = T.alloc_buffer([stages * self.b_stage], "float32", scope="shared.dyn")
        warp, lane = thread // WARP, thread % WARP
        self.my_row = T.bind(warp % tile.warps[0] * _WARP_ROWS + lane % _WARP_ROWS)
        self.my_column = T.bind(warp // tile.warps[0] * _WARP_COLUMNS + lane // _WARP_ROWS)

    def emit(self, store: Callable[..., None]) -> None:
        gemm, tile = self.gemm, self.tile
        sums = T.alloc_buffer([tile.thread_rows * tile.thread_columns], "float32", scope="local")
        with T.unroll(0, tile.thread_rows * tile.thread_columns) as i:
            T.buffer_store(sums, T.float32(0), [i])
        steps = -(-gemm.chunks // tile.depth)
        each = -(-steps // tile.splits)
        begin = T.bind(self.split * each) if tile.splits > 1 else 0
        count = T.bind(T.max(T.min(each, steps - begin), 0)) if tile.splits > 1 else steps
        copies = [*self._copies(gemm.a, tile.rows, self.row), *self._copies(gemm.b, tile.columns, self.column)]

        def fill(step: Any, stage: Any) -> None:
            for copy in copies:
                copy((begin + step) * tile.depth, stage)

        for ahead in range(tile.stages - 1):
            with T.If(ahead < count), T.Then():
                fill(ahead, ahead)
            _extern("convc_cp_async_commit")
        with T.serial(0, count) as step:
            _extern(f"convc_cp_async_wait<{tile.stages - 2}>")
            _sync()
            with T.If(step + (tile.stages - 1) < count), T.Then():
                fill(step + (tile.stages - 1), (step + (tile.stages - 1)) % tile.stages)
            _extern("convc_cp_async_commit")
            self._multiply(step % tile.stages, sums)
        self._store(sums, store)

    def _copies(self, operand: Operand, extent: int, first: Any) -> list[Callable[[Any, Any], None]]:
        """What the thread copies of an operand's tile at each step: functions of the first chunk and the stage."""
        tile, threads = self.tile, self.tile.threads
        copies: list[Callable[[Any, Any], None]] = []
        places: dict[int, tuple[Any, Any]] = {}
        for number in range(-(-extent * tile.depth // threads)):
            vector = number * threads + self.thread
            if threads % extent == 0:  # always the same row
                key, row, depth = 0, self.thread % extent, number * (threads // extent) + self.thread // extent
            else:
                key, row, depth = number % (extent // threads), vector % extent, vector // extent
            if key not in places:
                places[key] = (T.bind(row), operand.place(T.bind(first + row)))
            copies.append(self._copy(operand, extent, *places[key], depth, first))
        return copies

    def _copy(
        self, operand: Operand, extent: int, row: Any, place: Any, depth: Any, first: Any
    ) -> Callable[[Any, Any], None]:
        gemm, tile, lanes = self.gemm, self.tile, self.gemm.lanes
        is_a = operand is gemm.a
        buffer = self.a_tile if is_a else self.b_tile

        def target(stage: Any) -> Any:
            if is_a:
                return stage * self.a_stage + (depth * tile.rows + row) * lanes
            return stage * self.b_stage + (depth * lanes + row % lanes) * self.b_row + row // lanes * lanes

        def copy(chunk: Any, stage: Any) -> None:
            number = T.bind(chunk + depth)
            whole = [] if gemm.chunks % tile.depth == 0 else [number < gemm.chunks]
            if operand.rows % extent:
                whole.append(first + row < operand.rows)
            address, there = operand.chunk(place, number, self.group)
            there = tirx.all(*whole, *there) if (whole or there) else None
            at = T.bind(target(stage))
            if there is None:
                _extern("convc_cp_async_16", T.address_of(buffer[at]), T.address_of(operand.memory[address]), 16)
            else:
                held = T.bind(there)
                source = T.address_of(operand.memory[T.if_then_else(held, address, 0)])
                _extern("convc_cp_async_16", T.address_of(buffer[at]), source, T.if_then_else(held, 16, 0))

        def guarded(chunk: Any, stage: Any) -> None:
            with T.If(depth < tile.depth), T.Then():
                copy(chunk, stage)

        return copy if extent * tile.depth % tile.threads == 0 else guarded

    def _multiply(self, stage: Any, sums: Any) -> None:
        tile, lanes = self.tile, self.gemm.lanes
        rows, columns = tile.rows // tile.thread_rows, tile.columns // tile.thread_columns
        a = T.alloc_buffer([tile.thread_rows * lanes], "float32", scope="local")
        b = T.alloc_buffer([tile.thread_columns * lanes], "float32", scope="local")
        with T.serial(0, tile.depth) as depth:
            for i in range(tile.thread_rows):
                at = stage * self.a_stage + (depth * tile.rows + self.my_row + i * rows) * lanes
                with T.vectorized(0, lanes) as lane:
                    T.buffer_store(a, self.a_tile[at + lane], [i * lanes + lane])
            for j in range(tile.thread_columns):
                group, r = j // lanes, j % lanes
                at = stage * self.b_stage + (depth * lanes + r) * self.b_row
                with T.vectorized(0, lanes) as lane:
                    T.buffer_store(
                        b, self.b_tile[at + (self.my_column + group * columns) * lanes + lane], [j * lanes + lane]
                    )
            for k in range(lanes):
                for i in range(tile.thread_rows):
                    for j in range(tile.thread_columns):
                        number = i * tile.thread_columns + j
                        T.buffer_store(sums, sums[number] + a[i * lanes + k] * b[j * lanes + k], [number])

    def _store(self, sums: Any, store: Callable[..., None]) -> None:
        gemm, tile, lanes = self.gemm, self.tile, self.gemm.lanes
        rows, columns = tile.rows // tile.thread_rows, tile.columns // tile.thread_columns
        extra = () if tile.splits == 1 else (self.split,)
        for j in range(tile.thread_columns // lanes):
            column = T.bind(self.column + (self.my_column + j * columns) * lanes)
            for i in range(tile.thread_rows):
                row = T.bind(self.row + self.my_row + i * rows)
                inside = []
                if gemm.a.rows % tile.rows:
                    inside.append(row < gemm.a.rows)
                if gemm.b.rows % tile.columns:
                    inside.append(column < gemm.b.rows)
                base = i * tile.thread_columns + j * lanes
                with T.If(tirx.all(*inside) if inside else tirx.const(True, "bool")), T.Then():
                    store(row, column, self.group, lambda lane, base=base: sums[base + lane], *extra)


def _extern(function: str, *arguments: Any) -> None:
    T.evaluate(T.call_extern("void", function, *arguments))


def _sync() -> None:
    T.evaluate(T.tvm_storage_sync("shared"))
