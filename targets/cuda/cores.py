"""How the threads of a block multiply the tiles that lie in shared memory: by fused multiply-adds of float32, or by
matrix instructions of a warp, on 16-bit floats and TF32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.targets.buffers import lane_of
from convc.targets.cuda.target import ACCESS_BYTES, WARP
from convc.targets.lets import opaque

_FMA_LANES = 4
_PAD = 8
"""Elements between the rows of b's tile: neighbouring threads then write to different banks."""
_FMA_ROWS, _FMA_COLUMNS = 8, 4
"""How a warp's threads lie on a tile: eight read neighbouring rows of a, four read neighbouring columns of b."""
_MMA = {"float16": "m16n8k16_f16", "bfloat16": "m16n8k16_bf16", "float32": "m16n8k8_tf32"}
_MMA_ROWS, _MMA_COLUMNS, _MMA_CHUNKS = 16, 8, 2


@dataclass(frozen=True)
class Tile:
    """`rows` x `columns` results a block of threads, of which one thread, or one warp where matrix instructions compute
    them, has `part_rows` x `part_columns`; `depth` chunks a stage, `stages` in the ring; `splits` blocks share the
    chunks of a tile."""

    rows: int
    columns: int
    part_rows: int
    part_columns: int
    depth: int
    stages: int
    splits: int

    def threads(self, tensor_cores: bool) -> int:
        """Of a block."""
        parts = self.rows // self.part_rows * (self.columns // self.part_columns)
        return parts * WARP if tensor_cores else parts

    def registers(self, tensor_cores: bool) -> int:
        """About how many a thread takes: its sums, what it multiplies next, and addresses."""
        if tensor_cores:
            fragments = self.part_rows // _MMA_ROWS * 4 + self.part_columns // _MMA_COLUMNS * 2
            return self.part_rows * self.part_columns // WARP + fragments + 48
        return self.part_rows * self.part_columns + (self.part_rows + self.part_columns) * _FMA_LANES + 40

    def shared_bytes(self, tensor_cores: bool) -> int:
        """What its ring takes of shared memory."""
        pad = 0 if tensor_cores else _PAD
        return self.stages * self.depth * ACCESS_BYTES * (self.rows + self.columns + pad)


Result = tuple[Any, Any, int, Callable[[Any], Any]]
"""(row, column, lanes, value): neighbouring results in a tile, `value` a function of the lane."""


class Core(Protocol):
    """Multiplies tiles. `a` and `b` are their buffers in shared memory, for all stages of the ring."""

    a: Any
    b: Any

    def a_place(self, stage: Any, depth: Any, row: Any) -> Any:
        """Where a chunk of a tile begins in its buffer."""

    def b_place(self, stage: Any, depth: Any, column: Any) -> Any:
        """Where a chunk of b's tile begins."""

    def multiply(self, stage: Any) -> None:
        """Write what adds the products of a stage to the sums."""

    def results(self) -> Iterator[Result]:
        """The thread's sums."""


