"""Direct convolution: NCHW{b}c or plain NCHW input, blocked result, any window, stride, dilation, pads and groups.

Padding is copied, not tested for: a task copies the rows that its band reads, for all channels, and computes all
outputs from the copy while it is in the cache. Where the weights are too large to be read once for each band, one
pass before copies everything, and a task keeps to some outputs. What is computed before a convolution, is so into the
copy: once for each element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import blocked_weight, channel_block
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.buffers import BufferEmitter, build, must_copy, padded_shape
from convc.targets.cpu.contraction import Contraction, Tiling, Window
from convc.targets.cpu.register_tile import Prepare, Store, emit, in_memory
from convc.targets.cpu.tiling import flattened, tilings
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue, heavy_epilogue
from convc.targets.indexing import strides_of
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class DirectConv:
    """Weights are OIHW{b}i{b}o for a blocked input, OIHW{b}o for a plain one (the first layer's few channels). The
    configuration is a `Tiling`; a share of all output blocks makes tasks copy their own padding."""

    name = "direct_conv"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        if (
            not isinstance(op, ConvOp)
            or not elementwise_epilogue(kernel, relayout=True)
            or not dtype_of(op.x).startswith("float")
        ):
            return False
        rank, group = len(shape_of(op.x)), op.group.value.data
        block, in_block = channel_block(layout_of(op.result)), channel_block(layout_of(op.x))
        if not block or (layout_of(op.x) is not None and not in_block):
            return False
        if layout_of(op.w) != blocked_weight(rank, block, in_block or None):
            return False
        outputs, inputs = shape_of(op.w)[0] // group, shape_of(op.w)[1]
        return group == 1 or (outputs % block == 0 and inputs % (in_block or 1) == 0)

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        c = contraction_of(kernel, target)
        return [vars(tiling) for tiling in tilings(c, prod(physical_shape(op.x)), prod(physical_shape(op.w)), target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        return build(kernel, lambda emitter: _body(emitter, Tiling(**config), target), rolls=True)


def _body(emitter: BufferEmitter, tiling: Tiling, target: CpuTarget) -> None:
    op = emitter.kernel.anchor
    assert isinstance(op, ConvOp)
    pads = op.pads.get_values()
    c = contraction_of(emitter.kernel, target)
    if must_copy(emitter.kernel, op.x, pads) and _can_copy_bands(op) and tiling.share * tiling.blocks >= c.blocks:
        c, prepare = _copied_bands(emitter, op, tiling, target)
    else:
        prepare = in_memory(emitter.padded(op.x, pads, target), c)
    w = emitter.buffers[op.w].view(prod(physical_shape(op.w)))
    emit(c, tiling, prepare, w, channel_store(emitter, op), target, roll=heavy_epilogue(emitter.kernel))


def channel_store(
    emitter: BufferEmitter,
    op: ConvOp | ConvTransposeOp,
    place: Callable[[Sequence[Any]], Sequence[Any]] = lambda spatial: spatial,
) -> Store:
    """Stores vectors of output channels with the bias added; `place` makes the result's spatial index of a point's."""
    block = channel_block(layout_of(op.result))

    def store(o: Any, point: Sequence[Any], first: int, total: Any, lanes: int) -> None:
        n, *spatial = point
        emitter.store_channels(op, [n, *place(spatial)], o * block + first, lanes, total)

    return store


def _can_copy_bands(op: ConvOp) -> bool:
    """Whether the rows of points are those of the image, and all channels serve every output."""
    result = shape_of(op.result)
    return len(result) == 4 and min(result[2:]) > 1 and op.group.value.data == 1


def _copied_bands(emitter: BufferEmitter, op: ConvOp, tiling: Tiling, target: CpuTarget) -> tuple[Contraction, Prepare]:
    """Each task reads a padded copy of the rows of its band, in scratch memory of its own."""
    pads = op.pads.get_values()
    batch, channels, _, *row = padded_shape(op.x, pads)
    span = (shape_of(op.w)[2] - 1) * op.dilations.get_values()[0] + 1
    stride = op.strides.get_values()[0]
    height = min((tiling.band - 1) * stride + span, physical_shape(op.x)[2] + pads[0] + pads[2])
    shape = (batch, channels, height, *row)
    last = physical_shape(op.x)[2] + pads[0] + pads[2] - height

    def prepare(outer: Sequence[Any], begin: Any) -> tuple[Any, Any]:
        buffer = T.alloc_buffer([prod(shape[1:])], dtype_of(op.x))
        # The last band is shorter: its copy begins earlier rather than leave the input.
        first = T.bind(T.min(begin * stride, last)) if not isinstance(begin, int) else 0
        n = outer[0] if shape_of(op.x)[0] > 1 else 0
        with T.serial(0, channels) as channel, T.serial(0, height) as i:
            emitter.bind_axes([channel, i], [channels, height])
            base = (channel * height + i) * prod(row)
            emitter.padded_row(buffer, base, op.x, pads, [n, channel, first + i], target)
        return buffer, (begin * stride - first) * prod(row)

    return contraction(op, shape, alone=True), prepare


def contraction_of(kernel: KernelOp, target: CpuTarget) -> Contraction:
    """A kernel's convolution, its rows as one where that is faster: not where tasks copy bands of rows."""
    op = kernel.anchor
    assert isinstance(op, ConvOp)
    pads = op.pads.get_values()
    c = contraction(op, padded_shape(op.x, pads))
    return c if must_copy(kernel, op.x, pads) else flattened(c, target)


def contraction(op: ConvOp, shape: Sequence[int], *, alone: bool = False) -> Contraction:
    """A convolution without padding as a contraction; `shape` is that in memory of its input, padded. With `alone`
    x holds only what one task reads."""
    rank, weight = len(shape_of(op.x)) - 2, physical_shape(op.w)
    strides, w_strides = strides_of(shape), strides_of(weight)
    result, group = shape_of(op.result), op.group.value.data
    spatial = strides[2 : 2 + rank]
    points = (
        Axis(result[0], 0 if alone else strides[0]),
        *(Axis(n, step * s) for n, step, s in zip(result[2:], spatial, op.strides.get_values(), strict=True)),
    )
    taps = [
        Axis(k, step * d, w)
        for k, step, d, w in zip(
            shape_of(op.w)[2:], spatial, op.dilations.get_values(), w_strides[2 : 2 + rank], strict=True
        )
    ]
    if not channel_block(layout_of(op.x)):
        # Neighbouring points share inputs along the columns, which LLVM would keep in registers from tap to tap, and
        # have none left for the sums; not along the rows.
        taps = taps[::-1]
    reduction = [Axis(weight[1], strides[1], w_strides[1]), *taps]
    if blocked := channel_block(layout_of(op.x)):
        reduction.append(Axis(blocked, 1, w_strides[2 + rank]))
    windows = _windows(op) if blocked and rank > 1 and min(result[-2:]) > 1 else (None, None)
    return Contraction(
        points=points,
        reduction=tuple(reduction),
        blocks=weight[0] // group,
        block=channel_block(layout_of(op.result)),
        block_stride=w_strides[0],
        groups=group,
        group_stride=weight[1] * strides[1],
        dtype=dtype_of(op.result),
        row_window=windows[0],
        column_window=windows[1],
    )


def _windows(op: ConvOp) -> tuple[Window | None, Window | None]:
    """What the window reads along rows and columns, where taps may read padding alone: along columns only taps that
    lie apart, since tiles are wide."""
    rank, found = len(shape_of(op.x)) - 2, []
    for axis, least in ((rank - 2, 1), (rank - 1, 2)):
        taps, pads, dilation = shape_of(op.w)[2 + axis], op.pads.get_values(), op.dilations.get_values()[axis]
        window = Window(1 + axis, op.strides.get_values()[axis], pads[axis], dilation, shape_of(op.x)[2 + axis])
        found.append(window if taps > 1 and dilation >= least and (pads[axis] or pads[rank + axis]) else None)
    rows, columns = found
    return rows, columns
