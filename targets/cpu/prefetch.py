"""Weights are asked for before a register tile wants them: into the first cache for its own next steps, and into the
second for the output blocks that come next."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.targets.cpu.contraction import Contraction, Tiling
from convc.targets.target import CpuTarget

_AHEAD = 512
"""Elements between the weights in use and those that are prefetched into the first cache. Measured with 100 MB of
weights in turn: 1024 to 4096 bytes are alike, and give 1x1 and 3x3 layers at 7x7 15 % over none; layers with few
weights do not mind. That is with tiles of many registers; in small ones a step has so few multiply-adds that it waits
for its loads, and a prefetch takes the place of one: networks are 3 to 4 % faster without (16 registers, Zen 3)."""

_MANY_REGISTERS = 32
"""Of vectors: AVX-512 and NEON have so many, AVX2 and SSE half."""

_MANY_TILES = 16
"""So many tiles on the same weights hide the time that the first of them waits for memory."""


def ask_for(buffer: Any, at: Any, *, cache: Literal[1, 2] = 1, write: bool = False) -> None:
    """Prefetch an element of a flat buffer into the first or the second cache, to be read or written."""
    everywhere, data = 4 - cache, 1
    hints = (tirx.const(hint, "int32") for hint in (int(write), everywhere, data))
    T.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", tirx.address_of(buffer[at]), *hints))


@dataclass(frozen=True)
class Prefetch:
    """For a contraction with the flat weights `w`: `ahead` as many elements before a step multiplies them, and those of
    the next output blocks in as many parts as there are `tiles` on the same weights; 0 for none."""

    c: Contraction
    tiling: Tiling
    w: Any
    lanes: int
    ahead: int
    tiles: int

    @staticmethod
    def of(c: Contraction, tiling: Tiling, w: Any, lanes: int, target: CpuTarget) -> Prefetch:
        """What pays on a target."""
        ahead = _AHEAD if target.vector_registers >= _MANY_REGISTERS else 0
        tiles = tiling.tiles(c) if _streams(c, target) else 0
        return Prefetch(c, tiling, w, lanes, ahead, tiles if 1 < tiles <= _MANY_TILES else 0)

    def write(self, block: Any, first: Any, w_at: Any, number: Any) -> None:
        """What a step at `w_at` asks for, where the reduction begins at `first`, in the tile of a number."""
        if self.ahead:
            self._next_steps(block, w_at)
        if self.tiles:
            self._next_blocks(block, first, w_at - first, number)

    def _next_steps(self, block: Any, w_at: Any) -> None:
        """The weights that come some steps later. The hardware sees their streams too, but stops at pages."""
        for at in range(0, self.tiling.blocks * self.c.block, self.lanes):
            ahead = (block + at // self.c.block) * self.c.block_stride + w_at + at % self.c.block + self.ahead
            ask_for(self.w, ahead)

    def _next_blocks(self, block: Any, first: Any, done: Any, number: Any) -> None:
        """The weights of the next output blocks, an equal part in each of the tiles that use these. Else the first tile
        would read all of them from memory, which is slower than it computes, and the others none. That matters little
        where the others are many."""
        c, t = self.c, self.tiling
        parts = 1 << self.tiles.bit_length() - 1  # division by it is a shift; tiles left over ask further ahead
        size = t.blocks * c.block_stride
        begin = block * c.block_stride + first + size + number * (size // parts)
        for at in range(0, -(-t.blocks * c.block // parts), self.lanes):
            ask_for(self.w, begin + done * t.blocks // parts + at, cache=2)


def _streams(c: Contraction, target: CpuTarget) -> bool:
    """Whether the weights come from beyond the second cache, in the order in which they are used."""
    around = prod(axis.extent for axis in c.outer if axis.w) * c.groups
    size = c.blocks * c.block_stride * (4 if c.dtype == "float32" else 8)
    return around * size > target.l2_bytes / 2 and c.block_stride == c.steps * c.block
