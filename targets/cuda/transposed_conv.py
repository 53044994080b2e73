"""Transposed convolutions as matrix products, one for each place that an output can have among those of a stride.

Outputs that lie a whole stride apart meet the same taps of the window, `s` taps apart: with r = (o + pad) mod s, output
o is the sum over t of w[r + s t] * x[(o + pad) div s - t]. Each such phase is a group of the product, its rows the
outputs of the phase; taps beyond the window, where it has fewer in a phase than in another, count as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk, chunked_transposed_weight, filled
from convc.ir.windows import ConvTransposeOp
from convc.targets.buffers import build
from convc.targets.cuda.cores import Tile, where
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.operands import factors, multiplied, type_of
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.tiling import Problem, tiles, uses_tensor_cores
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.indexing import unravelled
from convc.targets.template import Config


class TransposedGemm:
    """Dense transposed convolutions without dilation, in blocked layouts. The configuration is a `Tile`."""

    name = "transposed_gemm"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvTransposeOp) or not elementwise_epilogue(kernel):
            return False
        if (found := multiplied(kernel, op.x, op.w)) is None:
            return False
        x, w = found
        block, rank = channel_chunk(layout_of(op.result)), len(shape_of(op.x))
        return (
            op.group.value.data == 1
            and set(op.dilations.get_values()) == {1}
            and block == target.lanes(type_of(x))
            and channel_chunk(layout_of(x)) == block
            and layout_of(w) == chunked_transposed_weight(rank, block)
        )

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvTransposeOp)
        x, _ = factors(kernel, op.x, op.w)
        strides, dtype = op.strides.get_values(), type_of(x)
        rows = prod(_phase_extents(op))
        chunks = -(-shape_of(op.x)[1] // target.lanes(dtype)) * prod(_phase_taps(op))
        problem = Problem(rows, shape_of(op.w)[1], prod(strides), chunks, dtype)
        return [vars(tile) for tile in tiles(problem, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter.of_parameters(kernel), target).emit(Tile(**config), target))


def _phase_extents(op: ConvTransposeOp) -> tuple[int, ...]:
    """The batch, and how many outputs of a phase there are along each axis, at most."""
    result, strides = shape_of(op.result), op.strides.get_values()
    return (result[0], *(-(-size // s) for size, s in zip(result[2:], strides, strict=True)))


def _phase_taps(op: ConvTransposeOp) -> tuple[int, ...]:
    """How many taps of the window an output meets along each axis, at most."""
    return tuple(-(-k // s) for k, s in zip(shape_of(op.w)[2:], op.strides.get_values(), strict=True))


def _gemm(emitter: BufferEmitter, target: CudaTarget) -> Gemm:
    kernel = emitter.kernel
    op = kernel.anchor
    assert isinstance(op, ConvTransposeOp)
    x, w = factors(kernel, op.x, op.w)
    block, dtype = channel_chunk(layout_of(x)), type_of(x)
    image, window, spatial = shape_of(op.x)[2:], shape_of(op.w)[2:], shape_of(op.result)[2:]
    strides, pads = op.strides.get_values(), op.pads.get_values()
    extents, taps, outputs = _phase_extents(op), _phase_taps(op), shape_of(op.w)[1]
    blocks, batch = physical_shape(x)[:2]

    def split(number: Any) -> tuple[Any, list[Any]]:
        """The block of channels and the taps that a chunk is of."""
        count = prod(taps)
        return (number // count, unravelled(number % count, taps)) if count > 1 else (number, [0] * len(taps))

    def input_chunk(at: Sequence[Any], number: Any, group: Any) -> tuple[Any, list[Any]]:
        n, *places = at
        channels, steps = split(number)
        address, inside = channels * batch + n, []
        phases = unravelled(group, strides)
        for i, phase, t, s, pad, size in zip(places, phases, steps, strides, pads, image):
            row = i + (phase + pad) // s - t
            inside += [row >= 0, row < size]
            address = address * size + row
        return address * block, inside

    def weight_chunk(column: Any, number: Any, group: Any) -> tuple[Any, list[Any]]:
        address, steps = split(number)
        inside = []
        for phase, t, s, pad, size in zip(unravelled(group, strides), steps, strides, pads, window):
            tap = (phase + pad) % s + t * s
            if size % s or s > size:
                inside.append(tap < size)
            address = address * size + tap
        return (address * outputs + column) * block, inside

    def store(row: Any, column: Any, group: Any, lanes: int, value: Callable[[Any], Any]) -> None:
        n, *places = unravelled(row, extents)
        phases = unravelled(group, strides)
        out = [T.bind(i * s + phase) for i, s, phase in zip(places, strides, phases)]
        inside = [i < size for i, size, s in zip(out, spatial, strides) if size % s]
        with where(inside):
            emitter.store_channels(op, [n, *out], column, lanes, value)

    flat_x, flat_w = (emitter.buffers[v].view(prod(physical_shape(v))) for v in (x, w))
    return Gemm(
        a=Operand(prod(extents), lambda row: [T.bind(i) for i in unravelled(row, extents)], input_chunk, flat_x),
        b=Operand(outputs, lambda column: column, weight_chunk, flat_w),
        columns=filled(outputs, block),
        chunks=blocks * prod(taps),
        groups=prod(strides),
        dtype=dtype,
        tensor_cores=uses_tensor_cores(dtype, target),
        store=store,
    )
