"""Convolutions by what Hopper alone has: TMA copies boxes of the input and of the weights into a ring in shared memory,
where zeros stand for what is outside of an image, and warpgroups multiply them from there (wgmma).

The rows of a tile are a box of output positions, its columns output channels. For one tap of the window the input of a
box of outputs is a box too. With channels in blocks of 16 bytes it lies in shared memory as [block][position][16 B],
the layout without swizzle that wgmma reads: 8 positions x 16 bytes a matrix. Rows beyond the box are computed from
what lies there and not stored. One warp loads, all others multiply; a stage of the ring is filled when its barrier
"full" has counted its bytes, and free when each warp has arrived at "empty" (PTX ISA, mbarrier and
cp.async.bulk.tensor). Two blocks of threads fit a multiprocessor where tiles are not large, and one multiplies while
the other begins or stores. Where there are too few tiles to fill the GPU, the blocks of a cluster share the sum of one,
and each adds up some of its columns from the shared memory of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.runtime.cuda.launch import ELEMENT_BYTES
from convc.targets.buffers import build
from convc.targets.cuda.conv import Geometry, ImplicitGemm
from convc.targets.cuda.cores import extern, keep, local_sum, where, zeros
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.hopper_tiling import (
    BARRIER_BYTES,
    MOST_BOX,
    WARPGROUP,
    WARPGROUP_ROWS,
    HopperProblem,
    HopperTile,
    best_box,
    hopper_tiles,
)
from convc.targets.cuda.target import ACCESS_BYTES, WARP, CudaTarget
from convc.targets.cuda.tensor_maps import address_of, tensor_map
from convc.targets.indexing import unravelled
from convc.targets.template import Config

_TYPES = {"float16": "f16", "bfloat16": "bf16"}
_ELEMENTS = ACCESS_BYTES // ELEMENT_BYTES
"""Of a chunk, as tensor maps count."""
_MOST_RANK = 5
_MOST_STEP = 8
_WORD = 4
"""Bytes of an element of the buffer that stands for all shared memory."""
_BARRIER = 8
"""Bytes of an mbarrier."""
_CONSUMERS = 1
"""The hardware barrier of the threads that multiply."""
_DEPTH = 2
"""Chunks that a product of wgmma sums over."""
_COLUMNS = 8
"""Neighbouring columns of which a thread has two sums in either of two rows."""
_MATRIX = 128
"""Bytes of 8 rows of a chunk."""


class HopperGemm:
    """Dense and grouped convolutions of 16-bit floats in blocked layouts. The configuration is a `HopperTile`."""

    name = "hopper_gemm"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        if target.arch != "sm_90a" or not ImplicitGemm().applies(kernel, target):
            return False
        view = _View(Geometry(kernel))
        return view.conv.dtype in _TYPES and view.fits() and bool(hopper_tiles(view.problem(), target))

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        return [vars(tile) for tile in hopper_tiles(_View(Geometry(kernel)).problem(), target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _Block(BufferEmitter(kernel), HopperTile(**config)).emit())


class _View:
    """A convolution as tensor maps see it: the positions of a window of one, which are also the input's, as one long
    row. `wide` maps take the channels of neighbouring positions as one dimension, which those of strides cannot."""

    def __init__(self, conv: Geometry) -> None:
        self.conv = conv
        self.flat = conv.taps == 1 and tuple(conv.spatial) == tuple(conv.image) and not any(conv.pads)
        self.image, self.extents = tuple(conv.image), (conv.batch, *conv.spatial)
        self.window, self.strides, self.pads, self.dilations = conv.window, conv.strides, conv.pads, conv.dilations
        if self.flat:
            self.image, self.extents = (prod(conv.image),), (conv.batch, prod(conv.image))
            self.window, self.strides, self.pads, self.dilations = (1,), (1,), (0,), (1,)
        self.wide = self.strides[-1] == 1

    def fits(self) -> bool:
        """Whether there is a tensor map for it that pays. The first layer of a network with a stride is none: TMA would
        copy lines of 16 bytes for products of few channels, which threads do as fast."""
        rank = len(self.image) + (2 if self.wide else 3)
        return rank <= _MOST_RANK and max(self.strides) <= _MOST_STEP and (self.wide or self.conv.inputs > 1)

    def problem(self) -> HopperProblem:
        conv = self.conv
        limits = [MOST_BOX, *((MOST_BOX - 1) // stride + 1 for stride in self.strides)]
        if self.wide:
            limits[-1] = MOST_BOX // _ELEMENTS
        counts = conv.outputs, conv.columns, conv.group, conv.inputs, conv.taps
        return HopperProblem(self.extents, tuple(limits), self.wide, *counts, conv.result_bytes)


class _Block:
    """What a block of threads does for a tile. Offsets into its shared memory, `memory`, are in bytes."""

    def __init__(self, emitter: BufferEmitter, tile: HopperTile) -> None:
        self.emitter, self.tile = emitter, tile
        self.conv = conv = Geometry(emitter.kernel)
        self.view = _View(conv)
        problem = self.view.problem()
        self.run = problem.runs(tile.columns)
        self.box = best_box(tile.rows, problem.extents, problem.limits)
        self.pixels = prod(self.box)
        self.segments = -(-conv.inputs // tile.blocks)
        self.boxes = conv.taps * self.segments
        self.a_bytes, self.b_bytes = tile.a_bytes(self.pixels), tile.b_bytes

    def emit(self) -> None:
        """Write the launch, inside a PrimFunc that is being built."""
        conv, tile = self.conv, self.tile
        self.a_map, self.b_map = self._a_map(), self._b_map()
        counts = [-(-extent // side) for extent, side in zip(self.view.extents, self.box, strict=True)]
        column_tiles = -(-conv.columns // tile.columns)
        with (
            T.thread_binding(0, tile.splits, thread="clusterCtaIdx.z") if tile.splits > 1 else nullcontext(),
            T.thread_binding(0, prod(counts) * column_tiles, thread="blockIdx.x") as number,
            T.thread_binding(0, conv.group * tile.splits, thread="blockIdx.z") as third,
            T.thread_binding(0, tile.threads, thread="threadIdx.x") as self.thread,
        ):
            self.memory = T.alloc_buffer(
                [tile.shared_bytes(self.pixels) // _WORD], "float32", scope="shared.dyn", align=128
            )
            keep(self.thread, self.memory)
            # Tiles of the same rows run at the same time, and find what they read of the input in the L2 cache.
            self.column_tile = T.bind(number % column_tiles)
            places = unravelled(number // column_tiles, counts)
            self.origin = [T.bind(place * side) for place, side in zip(places, self.box, strict=True)]
            self.group: Any = third // tile.splits if conv.group > 1 else 0
            self.split: Any = third % tile.splits
            self._block()

    def _block(self) -> None:
        tile, thread = self.tile, self.thread
        steps = -(-self.boxes // tile.boxes)
        each = -(-steps // tile.splits)
        begin = T.bind(self.split * each) if tile.splits > 1 else 0
        count = T.bind(T.max(T.min(each, steps - begin), 0)) if tile.splits > 1 else steps
        with T.If(thread == 0), T.Then():
            for stage in range(tile.stages):
                extern("convc_mbarrier_init", self._full(stage), 1)
                extern("convc_mbarrier_init", self._empty(stage), tile.consumers // WARP)
            extern("convc_fence_mbarrier_init")
            extern("convc_fence_proxy_async")
        T.evaluate(T.tvm_storage_sync("shared"))
        with T.If(thread >= tile.consumers):
            with T.Then(), T.If(thread == tile.consumers), T.Then():
                self._load(begin, count)
            with T.Else():
                self._multiply(count)
        if tile.splits > 1:
            self._add_up()

    def _load(self, begin: Any, count: Any) -> None:
        """What the loading thread does."""
        tile = self.tile
        for variable in (self.a_map, self.b_map):
            extern("convc_prefetch_tensormap", address_of(variable))
        nbytes = tile.boxes * (tile.blocks * self.pixels * ACCESS_BYTES + self.b_bytes)
        with T.serial(0, count) as step:
            stage = T.bind(step % tile.stages)
            with T.If(step >= tile.stages), T.Then():
                extern("convc_mbarrier_wait", self._empty(stage), (step // tile.stages + 1) % 2)
            extern("convc_mbarrier_arrive_expect_tx", self._full(stage), nbytes)
            for box in range(tile.boxes):
                number = T.bind((begin + step) * tile.boxes + box)
                for variable, target, at in (
                    (self.a_map, self._a(stage, box), self._a_place(number)),
                    (self.b_map, self._b(stage, box), self._b_place(number)),
                ):
                    extern(f"convc_tma_load_{len(at)}d", target, address_of(variable), self._full(stage), *at)

    def _multiply(self, count: Any) -> None:
        """What a thread of those that multiply does."""
        tile, thread = self.tile, self.thread
        product = f"convc_wgmma_m64n{tile.columns}k16_{_TYPES[self.conv.dtype]}"
        a_leading = self.a_bytes if tile.blocks == 1 else self.pixels * ACCESS_BYTES
        b_leading = tile.columns * ACCESS_BYTES
        rows = thread // WARPGROUP * (WARPGROUP_ROWS * ACCESS_BYTES // _WORD)
        a = T.bind(_descriptor(T.address_of(self.memory[BARRIER_BYTES // _WORD + rows]), a_leading))
        b = T.bind(_descriptor(self._b(0, 0), b_leading))
        sums = zeros(tile.columns // 2)
        kept = (f"convc_fence_registers<{tile.columns // 2}>", T.address_of(sums[0]))
        extern(*kept)
        with T.serial(0, count) as step:
            stage = T.bind(step % tile.stages)
            extern("convc_mbarrier_wait", self._full(stage), step // tile.stages % 2)
            extern("convc_wgmma_fence")
            for depth in range(0, tile.depth, _DEPTH):
                box, block = divmod(depth, tile.blocks)
                # Addresses in descriptors count 16 bytes.
                offsets = (
                    stage * (tile.boxes * self.a_bytes // ACCESS_BYTES)
                    + (box * self.a_bytes + block * a_leading) // ACCESS_BYTES,
                    stage * (tile.boxes * self.b_bytes // ACCESS_BYTES) + depth * b_leading // ACCESS_BYTES,
                )
                at = (start + T.cast(offset, "uint64") for start, offset in zip((a, b), offsets, strict=True))
                extern(product, T.address_of(sums[0]), *at, 1)
            extern("convc_wgmma_commit")
            # Those of the step before are done then, and its stage is free.
            extern("convc_wgmma_wait<1>")
            with T.If(tirx.all(step > 0, thread % WARP == 0)), T.Then():
                extern("convc_mbarrier_arrive", self._empty((step - 1) % tile.stages))
        extern("convc_wgmma_wait<0>")
        extern(*kept)
        if tile.splits == 1:
            self._results(0, tile.columns // _COLUMNS, lambda j, half: partial(local_sum, sums, j * 4 + half * 2))
            return
        # Nobody reads the ring any more, after which its memory is free for the sums.
        extern("convc_bar_sync", _CONSUMERS, tile.consumers)
        for j in range(tile.columns // _COLUMNS):
            extern("convc_store_f32x4", self._shared_sum(j), T.address_of(sums[j * 4]))

    def _add_up(self) -> None:
        """Add up the sums of the cluster's blocks; each does so for some columns of the tile."""
        tile = self.tile
        parts = tile.columns // _COLUMNS // tile.splits
        cluster = ("__syncwarp",), ("convc_cluster_arrive",), ("convc_cluster_wait",)
        for call in cluster:
            extern(*call)
        with T.If(self.thread < tile.consumers), T.Then():
            first = T.bind(self.split * parts)
            total, part = zeros(parts * 4), T.alloc_buffer([4], "float32", scope="local")
            for j in range(parts):
                for rank in range(tile.splits):
                    extern("convc_cluster_load_f32x4", T.address_of(part[0]), self._shared_sum(first + j), rank)
                    for i in range(4):
                        T.buffer_store(total, total[j * 4 + i] + part[i], [j * 4 + i])
            self._results(first, parts, lambda j, half: partial(local_sum, total, j * 4 + half * 2))
        # No block ends while another one reads its shared memory.
        for call in cluster:
            extern(*call)

    def _results(self, first: Any, count: int, value: Callable[[int, int], Callable[[Any], Any]]) -> None:
        """Write a thread's results in so many groups of 8 columns: of each two neighbours, in either of two rows."""
        conv, tile, view, emitter = self.conv, self.tile, self.view, self.emitter
        lane = T.bind(self.thread % WARP)
        pair = T.bind(lane % 4)
        emitter.bind_axes([pair], [4])
        for half in range(2):
            row = T.bind(self.thread // WARP * 16 + half * 8 + lane // 4)
            at = [T.bind(o + i) for o, i in zip(self.origin, unravelled(row, self.box), strict=True)]
            inside = [i < extent for i, extent, side in zip(at, view.extents, self.box, strict=True) if extent % side]
            if self.pixels < tile.rows:
                inside.append(row < self.pixels)
            place = [at[0], *(unravelled(at[1], conv.spatial) if view.flat else at[1:])]
            with where(inside):
                for j in range(count):
                    chunk = T.bind(self.column_tile * (tile.columns // _COLUMNS) + first + j)
                    with where([chunk < conv.columns // _COLUMNS] if conv.columns % tile.columns else []):
                        column = conv.first(self.group) + chunk * _COLUMNS + pair * 2
                        emitter.store_channels(conv.op, place, column, 2, value(j, half))

    def _a_map(self) -> tirx.Var:
        conv, view = self.conv, self.view
        shape, box, steps = [_ELEMENTS], [_ELEMENTS], [1]
        extents = [*reversed(view.image), conv.batch, conv.x_blocks]
        sides = [*reversed(self.box[1:]), self.box[0], self.tile.blocks]
        jumps = [*reversed(view.strides), 1, 1]
        image = prod(view.image) * ACCESS_BYTES
        distances = [ACCESS_BYTES * prod(view.image[i + 1 :]) for i in reversed(range(len(view.image)))]
        distances += [conv.x_blocks * image, image]
        shape += extents
        box += [(side - 1) * jump + 1 for side, jump in zip(sides, jumps, strict=True)]
        steps += jumps
        if view.wide:
            shape[:2], box[:2], steps[:2] = [shape[1] * _ELEMENTS], [box[1] * _ELEMENTS], [1]
            distances = distances[1:]
        return tensor_map("a_map", self.emitter.buffers[conv.x], shape, distances, box, steps)

    def _a_place(self, number: Any) -> list[Any]:
        """Where the input of a box begins, the innermost dimension first."""
        conv, view = self.conv, self.view
        n, *origin = self.origin
        tap = unravelled(number // self.segments, view.window) if conv.taps > 1 else [0] * len(view.window)
        place = [
            o * s + k * d - p
            for o, s, k, d, p in zip(origin, view.strides, tap, view.dilations, view.pads, strict=True)
        ]
        block = number % self.segments * self.tile.blocks
        if conv.group > 1:
            block = self.group * conv.inputs + block
        if self.boxes % self.tile.boxes:  # beyond the last one: zeros
            block = tirx.Select(number < self.boxes, block, conv.x_blocks)
        *outer, last = place
        return [*([last * _ELEMENTS] if view.wide else [0, last]), *reversed(outer), n, block]

    def _b_map(self) -> tirx.Var:
        conv, tile = self.conv, self.tile
        outputs = conv.outputs * conv.group
        shape, strides = [conv.taps, conv.inputs], [outputs * ACCESS_BYTES, conv.taps * outputs * ACCESS_BYTES]
        box = [1, tile.blocks]
        if self.run < tile.columns:
            shape = [outputs // self.run, *shape]
            strides = [self.run * ACCESS_BYTES, *strides]
            box = [tile.columns // self.run, *box]
            outputs = self.run
        shape, box = [outputs * _ELEMENTS, *shape], [self.run * _ELEMENTS, *box]
        return tensor_map("b_map", self.emitter.buffers[conv.w], shape, strides, box, [1] * len(shape))

    def _b_place(self, number: Any) -> list[Any]:
        """Where the weights of a box begin; beyond the last box there are none."""
        conv, tile = self.conv, self.tile
        column = self.column_tile * tile.columns
        column = column + conv.first(self.group)
        first = [column * _ELEMENTS] if self.run == tile.columns else [0, self.emitter.simplify(column // self.run)]
        return [*first, number // self.segments, number % self.segments * tile.blocks]

    def _full(self, stage: Any) -> Any:
        return T.address_of(self.memory[stage * (_BARRIER // _WORD)])

    def _empty(self, stage: Any) -> Any:
        return T.address_of(self.memory[(self.tile.stages + stage) * (_BARRIER // _WORD)])

    def _a(self, stage: Any, box: int) -> Any:
        """The input of a box in shared memory."""
        return T.address_of(self.memory[(BARRIER_BYTES + box * self.a_bytes) // _WORD + stage * self._a_stage])

    def _b(self, stage: Any, box: int) -> Any:
        """Its weights."""
        first = BARRIER_BYTES // _WORD + self.tile.stages * self._a_stage
        return T.address_of(self.memory[first + box * self.b_bytes // _WORD + stage * self._b_stage])

    @property
    def _a_stage(self) -> int:
        return self.tile.boxes * self.a_bytes // _WORD

    @property
    def _b_stage(self) -> int:
        return self.tile.boxes * self.b_bytes // _WORD

    def _shared_sum(self, j: Any) -> Any:
        """The thread's sums of the j-th 8 columns, where the cluster's blocks find them: after the barriers, on which
        nobody waits any more when that is written."""
        return T.address_of(self.memory[BARRIER_BYTES // _WORD + (j * self.tile.consumers + self.thread) * 4])


def _descriptor(place: Any, leading: int) -> Any:
    return T.call_extern("uint64", "convc_wgmma_descriptor", place, leading, _MATRIX, 0)
