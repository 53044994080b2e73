"""Convolutions by what Hopper alone has: TMA copies boxes of the input and of the weights into a ring in shared memory,
where zeros stand for what is outside of an image, and warpgroups multiply them from there (wgmma).

The rows of a tile are a box of output positions, its columns output channels. For one tap of the window the input of a
box of outputs is a box too. With channels in blocks of 16 bytes it lies in shared memory as [block][position][16 B],
the layout without swizzle that wgmma reads: 8 positions x 16 bytes a matrix. Rows beyond the box are computed from
what lies there and not stored. One warp loads, all others multiply; a stage of the ring is filled when its barrier
"full" has counted its bytes, and free when each warp has arrived at "empty" (PTX ISA, mbarrier and
cp.async.bulk.tensor). Two blocks of threads fit a multiprocessor where tiles are not large, and one multiplies while
the other begins or stores. Where there are too few tiles to fill the GPU, the blocks of a cluster share the sum of one,
and each adds up some of its columns from the shared memory of all. Where there are many, blocks may stay and go on to
the next: it is loaded while they store their results. Two blocks that need the same weights may load half of them each
for both (multicast). A launch begins before the one before has ended, and loads its first weights meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.targets.buffers import build, lane_of
from convc.targets.cuda.codegen import RESIDENT
from convc.targets.cuda.conv import Geometry, ImplicitGemm
from convc.targets.cuda.cores import extern, keep, where, zeros
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.hopper_operands import Boxes, View
from convc.targets.cuda.hopper_tiling import (
    BARRIER_BYTES,
    WARPGROUP,
    WARPGROUP_ROWS,
    HopperTile,
    hopper_tiles,
)
from convc.targets.cuda.target import ACCESS_BYTES, WARP, CudaTarget
from convc.targets.cuda.tensor_maps import address_of
from convc.targets.indexing import unravelled
from convc.targets.template import Config

_TYPES = {"float16": "f16", "bfloat16": "bf16"}
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
        view = View(Geometry(kernel))
        return view.conv.dtype in _TYPES and view.fits() and bool(hopper_tiles(view.problem(), target))

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        return [vars(tile) for tile in hopper_tiles(View(Geometry(kernel)).problem(), target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        tile = HopperTile(**config)
        function = build(lambda: _Block(BufferEmitter.of_parameters(kernel), tile).emit(target.multiprocessors))
        return function.with_attr(RESIDENT, tile.resident) if tile.resident else function


class _Block:
    """What a block of threads does. Offsets into its shared memory, `memory`, are in bytes."""

    def __init__(self, emitter: BufferEmitter, tile: HopperTile) -> None:
        self.emitter, self.tile = emitter, tile
        self.conv = conv = Geometry(emitter.kernel)
        self.boxes = boxes = Boxes(emitter, conv, tile)
        self.view, self.pixels = boxes.view, prod(boxes.box)
        self.steps = -(-boxes.count // tile.boxes)
        self.ahead = min(tile.stages, -(-self.steps // tile.splits))
        # The tiles of a cluster have one number.
        self.counts = [-(-extent // side) for extent, side in zip(self.view.extents, boxes.box, strict=True)]
        self.column_tiles = -(-conv.columns // tile.columns)
        self.a_bytes, self.b_bytes = tile.a_bytes(self.pixels), tile.b_bytes

    def emit(self, multiprocessors: int) -> None:
        """Write the launch, inside a PrimFunc that is being built."""
        groups, tile = self.conv.group, self.tile
        self.a_map, self.b_map = self.boxes.a_map(), self.boxes.b_map()
        self.tiles_of_group = tiles = -(-prod(self.counts) // tile.sharing) * self.column_tiles
        if tile.resident:
            tiles, groups = tiles * groups, 1  # groups are numbered with the rest
        clusters = min(tiles, tile.resident * multiprocessors // tile.sharing or tiles)
        with (
            T.thread_binding(0, tile.splits, thread="clusterCtaIdx.z") if tile.splits > 1 else nullcontext(),
            T.thread_binding(0, tile.sharing, thread="clusterCtaIdx.x") if tile.sharing > 1 else nullcontext(),
            T.thread_binding(0, clusters * tile.sharing, thread="blockIdx.x") as block,
            T.thread_binding(0, groups * tile.splits, thread="blockIdx.z") as third,
            T.thread_binding(0, tile.threads, thread="threadIdx.x") as self.thread,
        ):
            self.memory = T.alloc_buffer(
                [tile.shared_bytes(self.pixels) // _WORD], "float32", scope="shared.dyn", align=128
            )
            keep(self.thread, self.memory)
            self.rank, self.number, self.clusters = block % tile.sharing, block // tile.sharing, clusters
            if tile.resident:
                self.turns = T.bind((tiles - 1 - self.number) // clusters + 1)
            else:
                self.split = third % tile.splits
                self._place(self.number, third // tile.splits if groups > 1 else 0)
                each = -(-self.steps // tile.splits)
                self.begin = T.bind(self.split * each) if tile.splits > 1 else 0
                rest = self.steps - self.begin
                self.count = T.bind(T.max(T.min(each, rest), 0)) if tile.splits > 1 else self.steps
            self._block()

    def _place(self, number: Any, group: Any) -> None:
        """The tile of a number is what the thread does next. Tiles of the same rows run at the same time, and find what
        they read of the input in the L2 cache."""
        self.group = group
        self.column_tile = T.bind(number % self.column_tiles)
        places = unravelled(number // self.column_tiles * self.tile.sharing + self.rank, self.counts)
        self.origin = [T.bind(place * side) for place, side in zip(places, self.boxes.box, strict=True)]

    def _find_tile(self) -> None:
        """The same for a block that stays, of whose tile the number is among those of all groups."""
        if not self.tile.resident:
            return
        number = T.bind(self.tile_number)
        if self.conv.group == 1:
            self._place(number, 0)
        else:
            self._place(T.bind(number % self.tiles_of_group), T.bind(number // self.tiles_of_group))

    @contextmanager
    def _tiles(self) -> Iterator[tuple[Any, Any, Any]]:
        """What is written inside is done for each tile of the block. Of the tile's steps, the first and how many the
        block has; how many steps it has done before."""
        if not self.tile.resident:
            yield self.begin, self.count, 0
            return
        with T.serial(0, self.turns) as turn:
            self.tile_number = self.number + turn * self.clusters
            yield 0, self.steps, T.bind(turn * self.steps)

    def _block(self) -> None:
        tile, thread = self.tile, self.thread
        with T.If(thread == 0), T.Then():
            for stage in range(tile.stages):
                extern("convc_mbarrier_init", self._full(stage), 1)
                extern("convc_mbarrier_init", self._empty(stage), tile.consumers // WARP * tile.sharing)
            extern("convc_fence_mbarrier_init")
            extern("convc_fence_proxy_async")
        T.evaluate(T.tvm_storage_sync("shared"))
        if tile.sharing > 1:
            self._meet()
        extern("convc_grid_launch_dependents")
        with T.If(thread >= tile.consumers):
            with T.Then(), T.If(thread == tile.consumers), T.Then():
                for variable in (self.a_map, self.b_map):
                    extern("convc_prefetch_tensormap", address_of(variable))
                self._load_early()
                extern("convc_grid_wait")
                with self._tiles() as (begin, count, before):
                    self._find_tile()
                    self._load(begin, count, before)
            with T.Else():
                self._multiply()
        if tile.splits > 1:
            self._add_up()
        if tile.splits * tile.sharing > 1:
            # No block ends while others read its shared memory, or arrive at its barriers.
            self._meet()

    def _meet(self) -> None:
        """Wait for all threads of the cluster."""
        for call in ("__syncwarp", "convc_cluster_arrive", "convc_cluster_wait"):
            extern(call)

    def _free(self, stage: Any) -> None:
        """The warp does not read a stage any more. Whoever loads into it must know, in each block of the cluster."""
        with T.If(self.thread % WARP == 0), T.Then():
            if self.tile.sharing == 1:
                extern("convc_mbarrier_arrive", self._empty(stage))
            for rank in range(self.tile.sharing if self.tile.sharing > 1 else 0):
                extern("convc_mbarrier_arrive_cluster", self._empty(stage), rank)

    def _load(self, begin: Any, count: Any, before: Any) -> None:
        """What the loading thread does for a tile."""
        tile = self.tile
        with T.serial(0, count) as step:
            at = T.bind(before + step)
            stage = T.bind(at % tile.stages)
            with T.If(at >= self.ahead), T.Then():
                with T.If(at >= tile.stages), T.Then():
                    extern("convc_mbarrier_wait", self._empty(stage), (at // tile.stages + 1) % 2)
                self._load_weights(begin + step, stage)
            for box in range(tile.boxes):
                place = self.boxes.a_place(self.origin, self.group, T.bind((begin + step) * tile.boxes + box))
                self._load_box(self.a_map, self._a(stage, box), place, stage)

    def _load_early(self) -> None:
        """Load weights, which no launch before writes, into the ring as far as the first tile needs it."""
        if self.tile.resident:
            self.tile_number = self.number
            self._find_tile()
            begin: Any = 0
            count: Any = self.steps
        else:
            begin, count = self.begin, self.count
        for step in range(self.ahead):
            with where([step < count] if self.tile.splits > 1 else []):
                self._load_weights(begin + step, step)

    def _load_weights(self, step: Any, stage: Any) -> None:
        """Load a step's weights, and let its stage wait for all that belongs there."""
        tile, boxes = self.tile, self.boxes
        nbytes = tile.boxes * (tile.blocks * self.pixels * ACCESS_BYTES + self.b_bytes)
        extern("convc_mbarrier_arrive_expect_tx", self._full(stage), nbytes)
        for box in range(tile.boxes):
            place = boxes.b_place(self.column_tile, self.group, self.rank, T.bind(step * tile.boxes + box))
            part = self.rank * (tile.b_bytes // tile.sharing // _WORD)
            self._load_box(self.b_map, self._b(stage, box, part), place, stage, tile.sharing)

    def _load_box(self, variable: Any, target: Any, place: Sequence[Any], stage: Any, sharing: int = 1) -> None:
        """Load what is at a place into this block, or into all blocks of the cluster."""
        arguments = target, address_of(variable), self._full(stage), *place
        if sharing == 1:
            extern(f"convc_tma_load_{len(place)}d", *arguments)
        else:
            extern(f"convc_tma_load_{len(place)}d_multicast", *arguments, (1 << sharing) - 1)

    def _multiply(self) -> None:
        """What a thread of those that multiply does."""
        tile, thread = self.tile, self.thread
        extern("convc_grid_wait")
        a_leading = self.a_bytes if tile.blocks == 1 else self.pixels * ACCESS_BYTES
        rows = thread // WARPGROUP * (WARPGROUP_ROWS * ACCESS_BYTES // _WORD)
        a = T.bind(_descriptor(T.address_of(self.memory[BARRIER_BYTES // _WORD + rows]), a_leading))
        b = T.bind(_descriptor(self._b(0, 0), tile.columns * ACCESS_BYTES))
        with self._tiles() as (_, count, before):
            sums = self._products(a, b, a_leading, count, before)
            self._find_tile()
            if tile.splits == 1:
                self._results(0, tile.columns // _COLUMNS, lambda j, half: lane_of(sums, j * 4 + half * 2))
                return
            # Nobody reads the ring any more, after which its memory is free for the sums.
            extern("convc_bar_sync", _CONSUMERS, tile.consumers)
            for j in range(tile.columns // _COLUMNS):
                extern("convc_store_f32x4", self._shared_sum(j), T.address_of(sums[j * 4]))

    def _products(self, a: Any, b: Any, a_leading: int, count: Any, before: Any) -> Any:
        """The thread's sums of a tile. `a` and `b` describe what it multiplies in the first stage."""
        tile = self.tile
        product = f"convc_wgmma_m64n{tile.columns}k16_{_TYPES[self.conv.dtype]}"
        b_leading = tile.columns * ACCESS_BYTES
        sums = zeros(tile.columns // 2)
        kept = (f"convc_fence_registers<{tile.columns // 2}>", T.address_of(sums[0]))
        extern(*kept)
        with T.serial(0, count) as step:
            at = T.bind(before + step)
            stage = T.bind(at % tile.stages)
            extern("convc_mbarrier_wait", self._full(stage), at // tile.stages % 2)
            extern("convc_wgmma_fence")
            for depth in range(0, tile.depth, _DEPTH):
                box, block = divmod(depth, tile.blocks)
                # Addresses in descriptors count 16 bytes.
                offsets = (
                    stage * (tile.boxes * self.a_bytes // ACCESS_BYTES)
                    + (box * self.a_bytes + block * a_leading) // ACCESS_BYTES,
                    stage * (tile.boxes * self.b_bytes // ACCESS_BYTES) + depth * b_leading // ACCESS_BYTES,
                )
                matrices = (start + T.cast(offset, "uint64") for start, offset in zip((a, b), offsets, strict=True))
                extern(product, T.address_of(sums[0]), *matrices, 1)
            extern("convc_wgmma_commit")
            # Those of the step before are done then, and its stage is free.
            extern("convc_wgmma_wait<1>")
            with T.If(step > 0), T.Then():
                self._free((at - 1) % tile.stages)
        extern("convc_wgmma_wait<0>")
        if tile.resident:
            self._free((before + count - 1) % tile.stages)
        extern(*kept)
        return sums

    def _add_up(self) -> None:
        """Add up the sums of the cluster's blocks; each does so for some columns of the tile."""
        tile = self.tile
        parts = tile.columns // _COLUMNS // tile.splits
        self._meet()
        with T.If(self.thread < tile.consumers), T.Then():
            first = T.bind(self.split * parts)
            total, part = zeros(parts * 4), T.alloc_buffer([4], "float32", scope="local")
            for j in range(parts):
                for rank in range(tile.splits):
                    extern("convc_cluster_load_f32x4", T.address_of(part[0]), self._shared_sum(first + j), rank)
                    for i in range(4):
                        T.buffer_store(total, total[j * 4 + i] + part[i], [j * 4 + i])
            self._results(first, parts, lambda j, half: lane_of(total, j * 4 + half * 2))

    def _results(self, first: Any, count: int, value: Callable[[int, int], Callable[[Any], Any]]) -> None:
        """Write a thread's results in so many groups of 8 columns: of each two neighbours, in either of two rows."""
        conv, tile, emitter = self.conv, self.tile, self.emitter
        lane = T.bind(self.thread % WARP)
        pair = T.bind(lane % 4)
        emitter.bind_axes([pair], [4])
        halves = [self._row(T.bind(self.thread // WARP * 16 + half * 8 + lane // 4)) for half in range(2)]

        def store(j: int, half: int, place: Sequence[Any]) -> None:
            chunk = T.bind(self.column_tile * (tile.columns // _COLUMNS) + first + j)
            with where([chunk < conv.columns // _COLUMNS] if conv.columns % tile.columns else []):
                column = conv.first(self.group) + chunk * _COLUMNS + pair * 2
                emitter.store_channels(conv.op, place, column, 2, value(j, half))

        if not halves[0][1]:
            # Both rows of a column at a time: what is read for it is not kept, for want of registers.
            for j in range(count):
                for half, (place, _) in enumerate(halves):
                    store(j, half, place)
            return
        for half, (place, inside) in enumerate(halves):
            with where(inside):
                for j in range(count):
                    store(j, half, place)

    def _row(self, row: Any) -> tuple[list[Any], list[Any]]:
        """Where the results of a tile's row are, and the conditions under which they are."""
        view, box = self.view, self.boxes.box
        at = [T.bind(o + i) for o, i in zip(self.origin, unravelled(row, box), strict=True)]
        inside = [i < extent for i, extent, side in zip(at, view.extents, box, strict=True) if extent % side]
        if prod(self.counts) % self.tile.sharing and not view.extents[0] % box[0]:
            inside.append(at[0] < view.extents[0])
        if self.pixels < self.tile.rows:
            inside.append(row < self.pixels)
        return [at[0], *(unravelled(at[1], self.conv.spatial) if view.flat else at[1:])], inside

    def _full(self, stage: Any) -> Any:
        return T.address_of(self.memory[stage * (_BARRIER // _WORD)])

    def _empty(self, stage: Any) -> Any:
        return T.address_of(self.memory[(self.tile.stages + stage) * (_BARRIER // _WORD)])

    def _a(self, stage: Any, box: int) -> Any:
        """The input of a box in shared memory."""
        return T.address_of(self.memory[(BARRIER_BYTES + box * self.a_bytes) // _WORD + stage * self._a_stage])

    def _b(self, stage: Any, box: int, part: Any = 0) -> Any:
        """Its weights, from a word of them on."""
        first = BARRIER_BYTES // _WORD + self.tile.stages * self._a_stage
        return T.address_of(self.memory[first + box * self.b_bytes // _WORD + part + stage * self._b_stage])

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
