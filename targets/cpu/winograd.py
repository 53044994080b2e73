"""Winograd convolution in NCHW{b}c: transform inputs, multiply, transform outputs.

For each of the t*t places of a tile (of t, by a window along one axis) products over channels are a matrix product of
tiles by output channels, one for each group: the contraction of `contraction.py` once more. At stride 2 some places
share a matrix of weights; where everything lies says `winograd_tiles.py`. Two orders of the three steps:

- tiles in chunks, a task for each of each group: the chunk's transformed inputs and products stay in the cache, weights
  pass by for every chunk. For many tiles or groups, and few channels.
- one step after another for all tiles, each step parallel: transformed weights, 2.25 (m = 2) to 4 times (m = 4) the
  size of the window's, are read once. For many channels and few tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block, winograd_weight
from convc.ir.windows import ConvOp, WinogradConvOp
from convc.targets.cpu.buffers import BufferEmitter, build
from convc.targets.cpu.contraction import Contraction, Tiling, fitted
from convc.targets.cpu.loops import bound, loop, split
from convc.targets.cpu.register_tile import emit, in_memory
from convc.targets.cpu.tiling import EFFICIENCY, cycles, tilings
from convc.targets.cpu.winograd_tiles import Geometry, Part, Places, operand_sizes
from convc.targets.cpu.winograd_transforms import input_transform, output_transform
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.target import CpuTarget
from convc.targets.template import Config

_TASKS = 3  # a core
_FEW = 14  # tiles that fill the registers of the widest machines
_TILES = 2  # of them: with one, weights come twice as often; with four, layers of 64 channels are 5 to 10 % slower
# Bytes a cycle: from the second and the third cache while products are made; to the third cache and back, twice.
_L2_BYTES, _L3_BYTES, _SPILT_BYTES = 32, 18, 4
_PLACE, _SPILT_PLACE = 3.2, 6.5
"""Cycles to transform one vector at one place of a tile: its share of loads, arithmetic and stores; in a tile of which
a part does not stay in registers, as one of F(4x4)."""
_MEMORY_BYTES, _CACHE_BYTES = 7.3, 30
"""Bytes of weights that a cycle is added for, where they come from memory and from a cache: some of the time that they
take to come hides behind products. Fits layers of 256 and 512 channels at 14 x 14 and 28 x 28 within 8 %."""


class Winograd:
    """Weights are HWOI{b}i{b}o, in other ranks without H or with D. Config: the tiles of a `chunk` (all of them: one
    step after another), and the `Tiling` of the products; at stride 2 of those of the first part, while the model cuts
    the others."""

    name = "winograd"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, WinogradConvOp) or not elementwise_epilogue(kernel, relayout=True):
            return False
        block = channel_block(layout_of(op.result))
        return (
            block == target.lanes()
            and layout_of(op.x) == layout_of(op.result) == layout_of(kernel.yielded[0])
            and layout_of(op.w) == winograd_weight(len(shape_of(op.w)), block)
            and whole_groups(op, block)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, WinogradConvOp)
        geometry = Geometry.of(op, op.m.value.data)
        found = []
        for chunk in chunks(geometry, target):
            c = geometry.contractions(chunk, together(geometry, chunk, target))[0]
            found += [{"chunk": chunk} | vars(tiling) for tiling in tilings(c, *operand_sizes(c), target, count=2)]
        return found

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        tiling = Tiling(**{key: value for key, value in config.items() if key != "chunk"})
        return build(kernel, lambda emitter: _Body(emitter, config["chunk"], tiling, target).write())


def whole_groups(op: ConvOp | WinogradConvOp, block: int) -> bool:
    """Whether each block of channels, of inputs and of outputs, is of one group."""
    outputs, inputs = shape_of(op.w)[:2]
    group = op.group.value.data
    return group == 1 or (inputs % block == 0 and outputs // group % block == 0)


def together(geometry: Geometry, chunk: int, target: CpuTarget) -> int:
    """The groups of a task: one where tiles are in chunks or groups enough for all cores, else all."""
    alone = chunk < geometry.count or geometry.groups >= _TASKS * target.cores
    return 1 if alone else geometry.groups


def chunks(geometry: Geometry, target: CpuTarget) -> list[int]:
    """Tiles of a chunk, best first: all of them, or a few register tiles. Chunks have the weights come again; what all
    tiles need beyond the second cache is written to memory and read again."""
    most = max(1, min(target.l2_bytes // 2 // geometry.tile_bytes // _FEW, _TILES)) * _FEW
    for_tasks = ceil(geometry.count * geometry.groups / (_TASKS * target.cores) / _FEW) * _FEW
    count = ceil(geometry.count / min(most, for_tasks))
    resident = geometry.weight_bytes <= target.l2_bytes // 2
    again = (count - 1) * geometry.weight_bytes / (_L2_BYTES if resident else _L3_BYTES)
    groups = together(geometry, geometry.count, target)
    spilt = max(0, groups * geometry.tile_bytes * geometry.count - target.l2_bytes) / groups / _SPILT_BYTES
    sizes = [geometry.count, ceil(geometry.count / count)]
    return sizes if spilt <= again else sizes[::-1]


@dataclass
class _Body:
    emitter: BufferEmitter
    chunk: int
    tiling: Tiling
    target: CpuTarget

    def write(self) -> None:
        op = self.emitter.kernel.anchor
        assert isinstance(op, WinogradConvOp)
        self.op, self.geometry = op, Geometry.of(op, op.m.value.data)
        self.w = self.emitter.buffers[op.w].view(prod(physical_shape(op.w)))
        whole, groups, chunk = self.geometry.count, self.geometry.groups, min(self.chunk, self.geometry.count)
        own = together(self.geometry, chunk, self.target)
        tasks = [groups // own, ceil(whole / chunk)]
        if prod(tasks) == 1:
            self._steps(0, whole, 0, own, parallel=True)
            return
        work = prod(shape_of(self.op.result)) * shape_of(self.op.w)[1]
        with loop(prod(tasks), work) as task:
            group, number = map(bound, split(task, tasks))
            # The last chunk overlaps the one before.
            self._steps(bound(T.min(number * chunk, whole - chunk)), chunk, group, own, parallel=False)

    def _steps(self, first: Any, tiles: int, group: Any, groups: int, *, parallel: bool) -> None:
        """Everything for some tiles and groups, from tile `first` and from `group` on."""
        geometry = self.geometry
        x, y = (Places(geometry, groups * channels, tiles) for channels in (geometry.inputs, geometry.outputs))
        v, products = (T.alloc_buffer([places.size], "float32") for places in (x, y))
        work = 12 * geometry.places * tiles if parallel else 0

        def tile(task: Any, channels: int) -> tuple[Any, Any, list[Any]]:
            """The block of channels and the number of a task's tile among these; which one of all it is."""
            channel, i = map(bound, split(task, [groups * channels, tiles]))
            n, *numbers = map(bound, split(first + i, [geometry.batch, *geometry.tiles]))
            return channel, i, [n, group * channels + channel, *numbers]

        with loop(x.channels * tiles, x.channels * work) as task:
            *here, at = tile(task, geometry.inputs)
            input_transform(self.emitter, self.op, geometry, at, v, partial(x.at, *here))
        for part, c in zip(geometry.parts, geometry.contractions(tiles, groups), strict=True):
            how = {"parallel": parallel, "w_base": group * geometry.matrix}
            store = partial(self._store, products, y, part)
            emit(c, self._tiling(part, c), in_memory(v, c), self.w, store, self.target, **how)
        with loop(y.channels * tiles, y.channels * work) as task:
            *here, at = tile(task, geometry.outputs)
            output_transform(self.emitter, self.op, geometry, at, products, partial(y.at, *here))

    def _tiling(self, part: Part, c: Contraction) -> Tiling:
        first = part == self.geometry.parts[0]
        return fitted(self.tiling, c) if first else tilings(c, *operand_sizes(c), self.target, count=1)[0]

    @staticmethod
    def _store(
        products: Any, y: Places, part: Part, o: Any, point: Sequence[Any], lane: int, total: Any, lanes: int
    ) -> None:
        """Write a vector of sums at the place where the transform of outputs looks for it."""
        row, column, i = point
        at = y.vector(part, row * part.matrices[1] + column, o * (y.tiles * part.copies) + i) + lane
        with T.vectorized(0, lanes) as k:
            T.buffer_store(products, total(k), [at + k])


def winograd_cycles(geometry: Geometry, target: CpuTarget, *, cold: bool = True) -> float:
    """The time on one core, by the model of `tiling`; `cold`: weights come from memory."""
    chunk = chunks(geometry, target)[0]
    products = sum(cycles(c, target) for c in geometry.contractions(chunk, 1)) * geometry.count / chunk / EFFICIENCY
    largest = max(len(rows) * len(columns) for rows, columns in (part.places for part in geometry.parts))
    place = _PLACE if largest <= target.vector_registers else _SPILT_PLACE
    transforms = place * geometry.places * geometry.count * (geometry.inputs + geometry.outputs)
    weights = geometry.weight_bytes / (_MEMORY_BYTES if cold else _CACHE_BYTES)
    return geometry.groups * (products + weights + transforms)
