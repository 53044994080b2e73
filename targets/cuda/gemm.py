"""Matrix products in tiles: what convolutions and dense layers have in common on a GPU.

    y[row, column] = sum over chunk, i of a[row, chunk, i] * b[column, chunk, i]

Both operands are seen as chunks of neighbouring elements along the axis that is summed over, 16 bytes each: what a
thread copies at once. A block of threads computes a tile of rows and columns. The chunks that it needs next travel from
memory to shared memory while it multiplies those that have arrived, in a ring of stages (CUTLASS, "Efficient GEMM in
CUDA"). Where there are too few tiles to fill the GPU, several blocks share the chunks of one, and a second launch adds
up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.targets.cuda.cores import Core, FmaCore, MmaCore, Tile, extern, where
from convc.targets.cuda.target import ACCESS_BYTES, CudaTarget
from convc.targets.cuda.threads import numbered

_SUM_LANES = 4
"""Neighbouring columns that a thread adds up where blocks have shared a tile."""


@dataclass
class Operand:
    """One side of a product. `place` names what all chunks of a row have in common. `chunk`, a function of that, of the
    chunk's number and of the group, says where in `memory` it begins, and the conditions under which it is there."""

    rows: int
    place: Callable[[Any], Any]
    chunk: Callable[[Any, Any, Any], tuple[Any, Sequence[Any]]]
    memory: Any


Store = Callable[[Any, Any, Any, int, Callable[[Any], Any]], None]
"""(row, column, group, lanes, value) writes the results from a column on, a multiple of `lanes`; `value` is a function
of the lane."""


