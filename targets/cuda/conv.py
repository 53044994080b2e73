"""Convolutions as matrix products: rows are output positions, columns output channels, and what is summed over are the
taps of the window for blocks of input channels. Nothing is copied beforehand: a tile's loader finds each chunk of the
input where it lies, and writes zeros for those in the padding (implicit GEMM; Chetlur et al., "cuDNN", 2014)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block, chunked_weight
from convc.ir.neural import ConvOp
from convc.targets.buffers import BufferEmitter, build
from convc.targets.cuda.gemm import Gemm, Operand, Tile
from convc.targets.cuda.target import CudaTarget
from convc.targets.emit import dtype_of
from convc.targets.epilogues import pointwise_epilogue
from convc.targets.flat import unravelled
from convc.targets.template import Config


class ImplicitGemm:
    """Dense and grouped convolutions of float32 in blocked layouts. The configuration is a `Tile`."""

    name = "implicit_gemm"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp) or not pointwise_epilogue(kernel) or dtype_of(op.x) != "float32":
            return False
        block, rank = channel_block(layout_of(op.result)), len(shape_of(op.x))
        return (
            block == target.lanes()
            and channel_block(layout_of(op.x)) == block
            and layout_of(op.w) == chunked_weight(rank, block)
            and op.x in kernel.block.args
            and op.w in kernel.block.args
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        group = op.group.value.data
        rows, columns = shape_of(op.result)[0] * prod(shape_of(op.result)[2:]), shape_of(op.w)[0] // group
        chunks = prod(physical_shape(op.w)) // shape_of(op.w)[0] // target.lanes()
        return [vars(tile) for tile in tiles(rows, columns, group, chunks, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter(kernel)).emit(Tile(**config)))


def tiles(rows: int, columns: int, groups: int, chunks: int, target: CudaTarget) -> list[Tile]:
    """Tiles for a product, the best by the model first."""
    found = sorted(_tiles(rows, columns, groups, chunks, target), key=lambda pair: pair[0])
    return [tile for _, tile in found]


def _tiles(rows: int, columns: int, groups: int, chunks: int, target: CudaTarget) -> Iterator[tuple[float, Tile]]:
    """Tiles with the cycles that they take by the model: a multiprocessor's multiplications and its shared memory's
    transfers, for as many rounds as it takes to do all tiles; and what the sum over splits costs."""
    for height, width, thread_rows, thread_columns in _SHAPES:
        if width > 32 and width >= 2 * columns:
            continue
        depth = 4
        steps = -(-chunks // depth)
        blocks = -(-rows // height) * -(-columns // width) * groups
        for splits in (1, 2, 4, 8, 16):
            if splits > 1 and (splits * 2 > steps or blocks * splits > 4 * target.multiprocessors):
                continue
            tile = Tile(height, width, thread_rows, thread_columns, depth, 3, splits)
            resident = min(
                target.multiprocessor_threads // tile.threads // 2,
                target.multiprocessor_shared_bytes // tile.shared_bytes(4, 4),
            )
            waves = -(-blocks * splits // target.multiprocessors)
            # 128 multiply-adds a cycle; too few warps on a multiprocessor do not hide their latencies.
            busy = min(1.0, min(resident, waves) * tile.threads / 256)
            products = height * width * depth * 4 / 128
            loads = (thread_rows + thread_columns) * depth * tile.threads / 32
            time = waves * (-(-steps // splits) * max(products, loads) / (0.5 + 0.5 * busy) + 600)
            if splits > 1:
                time += 3000 + splits * rows * columns * groups * 4 / target.multiprocessors / 16
            yield time, tile


_SHAPES = (
    (128, 128, 8, 8),
    (128, 64, 8, 8),
    (64, 128, 8, 8),
    (64, 64, 8, 4),
    (128, 32, 8, 4),
    (64, 32, 4, 4),
    (32, 64, 4, 4),
    (32, 32, 4, 4),
)


def _gemm(emitter: BufferEmitter) -> Gemm:
    kernel = emitter.kernel
    op = kernel.anchor
    assert isinstance(op, ConvOp)
    block, group = channel_block(layout_of(op.x)), op.group.value.data
    result, window, image = shape_of(op.result), shape_of(op.w)[2:], shape_of(op.x)[2:]
    outputs, taps = shape_of(op.w)[0] // group, prod(window)
    inputs = -(-shape_of(op.w)[1] // block)
    x_blocks = physical_shape(op.x)[1]
    strides, pads, dilations = op.strides.get_values(), op.pads.get_values(), op.dilations.get_values()
    rows = result[0] * prod(result[2:])

    def place(row: Any) -> Sequence[Any]:
        n, *spatial = unravelled(row, (result[0], *result[2:]))
        return [T.bind(n), *(T.bind(i * s - p) for i, s, p in zip(spatial, strides, pads))]

    def input_chunk(at: Sequence[Any], number: Any, g: Any) -> tuple[Any, list[Any]]:
        n, *corner = at
        channels, tap = (number // taps, number % taps) if taps > 1 else (number, 0)
        spatial = [c + k * d for c, k, d in zip(corner, unravelled(tap, window), dilations)]
        inside = []
        address = n * x_blocks + (g * inputs + channels if group > 1 else channels)
        for axis, (i, size) in enumerate(zip(spatial, image)):
            last = (result[2 + axis] - 1) * strides[axis] - pads[axis] + (window[axis] - 1) * dilations[axis]
            if pads[axis] > 0:
                inside.append(i >= 0)
            if last >= size:
                inside.append(i < size)
            address = address * size + i
        return address * block, inside

    def weight_chunk(column: Any, number: Any, g: Any) -> tuple[Any, list[Any]]:
        return (number * (outputs * group) + (g * outputs if group > 1 else 0) + column) * block, []

    bias = op.bias

    def store(row: Any, column: Any, g: Any, value: Callable[[Any], Any]) -> None:
        n, *spatial = unravelled(row, (result[0], *result[2:]))
        first = g * outputs + column if group > 1 else column

        def total(index: Sequence[Any]) -> Any:
            found = value(emitter.simplify(index[1] - first))
            return found if bias is None else found + emitter.read(bias, [index[1]])

        emitter.bind_element(op.result, total, also=[(bias, 0)] if bias is not None else [])
        emitter.store(lambda lane: [n, first + lane, *spatial], block)

    flat_x, flat_w = (emitter.buffers[v].view(prod(physical_shape(v))) for v in (op.x, op.w))
    return Gemm(
        a=Operand(rows, place, input_chunk, flat_x),
        b=Operand(outputs, lambda column: column, weight_chunk, flat_w),
        chunks=inputs * taps,
        lanes=block,
        groups=group,
        store=store,
    )
