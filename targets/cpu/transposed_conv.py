"""Transposed convolution as direct ones: with stride s along an axis, outputs of equal remainder modulo s form a phase.

    y[s*i + first] = sum over t of x[i + shift - t*reach] * w[tap + t*hop]

Each phase reads every `hop`-th tap and none of the zeros that stride puts between inputs: it is a convolution by a
smaller window, which writes every s-th output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import gcd, prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block, transposed_weight
from convc.ir.windows import ConvTransposeOp
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.buffers import BufferEmitter, build, padded_shape
from convc.targets.cpu.contraction import Contraction, Tiling, fitted
from convc.targets.cpu.direct_conv import channel_store
from convc.targets.cpu.register_tile import emit, in_memory
from convc.targets.cpu.tiling import tilings
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue, heavy_epilogue
from convc.targets.indexing import strides_of
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class TransposedConv:
    """Weights are HWIO{b}o{b}i, where O is the first axis: here, of the input channels. The configuration is a
    `Tiling`, made for the phase with most taps."""

    name = "transposed_conv"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        if (
            not isinstance(op, ConvTransposeOp)
            or not elementwise_epilogue(kernel, relayout=True)
            or op.group.value.data != 1
        ):
            return False
        block, rank = channel_block(layout_of(op.result)), len(shape_of(op.x))
        return (
            block > 0
            and channel_block(layout_of(op.x)) == block
            and layout_of(op.w) == transposed_weight(rank, block)
            and dtype_of(op.x).startswith("float")
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvTransposeOp)
        phases = _phases(op)
        largest = max(phases, key=lambda phase: prod(line.taps for line in phase))
        sizes = prod(physical_shape(op.x)), prod(physical_shape(op.w)) // len(phases)
        return [vars(tiling) for tiling in tilings(_contraction(op, largest, _pads(op, phases)), *sizes, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        def body(emitter: BufferEmitter) -> None:
            op = kernel.anchor
            assert isinstance(op, ConvTransposeOp)
            phases = _phases(op)
            pads = _pads(op, phases)
            x = emitter.padded(op.x, pads, target)
            w = emitter.buffers[op.w].view(prod(physical_shape(op.w)))
            roll = heavy_epilogue(kernel)
            for phase in phases:
                c = _contraction(op, phase, pads)
                store = channel_store(emitter, op, partial(_places, phase))
                emit(c, fitted(Tiling(**config), c), in_memory(x, c), w, store, target, roll=roll)

        return build(kernel, body, rolls=True)


@dataclass(frozen=True)
class Line:
    """A phase along one axis: its output number i is `first + i * step`, and reads the inputs `shift + i - t * reach`
    with the taps `tap + t * hop`, for t < `taps`. Without taps it is zero before the bias."""

    first: int
    step: int
    count: int
    shift: int
    reach: int
    tap: int
    hop: int
    taps: int


def lines(size: int, kernel: int, stride: int, dilation: int, pad: int) -> list[Line]:
    """The phases of an axis: output o reads input i with tap k where o + pad == i * stride + k * dilation."""
    found = []
    hop = stride // gcd(stride, dilation)
    for first in range(min(stride, size)):
        tap = next((k for k in range(min(hop, kernel)) if (first + pad - k * dilation) % stride == 0), kernel)
        taps = len(range(tap, kernel, hop))
        shift = (first + pad - tap * dilation) // stride if taps else 0
        count = len(range(first, size, stride))
        found.append(Line(first, stride, count, shift, hop * dilation // stride, tap, hop, taps))
    return found


def _places(phase: Sequence[Line], index: Sequence[Any]) -> list[Any]:
    """Where the output of a phase at an index lies in the result."""
    return [line.first + i * line.step for line, i in zip(phase, index, strict=True)]


def _phases(op: ConvTransposeOp) -> list[tuple[Line, ...]]:
    steps = op.strides.get_values(), op.dilations.get_values(), op.pads.get_values()
    return list(product(*(lines(*axis) for axis in zip(shape_of(op.result)[2:], shape_of(op.w)[2:], *steps))))


def _pads(op: ConvTransposeOp, phases: Sequence[Sequence[Line]]) -> list[int]:
    """The zeros around x that some phase reads."""
    before, after = [], []
    for axis, size in enumerate(shape_of(op.x)[2:]):
        read = [phase[axis] for phase in phases if phase[axis].taps]
        before.append(max(0, *((line.taps - 1) * line.reach - line.shift for line in read), 0))
        after.append(max(0, *(line.shift + line.count - size for line in read), 0))
    return before + after


def _contraction(op: ConvTransposeOp, phase: Sequence[Line], pads: Sequence[int]) -> Contraction:
    """One phase; x is padded."""
    shape, weight = padded_shape(op.x, pads), physical_shape(op.w)
    strides, w_strides = strides_of(shape), strides_of(weight)
    rank, block = len(phase), channel_block(layout_of(op.result))
    taps = tuple(
        Axis(line.taps, -line.reach * strides[2 + axis], line.hop * w_strides[axis]) for axis, line in enumerate(phase)
    )
    # A phase without taps still writes its outputs: a sum over nothing, here over no blocks of channels.
    inputs = weight[rank + 1] if all(line.taps for line in phase) else 0
    return Contraction(
        points=(Axis(shape[0], strides[0]), *(Axis(line.count, strides[2 + i]) for i, line in enumerate(phase))),
        reduction=(Axis(inputs, strides[1], w_strides[rank + 1]), *taps, Axis(block, 1, w_strides[rank + 2])),
        blocks=weight[rank],
        block=block,
        block_stride=w_strides[rank],
        dtype=dtype_of(op.result),
        x_base=sum((line.shift + pads[axis]) * strides[2 + axis] for axis, line in enumerate(phase)),
        w_base=sum(line.tap * w_strides[axis] for axis, line in enumerate(phase) if line.taps),
    )
