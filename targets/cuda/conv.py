"""Convolutions as matrix products: rows are output positions, columns output channels, and what is summed over are the
taps of the window for blocks of input channels. Nothing is copied beforehand: a tile's loader finds each chunk of the
input where it lies, and writes zeros for those in the padding (implicit GEMM; Chetlur et al., "cuDNN", 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk, chunked_weight
from convc.ir.windows import ConvOp
from convc.targets.buffers import build
from convc.targets.cuda.cores import Tile
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.operands import factors, multiplied, type_of
from convc.targets.cuda.target import ACCESS_BYTES, CudaTarget
from convc.targets.cuda.tiling import Problem, tiles, uses_tensor_cores
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.indexing import unravelled
from convc.targets.template import Config


class ImplicitGemm:
    """Dense and grouped convolutions in blocked layouts: of 16-bit floats by matrix instructions, of float32 too where
    the target lets it be rounded to TF32. The configuration is a `Tile`."""

    name = "implicit_gemm"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp) or not elementwise_epilogue(kernel):
            return False
        block, rank = channel_chunk(layout_of(op.result)), len(shape_of(op.x))
        if (found := multiplied(kernel, op.x, op.w)) is None:
            return False
        x, w = found
        return (
            block == target.lanes(type_of(x))
            and channel_chunk(layout_of(x)) == block
            and layout_of(w) == chunked_weight(rank, block)
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        conv = Geometry(kernel)
        problem = Problem(conv.rows, conv.outputs, conv.group, conv.inputs * conv.taps, conv.dtype)
        return [vars(tile) for tile in tiles(problem, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter.of_parameters(kernel), target).emit(Tile(**config), target))


class Geometry:
    """A convolution of operands in memory as a product: its sizes. `inputs` blocks of `block` channels are summed over
    for each of `taps`; a group has `outputs` channels, and `columns` are written, with those of the layout's padding.
    For each result some `result_bytes` are written, and read of what is added to it."""

    def __init__(self, kernel: KernelOp) -> None:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        x, w = factors(kernel, op.x, op.w)
        self.op, self.x, self.w = op, x, w
        self.dtype, self.block, self.group = type_of(x), channel_chunk(layout_of(x)), op.group.value.data
        self.batch, _, *self.spatial = shape_of(op.result)
        self.image, self.window = shape_of(op.x)[2:], shape_of(op.w)[2:]
        self.strides, self.dilations = op.strides.get_values(), op.dilations.get_values()
        self.pads = op.pads.get_values()[: len(self.window)]
        self.rows, self.taps = self.batch * prod(self.spatial), prod(self.window)
        self.outputs = shape_of(op.w)[0] // self.group
        self.columns = -(-self.outputs // self.block) * self.block
        self.inputs, self.x_blocks = -(-shape_of(op.w)[1] // self.block), physical_shape(x)[0]
        beside = (v for v in kernel.block.args if v not in (x, w) and shape_of(v) == shape_of(op.result))
        self.result_bytes = ACCESS_BYTES // self.block * (1 + len(list(beside)))

    def first(self, g: Any) -> Any:
        """The first output channel of a group."""
        return g * self.outputs if self.group > 1 else 0


def _gemm(emitter: BufferEmitter, target: CudaTarget) -> Gemm:
    conv = Geometry(emitter.kernel)
    block, strides, pads = conv.block, conv.strides, conv.pads
    positions = (conv.batch, *conv.spatial)

    def place(row: Any) -> Sequence[Any]:
        n, *spatial = unravelled(row, positions)
        return [T.bind(n), *(T.bind(i * s - p) for i, s, p in zip(spatial, strides, pads, strict=True))]

    def input_chunk(at: Sequence[Any], number: Any, g: Any) -> tuple[Any, list[Any]]:
        n, *corner = at
        channels, tap = (number // conv.taps, number % conv.taps) if conv.taps > 1 else (number, 0)
        spatial = [c + k * d for c, k, d in zip(corner, unravelled(tap, conv.window), conv.dilations, strict=True)]
        inside = []
        address = (g * conv.inputs + channels if conv.group > 1 else channels) * conv.batch + n
        for axis, (i, size) in enumerate(zip(spatial, conv.image, strict=True)):
            reach = (conv.window[axis] - 1) * conv.dilations[axis]
            last = (conv.spatial[axis] - 1) * strides[axis] - pads[axis] + reach
            if pads[axis] > 0:
                inside.append(i >= 0)
            if last >= size:
                inside.append(i < size)
            address = address * size + i
        return address * block, inside

    def weight_chunk(column: Any, number: Any, g: Any) -> tuple[Any, list[Any]]:
        return (number * (conv.outputs * conv.group) + conv.first(g) + column) * block, []

    def store(row: Any, column: Any, g: Any, lanes: int, value: Callable[[Any], Any]) -> None:
        emitter.store_channels(conv.op, unravelled(row, positions), conv.first(g) + column, lanes, value)

    flat_x, flat_w = (emitter.buffers[v].view(prod(physical_shape(v))) for v in (conv.x, conv.w))
    return Gemm(
        a=Operand(conv.rows, place, input_chunk, flat_x),
        b=Operand(conv.outputs, lambda column: column, weight_chunk, flat_w),
        columns=conv.columns,
        chunks=conv.inputs * conv.taps,
        groups=conv.group,
        dtype=conv.dtype,
        tensor_cores=uses_tensor_cores(conv.dtype, target),
        store=store,
    )
