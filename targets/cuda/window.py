"""Depthwise convolutions and pools in blocked layouts: windows over each channel by itself. A thread computes some
neighbouring outputs along the width for the channels that it can read at once; what they read in common it reads once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import PoolKind, layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk
from convc.ir.windows import ConvOp, PoolOp
from convc.targets.anchors import bind_average, bind_with_bias, padded, spatial_axes, tap_place, window_of
from convc.targets.buffers import build
from convc.targets.cuda.cores import where
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.injective import MOST_LANES
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.threads import numbered
from convc.targets.emit import Index, dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.indexing import unravelled
from convc.targets.reducers import ADD, MAXIMUM
from convc.targets.template import Config

_UNROLLED = 64
"""Taps of a window that are written out; past this they are a loop."""


class Window:
    """Config: `width`, how many neighbouring outputs a thread computes."""

    name = "window"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp | PoolOp) or not elementwise_epilogue(kernel):
            return False
        if not channel_chunk(layout_of(op.result)) or layout_of(op.x) != layout_of(op.result):
            return False
        return isinstance(op, PoolOp) or op.group.value.data == shape_of(op.x)[1] == shape_of(op.w)[0]

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp | PoolOp)
        result = shape_of(op.result)
        vectors = result[0] * -(-result[1] // _lanes(op)) * prod(result[2:])
        # Several outputs share loads, but fewer threads hide less of memory's latency.
        widths = [width for width in (4, 2) if width <= result[-1] and vectors >= 2 * width * target.threads]
        return [{"width": width} for width in dict.fromkeys((*widths[:1], 1, 2, 4)) if width <= result[-1]]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _emit(BufferEmitter.of_parameters(kernel), config["width"], target))


def _lanes(op: ConvOp | PoolOp) -> int:
    return min(channel_chunk(layout_of(op.result)), MOST_LANES)


def _emit(emitter: BufferEmitter, width: int, target: CudaTarget) -> None:
    op = emitter.kernel.anchor
    assert isinstance(op, ConvOp | PoolOp)
    lanes, block = _lanes(op), channel_chunk(layout_of(op.result))
    blocks, batch, *spatial = physical_shape(op.result)[:-1]
    extents = (blocks * block // lanes, batch, *spatial[:-1], -(-spatial[-1] // width))
    with numbered(prod(extents), target) as number:
        # Halves of a block of channels lie side by side, so that a warp reads whole lines.
        channels, n, *rows, column = _place(number, extents, block // lanes)
        emitter.bind_axes([channels, n, *rows, column], extents)
        _window(emitter, op, n, channels * lanes, rows, column, width)


def _place(number: Any, extents: Sequence[int], parts: int) -> list[Any]:
    """The index of a thread's outputs; `parts` threads share a block of channels, and are neighbours."""
    outer = (extents[0] // parts, *extents[1:])
    channels, *rest = unravelled(number // parts, outer)
    return [T.bind(i) for i in (channels * parts + number % parts, *rest)]


def _window(
    emitter: BufferEmitter, op: ConvOp | PoolOp, n: Any, first: Any, rows: Sequence[Any], column: Any, width: int
) -> None:
    lanes, window = _lanes(op), window_of(op)
    largest = isinstance(op, PoolOp) and op.kind.data is PoolKind.MAX
    reducer, dtype = MAXIMUM if largest else ADD, dtype_of(op.result)
    sums = T.alloc_buffer([width * lanes], dtype, scope="local")
    with T.unroll(0, width * lanes) as i:
        T.buffer_store(sums, reducer.identity(dtype), [i])
    outside = float(reducer.identity(dtype).value) if np.dtype(dtype).kind == "f" else reducer.identity(dtype)

    def tap(at: Sequence[Any]) -> None:
        for step in range(width):
            place = tap_place(op, [*rows, column * width + step], at)
            with T.vectorized(0, lanes) as lane:
                emitter.bind_axes([lane], [lanes])
                channel = first + lane
                value = padded(emitter, op.x, [n, channel, *place], outside, spatial_axes(op))
                if isinstance(op, ConvOp):
                    value = value * emitter.read(op.w, [channel, 0, *at])
                T.buffer_store(sums, reducer.combine(sums[step * lanes + lane], value), [step * lanes + lane])

    if prod(window) * width <= _UNROLLED:
        for flat in range(prod(window)):
            tap([int(i) for i in np.unravel_index(flat, window)])
    else:
        with T.serial(0, prod(window)) as flat:
            emitter.bind_axes([flat], [prod(window)])
            tap([emitter.simplify(i) for i in unravelled(flat, window)])
    for step in range(width):
        out = [*rows, column * width + step]

        def sums_at(index: Sequence[Any], step: int = step) -> Any:
            return sums[emitter.simplify(index[1] - first) + step * lanes]

        _bind(emitter, op, sums_at)

        def index(lane: Any, out: Sequence[Any] = out) -> Sequence[Any]:
            return [n, first + lane, *out]

        with where([out[-1] < shape_of(op.result)[-1]] if shape_of(op.result)[-1] % width else []):
            emitter.store(index, lanes)


def _bind(emitter: BufferEmitter, op: ConvOp | PoolOp, sums: Callable[[Index], Any]) -> None:
    """Bind the anchor's result to its sums, plus the bias of a convolution; an average's are divided."""
    if isinstance(op, ConvOp):
        bind_with_bias(emitter, op, sums)
    elif op.kind.data is PoolKind.MAX:
        emitter.bind_element(op.result, sums, also=[(op.x, 1)])
    else:
        bind_average(emitter, op, sums)