@dataclass
class Gemm:
    """A product of operands of type `dtype`, `chunks` of them to sum over, for each of some groups. `columns` are
    written, of which those beyond b's rows are padding; they are a multiple of the lanes of a chunk. `tensor_cores`:
    whether matrix instructions may compute it, which round float32 to TF32."""

    a: Operand
    b: Operand
    columns: int
    chunks: int
    groups: int
    dtype: str
    tensor_cores: bool
    store: Store

    def emit(self, tile: Tile, target: CudaTarget) -> None:
        """Write the launches, inside a PrimFunc that is being built."""
        if tile.splits == 1:
            self._tiles(tile, lambda split: self.store)
            return
        columns = self.columns
        partial = T.alloc_buffer([tile.splits * self.groups * self.a.rows * columns], "float32")

        def at(split: Any, row: Any, column: Any, group: Any) -> Any:
            return ((split * self.groups + group) * self.a.rows + row) * columns + column

        def keeping(split: Any) -> Store:
            def keep(row: Any, column: Any, group: Any, lanes: int, value: Callable[[Any], Any]) -> None:
                with T.vectorized(0, lanes) as lane:
                    T.buffer_store(partial, value(lane), [at(split, row, column, group) + lane])

            return keep

        self._tiles(tile, keeping)
        vectors = self.groups * self.a.rows * columns // _SUM_LANES
        with numbered(vectors, target) as vector:
            # Rows lie side by side in the result.
            row, rest = T.bind(vector % self.a.rows), T.bind(vector // self.a.rows)
            column = T.bind(rest % (columns // _SUM_LANES) * _SUM_LANES)
            group = T.bind(rest // (columns // _SUM_LANES))
            total = T.alloc_buffer([_SUM_LANES], "float32", scope="local")
            with T.vectorized(0, _SUM_LANES) as lane:
                T.buffer_store(total, partial[at(0, row, column, group) + lane], [lane])
            with T.serial(1, tile.splits) as split, T.vectorized(0, _SUM_LANES) as lane:
                T.buffer_store(total, total[lane] + partial[at(split, row, column, group) + lane], [lane])
            self.store(row, column, group, _SUM_LANES, lambda lane: total[lane])

    def _tiles(self, tile: Tile, store: Callable[[Any], Store]) -> None:
        row_tiles, column_tiles = -(-self.a.rows // tile.rows), -(-self.columns // tile.columns)
        with (
            T.thread_binding(0, row_tiles, thread="blockIdx.x") as row_tile,
            T.thread_binding(0, column_tiles, thread="blockIdx.y") as column_tile,
            T.thread_binding(0, self.groups * tile.splits, thread="blockIdx.z") as third,
            T.thread_binding(0, tile.threads(self.tensor_cores), thread="threadIdx.x") as thread,
        ):
            group, split = (third // tile.splits, third % tile.splits) if self.groups > 1 else (0, third)
            block = _Block(self, tile, row_tile * tile.rows, column_tile * tile.columns, group, thread)
            block.emit(split, store(split))


class _Block:
    """What a block of threads does for the tile that begins at a row and a column of a group."""

    def __init__(self, gemm: Gemm, tile: Tile, row: Any, column: Any, group: Any, thread: Any) -> None:
        self.gemm, self.tile = gemm, tile
        self.row, self.column, self.group, self.thread = row, column, group, thread
        self.threads = tile.threads(gemm.tensor_cores)
        self.core: Core = MmaCore(tile, thread, gemm.dtype) if gemm.tensor_cores else FmaCore(tile, thread)

    def emit(self, split: Any, store: Store) -> None:
        gemm, tile = self.gemm, self.tile
        steps = -(-gemm.chunks // tile.depth)
        each = -(-steps // tile.splits)
        begin = T.bind(split * each) if tile.splits > 1 else 0
        count = T.bind(T.max(T.min(each, steps - begin), 0)) if tile.splits > 1 else steps
        copies = [
            *self._copies(gemm.a, tile.rows, self.row, self.core.a, self.core.a_place),
            *self._copies(gemm.b, tile.columns, self.column, self.core.b, self.core.b_place),
        ]

        def fill(step: Any, stage: Any) -> None:
            for copy in copies:
                copy((begin + step) * tile.depth, stage)

        for ahead in range(tile.stages - 1):
            with T.If(ahead < count), T.Then():
                fill(ahead, ahead)
            extern("convc_cp_async_commit")
        with T.serial(0, count) as step:
            extern(f"convc_cp_async_wait<{tile.stages - 2}>")
            T.evaluate(T.tvm_storage_sync("shared"))
            ahead = step + (tile.stages - 1)
            with T.If(ahead < count), T.Then():
                fill(ahead, ahead % tile.stages)
            extern("convc_cp_async_commit")
            self.core.multiply(step % tile.stages)
        self._store(store)

    def _copies(
        self, operand: Operand, extent: int, first: Any, buffer: Any, place_of: Callable[[Any, Any, Any], Any]
    ) -> list[Callable[[Any, Any], None]]:
        """What the thread copies of an operand's tile at each step: functions of the first chunk and the stage."""
        threads, depth = self.threads, self.tile.depth
        whole_rounds = extent * depth % threads == 0
        copies: list[Callable[[Any, Any], None]] = []
        places: dict[int, tuple[Any, Any]] = {}

        def copying(row: Any, place: Any, at_depth: Any) -> Callable[[Any, Any], None]:
            def copy(chunk: Any, stage: Any) -> None:
                number = T.bind(chunk + at_depth)
                address, conditions = operand.chunk(place, number, self.group)
                conditions = list(conditions)
                if self.gemm.chunks % depth:
                    conditions.append(number < self.gemm.chunks)
                if operand.rows % extent:
                    conditions.append(first + row < operand.rows)
                target = T.address_of(buffer[place_of(stage, at_depth, row)])
                nbytes: Any = ACCESS_BYTES
                if conditions:
                    there = T.bind(tirx.all(*conditions))
                    address, nbytes = T.if_then_else(there, address, 0), T.if_then_else(there, ACCESS_BYTES, 0)
                extern("convc_cp_async_16", target, T.address_of(operand.memory[address]), nbytes)

            def guarded(chunk: Any, stage: Any) -> None:
                with T.If(at_depth < depth), T.Then():
                    copy(chunk, stage)

            return copy if whole_rounds else guarded

        for number in range(-(-extent * depth // threads)):
            vector = number * threads + self.thread
            if threads % extent == 0:  # always the same row
                key, row, at_depth = 0, self.thread % extent, number * (threads // extent) + self.thread // extent
            else:
                key, row, at_depth = number % (extent // threads), vector % extent, vector // extent
            if key not in places:
                places[key] = (T.bind(row), operand.place(T.bind(first + row)))
            copies.append(copying(*places[key], at_depth))
        return copies

    def _store(self, store: Store) -> None:
        gemm, tile = self.gemm, self.tile
        for row, column, lanes, value in self.core.results():
            row, column = T.bind(self.row + row), T.bind(self.column + column)
            inside = []
            if gemm.a.rows % tile.rows:
                inside.append(row < gemm.a.rows)
            if gemm.columns % tile.columns:
                inside.append(column < gemm.columns)
            with where(inside):
                store(row, column, self.group, lanes, value)