class FmaCore:
    """Each thread adds up `part_rows` x `part_columns` products of float32 in registers. Rows of a thread lie apart, so
    that a warp reads neighbouring ones; so do its groups of four columns."""

    def __init__(self, tile: Tile, thread: Any) -> None:
        self.tile = tile
        self.row_threads, self.column_threads = tile.rows // tile.part_rows, tile.columns // tile.part_columns
        self._a_stage = tile.depth * tile.rows * _FMA_LANES
        self._b_row = tile.columns + _PAD  # of those columns that are equal modulo four
        self._b_stage = tile.depth * _FMA_LANES * self._b_row
        self.a = T.alloc_buffer([tile.stages * self._a_stage], "float32", scope="shared.dyn")
        self.b = T.alloc_buffer([tile.stages * self._b_stage], "float32", scope="shared.dyn")
        self._sums = zeros(tile.part_rows * tile.part_columns)
        warp, lane = thread // WARP, thread % WARP
        warp_rows = self.row_threads // _FMA_ROWS
        self._row = T.bind(warp % warp_rows * _FMA_ROWS + lane % _FMA_ROWS)
        self._column = T.bind(warp // warp_rows * _FMA_COLUMNS + lane // _FMA_ROWS)

    def a_place(self, stage: Any, depth: Any, row: Any) -> Any:
        return stage * self._a_stage + (depth * self.tile.rows + row) * _FMA_LANES

    def b_place(self, stage: Any, depth: Any, column: Any) -> Any:
        row = depth * _FMA_LANES + column % _FMA_LANES
        return stage * self._b_stage + row * self._b_row + column // _FMA_LANES * _FMA_LANES

    def multiply(self, stage: Any) -> None:
        rows, columns, lanes = self.tile.part_rows, self.tile.part_columns, _FMA_LANES
        a = T.alloc_buffer([rows * lanes], "float32", scope="local")
        b = T.alloc_buffer([columns * lanes], "float32", scope="local")
        with T.serial(0, self.tile.depth) as depth:
            for i in range(rows):
                at = self.a_place(stage, depth, self._row + i * self.row_threads)
                with T.vectorized(0, lanes) as lane:
                    T.buffer_store(a, self.a[at + lane], [i * lanes + lane])
            for j in range(columns):
                at = self.b_place(stage, depth, self._columns(j // lanes) + j % lanes)
                with T.vectorized(0, lanes) as lane:
                    T.buffer_store(b, self.b[at + lane], [j * lanes + lane])
            for k in range(lanes):
                for i in range(rows):
                    for j in range(columns):
                        total, product = self._sums[i * columns + j], a[i * lanes + k] * b[j * lanes + k]
                        T.buffer_store(self._sums, total + product, [i * columns + j])

    def results(self) -> Iterator[Result]:
        columns = self.tile.part_columns
        for j in range(columns // _FMA_LANES):
            for i in range(self.tile.part_rows):
                base = i * columns + j * _FMA_LANES
                row = self._row + i * self.row_threads
                yield row, self._columns(j), _FMA_LANES, lane_of(self._sums, base)

    def _columns(self, j: int) -> Any:
        """Where a group of four columns begins."""
        return (self._column + j * self.column_threads) * _FMA_LANES


class MmaCore:
    """Each warp adds up `part_rows` x `part_columns` products in fragments (PTX ISA, mma.m16n8k16). Shared memory holds
    the chunks of neighbouring rows side by side: eight of them are a matrix that ldmatrix reads without conflicts."""

    def __init__(self, tile: Tile, thread: Any, dtype: str) -> None:
        self.tile = tile
        self._instruction = f"convc_mma_{_MMA[dtype]}"
        self._rounds = dtype == "float32"  # or else the instruction would cut fractions off
        stored = "uint16" if dtype == "bfloat16" else dtype
        self._lanes = ACCESS_BYTES // np.dtype(stored).itemsize
        self.a = T.alloc_buffer([tile.stages * tile.depth * tile.rows * self._lanes], stored, scope="shared.dyn")
        self.b = T.alloc_buffer([tile.stages * tile.depth * tile.columns * self._lanes], stored, scope="shared.dyn")
        keep(thread, self.a, self.b)
        self._fragments = (tile.part_rows // _MMA_ROWS, tile.part_columns // _MMA_COLUMNS)
        self._sums = zeros(prod(self._fragments) * 4)
        warp, warp_rows = thread // WARP, tile.rows // tile.part_rows
        self._lane = T.bind(thread % WARP)
        self._row = T.bind(warp % warp_rows * tile.part_rows)
        self._column = T.bind(warp // warp_rows * tile.part_columns)

    def a_place(self, stage: Any, depth: Any, row: Any) -> Any:
        return ((stage * self.tile.depth + depth) * self.tile.rows + row) * self._lanes

    def b_place(self, stage: Any, depth: Any, column: Any) -> Any:
        return ((stage * self.tile.depth + depth) * self.tile.columns + column) * self._lanes

    def multiply(self, stage: Any) -> None:
        rows, columns = self._fragments
        a = T.alloc_buffer([rows * 4], "uint32", scope="local")
        b = T.alloc_buffer([columns * 2], "uint32", scope="local")
        # Lane i names row i % 8 of matrix i / 8: of a, the second one lies eight rows below the first, and the third
        # follows in k; of b, the second one follows in k.
        a_row, a_depth = self._row + self._lane % 16, self._lane // 16
        b_column, b_depth = self._column + self._lane // 16 * 8 + self._lane % 8, self._lane // 8 % 2
        for depth in range(0, self.tile.depth, _MMA_CHUNKS):
            for i in range(rows):
                at = self.a_place(stage, depth + a_depth, a_row + i * _MMA_ROWS)
                extern("convc_ldmatrix_x4", T.address_of(a[i * 4]), T.address_of(self.a[at]))
            for j in range(0, columns, 2):
                at = self.b_place(stage, depth + b_depth, b_column + j * _MMA_COLUMNS)
                extern("convc_ldmatrix_x4", T.address_of(b[j * 2]), T.address_of(self.b[at]))
            for fragments, count in ((a, rows * 4), (b, columns * 2)) if self._rounds else ():
                for i in range(count):
                    number = T.reinterpret("float32", fragments[i])
                    rounded = T.call_extern("float32", "convc_round_tf32", number)
                    T.buffer_store(fragments, T.reinterpret("uint32", rounded), [i])
            for i in range(rows):
                for j in range(columns):
                    sums = T.address_of(self._sums[(i * columns + j) * 4])
                    extern(self._instruction, sums, T.address_of(a[i * 4]), T.address_of(b[j * 2]))

    def results(self) -> Iterator[Result]:
        rows, columns = self._fragments
        for i in range(rows):
            for j in range(columns):
                for half in range(2):
                    base = (i * columns + j) * 4 + half * 2
                    row = self._row + i * _MMA_ROWS + half * 8 + self._lane // 4
                    column = self._column + j * _MMA_COLUMNS + self._lane % 4 * 2
                    yield row, column, 2, lane_of(self._sums, base)


def keep(thread: Any, *buffers: Any) -> None:
    """Make TVM place whole buffers in shared memory: it sees no access to them in the arguments of a function."""
    with T.If(opaque(thread) < 0), T.Then():
        for buffer in buffers:
            zero = T.cast(0, str(buffer.dtype))
            for place in (0, int(buffer.shape[0]) - 1):
                T.buffer_store(buffer, zero, [place])


def extern(function: str, *arguments: Any) -> None:
    """Call a device function of convc_device.cuh."""
    T.evaluate(T.call_extern("void", function, *arguments))


@contextmanager
def where(conditions: Sequence[Any]) -> Iterator[None]:
    """What is written inside is done where all conditions hold."""
    if conditions:
        with T.If(tirx.all(*conditions)), T.Then():
            yield
    else:
        yield


def zeros(count: int) -> Any:
    """A thread's sums."""
    sums = T.alloc_buffer([count], "float32", scope="local")
    with T.unroll(0, count) as i:
        T.buffer_store(sums, T.float32(0), [i])
    return sums
