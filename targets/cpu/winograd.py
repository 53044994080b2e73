"""Winograd convolution F(m x m, 3 x 3) in NCHW{b}c: transform inputs, multiply, transform outputs.

For each of the t*t places of a tile (of t, by a window along one axis) products over channels are a matrix product of
tiles by output channels, one for each group: the contraction of `contraction.py` once more. Two orders of the steps:

- tiles in chunks, a task for each of each group: the chunk's transformed inputs and products stay in the cache, weights
  pass by for every chunk. For many tiles or groups, and few channels.
- one step after another for all tiles, each step parallel: transformed weights, 2.25 (m = 2) to 4 times (m = 4) the
  size of the window's, are read once. For many channels and few tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block, winograd_weight
from convc.ir.windows import ConvOp, WinogradConvOp, dilations_of
from convc.ir.winograd import Transforms, along_axes
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.buffers import BufferEmitter, build
from convc.targets.cpu.contraction import Contraction, Tiling, fitted
from convc.targets.cpu.loops import bound, loop, split
from convc.targets.cpu.register_tile import emit, in_memory
from convc.targets.cpu.tiling import EFFICIENCY, cycles, tilings
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
"""Cycles to transform one vector at one place of a tile: its share of loads, arithmetic and stores; in a tile that
does not stay in registers, as one of F(4x4)."""
_MEMORY_BYTES, _CACHE_BYTES = 7.3, 30
"""Bytes of weights that a cycle is added for, where they come from memory and from a cache: some of the time that they
take to come hides behind products. Fits layers of 256 and 512 channels at 14 x 14 and 28 x 28 within 8 %."""


@dataclass(frozen=True)
class Geometry:
    """Tiles of a convolution: in each of `batch` images so many along each axis as `tiles` says; blocks of channels in
    each of some groups. Where an axis is dilated, neighbouring tiles have the elements between one another's."""

    transforms: tuple[Transforms, ...]
    batch: int
    tiles: tuple[int, ...]
    inputs: int
    outputs: int
    block: int
    groups: int = 1

    @staticmethod
    def of(op: ConvOp | WinogradConvOp, m: int) -> Geometry:
        """The tiles of a 3 x 3 convolution in NCHW{b}c."""
        batch, _, *sizes = shape_of(op.result)
        block, groups = channel_block(layout_of(op.result)), op.group.value.data
        inputs, outputs = (physical_shape(value)[1] // groups for value in (op.x, op.result))
        axes = along_axes(shape_of(op.w)[2:], m)
        phases = [min(d, size) for d, size in zip(dilations_of(op), sizes)]
        tiles = [n * ceil(ceil(size / d) / a.m) for n, d, size, a in zip(phases, dilations_of(op), sizes, axes)]
        return Geometry(axes, batch, tuple(tiles), inputs, outputs, block, groups)

    @property
    def count(self) -> int:
        return self.batch * prod(self.tiles)

    @property
    def places(self) -> int:
        """Elements of a tile of inputs."""
        return prod(axis.t for axis in self.transforms)

    @property
    def weight_bytes(self) -> int:
        """Those of a group."""
        return 4 * self.places * self.inputs * self.outputs * self.block**2

    @property
    def tile_bytes(self) -> int:
        """Of a group's transformed inputs and products for a tile."""
        return 4 * self.places * self.block * (self.inputs + self.outputs)

    def place_step(self, channels: int, tiles: int) -> int:
        """Elements between the same vector at neighbouring places, for some blocks of channels and tiles: an odd number
        of vectors. A transform touches all places of a tile, which must not fall into the same few sets of a cache."""
        return (channels * tiles | 1) * self.block

    def together(self, chunk: int, target: CpuTarget) -> int:
        """The groups of a task: one where tiles are in chunks or groups enough for all cores, else all."""
        return 1 if chunk < self.count or self.groups >= _TASKS * target.cores else self.groups

    def sizes(self, tiles: int, groups: int) -> tuple[int, int]:
        """Elements of the operands of the products."""
        return groups * self.places * self.inputs * tiles * self.block, groups * self.weight_bytes // 4

    def contraction(self, tiles: int, groups: int) -> Contraction:
        """The products of some tiles at all places, in some groups."""
        row, weights = tiles * self.block, self.inputs * self.block * self.block
        step = self.place_step(groups * self.inputs, tiles)
        return Contraction(
            points=(Axis(self.places, step, self.groups * self.outputs * weights), Axis(tiles, self.block)),
            reduction=(Axis(self.inputs, row, self.block * self.block), Axis(self.block, 1, self.block)),
            blocks=self.outputs,
            block=self.block,
            block_stride=weights,
            groups=groups,
            group_stride=self.inputs * row,
            around=1,
        )


class Winograd:
    """Weights are HWOI{b}i{b}o, in other ranks without H or with D. Config: the tiles of a `chunk` (all of them: one
    step after another), and the `Tiling` of the products."""

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
            groups = geometry.together(chunk, target)
            c, sizes = geometry.contraction(chunk, groups), geometry.sizes(chunk, groups)
            found += [{"chunk": chunk} | vars(tiling) for tiling in tilings(c, *sizes, target, count=2)]
        return found

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        tiling = Tiling(**{key: value for key, value in config.items() if key != "chunk"})
        return build(kernel, lambda emitter: _Body(emitter, config["chunk"], tiling, target).write())


def whole_groups(op: ConvOp | WinogradConvOp, block: int) -> bool:
    """Whether each block of channels, of inputs and of outputs, is of one group."""
    outputs, inputs = shape_of(op.w)[:2]
    group = op.group.value.data
    return group == 1 or (inputs % block == 0 and outputs // group % block == 0)


def chunks(geometry: Geometry, target: CpuTarget) -> list[int]:
    """Tiles of a chunk, best first: all of them, or a few register tiles. Chunks have the weights come again; what all
    tiles need beyond the second cache is written to memory and read again."""
    most = max(1, min(target.l2_bytes // 2 // geometry.tile_bytes // _FEW, _TILES)) * _FEW
    for_tasks = ceil(geometry.count * geometry.groups / (_TASKS * target.cores) / _FEW) * _FEW
    count = ceil(geometry.count / min(most, for_tasks))
    resident = geometry.weight_bytes <= target.l2_bytes // 2
    again = (count - 1) * geometry.weight_bytes / (_L2_BYTES if resident else _L3_BYTES)
    together = geometry.together(geometry.count, target)
    spilt = max(0, together * geometry.tile_bytes * geometry.count - target.l2_bytes) / together / _SPILT_BYTES
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
        together = self.geometry.together(chunk, self.target)
        tasks = [groups // together, ceil(whole / chunk)]
        if prod(tasks) == 1:
            self._steps(0, whole, 0, together, parallel=True)
            return
        work = prod(shape_of(self.op.result)) * shape_of(self.op.w)[1]
        with loop(prod(tasks), work) as task:
            group, number = map(bound, split(task, tasks))
            # The last chunk overlaps the one before.
            self._steps(bound(T.min(number * chunk, whole - chunk)), chunk, group, together, parallel=False)

    def _steps(self, first: Any, tiles: int, group: Any, groups: int, *, parallel: bool) -> None:
        """Everything for some tiles and groups, from tile `first` and from `group` on."""
        geometry, block = self.geometry, self.geometry.block
        dtype = "float32"
        inputs, outputs = groups * geometry.inputs, groups * geometry.outputs
        v_step, step = (geometry.place_step(channels, tiles) for channels in (inputs, outputs))
        v, products = (T.alloc_buffer([geometry.places * each], dtype) for each in (v_step, step))
        work = 12 * geometry.places * tiles
        with loop(inputs * tiles, inputs * work if parallel else 0) as task:
            channel, i = map(bound, split(task, [inputs, tiles]))
            n, *place = map(bound, split(first + i, [geometry.batch, *geometry.tiles]))
            at = (channel * tiles + i) * block
            tile = [n, group * geometry.inputs + channel, *place]
            input_transform(self.emitter, self.op, geometry, tile, v, at, v_step)
        c = geometry.contraction(tiles, groups)

        def store(o: Any, point: Sequence[Any], lane: int, total: Any, lanes: int) -> None:
            place, i = point
            at = place * step + (o * tiles + i) * block + lane
            with T.vectorized(0, lanes) as k:
                T.buffer_store(products, total(k), [at + k])

        weights = group * (geometry.outputs * c.block_stride)
        emit(c, fitted(self.tiling, c), in_memory(v, c), self.w, store, self.target, parallel=parallel, w_base=weights)
        with loop(outputs * tiles, outputs * work if parallel else 0) as task:
            channel, i = map(bound, split(task, [outputs, tiles]))
            n, *place = map(bound, split(first + i, [geometry.batch, *geometry.tiles]))
            at = (channel * tiles + i) * block
            tile = [n, group * geometry.outputs + channel, *place]
            output_transform(self.emitter, self.op, geometry, tile, products, at, step)


def winograd_cycles(geometry: Geometry, target: CpuTarget, *, cold: bool = True) -> float:
    """The time on one core, by the model of `tiling`; `cold`: weights come from memory."""
    c = geometry.contraction(chunks(geometry, target)[0], 1)
    products = cycles(c, target) * geometry.count / c.columns.extent / EFFICIENCY
    place = _PLACE if geometry.places <= target.vector_registers else _SPILT_PLACE
    transforms = place * geometry.places * geometry.count * (geometry.inputs + geometry.outputs)
    weights = geometry.weight_bytes / (_MEMORY_BYTES if cold else _CACHE_BYTES)
    return geometry.groups * (products + weights + transforms)
