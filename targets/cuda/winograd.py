"""Winograd convolution F(m x m, 3 x 3) of float32 in CNHW4c, in three launches: transform tiles of the input, multiply
at each of the t*t places of a tile, transform back with the epilogue (Lavin and Gray, CVPR 2016).

The products are one for each place, of tiles by output channels: groups of the product in tiles that all convolutions
are. Transformed inputs and products lie in memory, or in the second cache if they fit, as chunks of four channels with
tiles side by side: neighbouring threads have neighbouring tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import element_type, layout_of, physical_shape, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk, chunked_winograd_weight
from convc.ir.windows import ConvOp, WinogradConvOp, dilations_of
from convc.ir.winograd import transforms
from convc.targets.buffers import build, lane_of
from convc.targets.cuda.cores import Tile, where
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import numbered
from convc.targets.cuda.tiling import Problem, tiles
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.even_odd import even_odd_columns, even_odd_rows
from convc.targets.indexing import unravelled
from convc.targets.template import Config

_BLOCK = 4
_LANES = {2: 4, 4: 2}
"""Channels that a thread transforms, by m: what keeps a tile, and what it becomes, in registers."""


@dataclass(frozen=True)
class Geometry:
    """A convolution in tiles of m x m outputs: `rows` x `columns` of them in each of `batch` images. `inputs` and
    `outputs` are channels."""

    m: int
    batch: int
    rows: int
    columns: int
    inputs: int
    outputs: int

    @staticmethod
    def of(op: ConvOp | WinogradConvOp, m: int) -> Geometry:
        """That of a 3 x 3 convolution."""
        batch, outputs, height, width = shape_of(op.result)
        return Geometry(m, batch, ceil(height / m), ceil(width / m), shape_of(op.x)[1], outputs)

    @property
    def tiles(self) -> int:
        return self.batch * self.rows * self.columns

    @property
    def places(self) -> int:
        """Elements of a tile of inputs."""
        return (self.m + 2) ** 2

    @property
    def chunks(self) -> int:
        """Blocks of input channels."""
        return ceil(self.inputs / _BLOCK)

    @property
    def padded_outputs(self) -> int:
        return ceil(self.outputs / _BLOCK) * _BLOCK

    @property
    def problem(self) -> Problem:
        """The products."""
        return Problem(self.tiles, self.outputs, self.places, self.chunks, "float32")


def plain_window(op: ConvOp | WinogradConvOp) -> bool:
    """Whether a convolution is by a window of 3 x 3 taps, side by side, over all channels."""
    return op.group.value.data == 1 and dilations_of(op) == (1, 1) and 1 not in shape_of(op.w)[2:]


class Winograd:
    """Weights are HWIO4i. The configuration is the `Tile` of the products."""

    name = "winograd"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, WinogradConvOp) or not elementwise_epilogue(kernel):
            return False
        return (
            {op.x, op.w} <= set(kernel.block.args)
            and plain_window(op)
            and to_numpy(element_type(op.x)) == "float32"
            and channel_chunk(layout_of(op.x)) == channel_chunk(layout_of(op.result)) == _BLOCK
            and layout_of(op.w) == chunked_winograd_weight(_BLOCK)
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, WinogradConvOp)
        return [vars(tile) for tile in tiles(Geometry.of(op, op.m.value.data).problem, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _emit(BufferEmitter.of_parameters(kernel), Tile(**config), target))


def _emit(emitter: BufferEmitter, tile: Tile, target: CudaTarget) -> None:
    op = emitter.kernel.anchor
    assert isinstance(op, WinogradConvOp)
    g = Geometry.of(op, op.m.value.data)
    v = T.alloc_buffer([g.places * g.chunks * g.tiles * _BLOCK], "float32")
    products = T.alloc_buffer([g.places * g.padded_outputs * g.tiles], "float32")
    _transform_input(emitter, op, g, v, target)

    def weight_chunk(column: Any, number: Any, place: Any) -> tuple[Any, list[Any]]:
        return ((place * g.chunks + number) * g.outputs + column) * _BLOCK, []

    def store(row: Any, column: Any, place: Any, lanes: int, value: Callable[[Any], Any]) -> None:
        at = _at(g, place, g.padded_outputs // _BLOCK, column // _BLOCK, row) + column % _BLOCK
        with T.vectorized(0, lanes) as lane:
            T.buffer_store(products, value(lane), [at + lane])

    Gemm(
        a=Operand(g.tiles, lambda row: row, lambda row, n, place: (_at(g, place, g.chunks, n, row), []), v),
        b=Operand(
            g.outputs, lambda column: column, weight_chunk, emitter.buffers[op.w].view(prod(physical_shape(op.w)))
        ),
        columns=g.padded_outputs,
        chunks=g.chunks,
        groups=g.places,
        dtype="float32",
        tensor_cores=False,
        store=store,
    ).emit(tile, target)
    _transform_output(emitter, op, g, products, target)


def _at(g: Geometry, place: Any, blocks: int, block: Any, tile: Any) -> Any:
    """Where a block of channels of a tile begins, at a place."""
    return ((place * blocks + block) * g.tiles + tile) * _BLOCK


def _tile(number: Any, g: Geometry, blocks: int) -> tuple[Any, Any, Any, list[Any]]:
    """What a thread transforms: the first of its lanes in a block of channels, the block, the tile, and the image, row
    and column of that."""
    parts = _BLOCK // _LANES[g.m]
    lane, rest = T.bind(number % parts * _LANES[g.m]), T.bind(number // parts)
    tile, block = T.bind(rest % g.tiles), T.bind(rest // g.tiles)
    return lane, block, tile, [T.bind(i) for i in unravelled(tile, (g.batch, g.rows, g.columns))]


def _transform_input(emitter: BufferEmitter, op: WinogradConvOp, g: Geometry, v: Any, target: CudaTarget) -> None:
    """B^T d B of every tile."""
    lanes, matrices = _LANES[g.m], transforms(g.m)
    t, pads, (height, width) = matrices.t, op.pads.get_values(), shape_of(op.x)[2:]
    x = emitter.buffers[op.x]
    with numbered(g.chunks * g.tiles * (_BLOCK // lanes), target) as number:
        lane, block, tile, (n, row, column) = _tile(number, g, g.chunks)
        top, left = T.bind(row * g.m - pads[0]), T.bind(column * g.m - pads[1])
        d = T.alloc_buffer([t * t * lanes], "float32", scope="local")
        for place in range(t * t):
            i, j = T.bind(top + place // t), T.bind(left + place % t)
            with T.vectorized(0, lanes) as k:
                T.buffer_store(d, T.float32(0), [place * lanes + k])
            with where([i >= 0, i < height, j >= 0, j < width]), T.vectorized(0, lanes) as k:
                T.buffer_store(d, x[block, n, i, j, lane + k], [place * lanes + k])
        # Columns first: what a column of the tile gives is used by every row of the result.
        columns = [
            even_odd_rows(matrices.b, [_vector(d, (i * t + j) * lanes, lanes) for i in range(t)]) for j in range(t)
        ]
        for i in range(t):
            for j, value in enumerate(even_odd_rows(matrices.b, [each[i] for each in columns])):
                at = _at(g, i * t + j, g.chunks, block, tile) + lane
                T.buffer_store(v, value, [T.Ramp(at, 1, lanes)])


def _transform_output(
    emitter: BufferEmitter, op: WinogradConvOp, g: Geometry, products: Any, target: CudaTarget
) -> None:
    """A^T M A of every tile to the kernel's result, epilogue included."""
    lanes, matrices, blocks = _LANES[g.m], transforms(g.m), g.padded_outputs // _BLOCK
    t, (height, width) = matrices.t, shape_of(op.result)[2:]
    with numbered(blocks * g.tiles * (_BLOCK // lanes), target) as number:
        lane, block, tile, (n, row, column) = _tile(number, g, blocks)

        def load(place: int) -> Any:
            return _vector(products, _at(g, place, blocks, block, tile) + lane, lanes)

        columns = [even_odd_columns(matrices.a, [load(i * t + j) for i in range(t)]) for j in range(t)]
        results = T.alloc_buffer([g.m * lanes], "float32", scope="local")
        # A row is stored before the next is computed: all of them would not fit into registers.
        for i in range(g.m):
            y = T.bind(row * g.m + i)
            for j, value in enumerate(even_odd_columns(matrices.a, [each[i] for each in columns])):
                T.buffer_store(results, value, [T.Ramp(j * lanes, 1, lanes)])
            for j in range(g.m):
                z = T.bind(column * g.m + j)
                edges = [c for c, size in ((y < height, height), (z < width, width)) if size % g.m]
                with where(edges):
                    emitter.store_channels(op, [n, y, z], block * _BLOCK + lane, lanes, lane_of(results, j * lanes))


def _vector(buffer: Any, at: Any, lanes: int) -> Any:
    return T.bind(buffer[T.Ramp(at, 1, lanes)])
