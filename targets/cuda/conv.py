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
from convc.ir.layout import channel_block, chunked_weight
from convc.ir.windows import ConvOp
from convc.targets.buffers import build
from convc.targets.cuda.cores import Tile
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.operands import source, type_of
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.tiling import DTYPES, Problem, tiles, uses_tensor_cores
from convc.targets.epilogues import pointwise_epilogue
from convc.targets.flat import unravelled
from convc.targets.template import Config


class ImplicitGemm:
    """Dense and grouped convolutions in blocked layouts: of 16-bit floats by matrix instructions, of float32 too where
    the target lets it be rounded to TF32. The configuration is a `Tile`."""

    name = "implicit_gemm"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp) or not pointwise_epilogue(kernel):
            return False
        block, rank = channel_block(layout_of(op.result)), len(shape_of(op.x))
        x, w = source(kernel, op.x), source(kernel, op.w)
        if x is None or w is None or type_of(x) != type_of(w) or type_of(x) not in DTYPES:
            return False
        return (
            block == target.lanes(type_of(x))
            and channel_block(layout_of(x)) == block
            and layout_of(w) == chunked_weight(rank, block)
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        x, group = source(kernel, op.x), op.group.value.data
        assert x is not None
        rows, columns = shape_of(op.result)[0] * prod(shape_of(op.result)[2:]), shape_of(op.w)[0] // group
        chunks = -(-shape_of(op.w)[1] // target.lanes(type_of(x))) * prod(shape_of(op.w)[2:])
        return [vars(tile) for tile in tiles(Problem(rows, columns, group, chunks, type_of(x)), target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter(kernel), target).emit(Tile(**config)))


def _gemm(emitter: BufferEmitter, target: CudaTarget) -> Gemm:
    kernel = emitter.kernel
    op = kernel.anchor
    assert isinstance(op, ConvOp)
    x, w = source(kernel, op.x), source(kernel, op.w)
    assert x is not None
    assert w is not None
    block, group = channel_block(layout_of(x)), op.group.value.data
    result, window, image = shape_of(op.result), shape_of(op.w)[2:], shape_of(op.x)[2:]
    outputs, taps = shape_of(op.w)[0] // group, prod(window)
    inputs = -(-shape_of(op.w)[1] // block)
    x_blocks = physical_shape(x)[1]
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

    def store(row: Any, column: Any, g: Any, lanes: int, value: Callable[[Any], Any]) -> None:
        n, *spatial = unravelled(row, (result[0], *result[2:]))
        first = g * outputs + column if group > 1 else column

        def total(index: Sequence[Any]) -> Any:
            found = value(emitter.simplify(index[1] - first))
            return found if bias is None else found + emitter.read(bias, [index[1]])

        emitter.bind_element(op.result, total, also=[(bias, 0)] if bias is not None else [])
        emitter.store(lambda lane: [n, first + lane, *spatial], lanes)

    flat_x, flat_w = (emitter.buffers[v].view(prod(physical_shape(v))) for v in (x, w))
    return Gemm(
        a=Operand(rows, place, input_chunk, flat_x),
        b=Operand(outputs, lambda column: column, weight_chunk, flat_w),
        columns=-(-outputs // block) * block,
        chunks=inputs * taps,
        groups=group,
        dtype=type_of(x),
        tensor_cores=uses_tensor_cores(type_of(x), target),
        store=store,
    )
