"""Convolution in plain NCHW: groups that do not fill whole blocks of channels, a single output channel, any rank."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.buffers import BufferEmitter, build, padded_shape
from convc.targets.cpu.loops import split
from convc.targets.cpu.plain import PlainContraction, emit_plain, plain_cycles, register_tile
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.indexing import strides_of
from convc.targets.target import CpuTarget
from convc.targets.template import Config

_OUTPUTS = (4, 6, 2)
"""Output channels of a register tile, best first."""


class PlainConv:
    """Config: `outputs`, the output channels of a register tile."""

    name = "plain_conv"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            isinstance(op, ConvOp)
            and elementwise_epilogue(kernel, relayout=True)
            and all(layout_of(value) is None for value in (op.x, op.w, op.result, kernel.yielded[0]))
            and dtype_of(op.x).startswith("float")
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp)
        outputs = shape_of(op.w)[0] // op.group.value.data
        return [{"outputs": n} for n in dict.fromkeys(min(n, outputs) for n in _OUTPUTS)]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        def body(emitter: BufferEmitter) -> None:
            op = kernel.anchor
            assert isinstance(op, ConvOp)
            pads = op.pads.get_values()
            x, shape = emitter.padded(op.x, pads, target), padded_shape(op.x, pads)
            w = emitter.buffers[op.w].view(prod(shape_of(op.w)))
            c, result = contraction(op, shape), shape_of(op.result)

            def store(o: Any, point: Sequence[Any], start: Any, total: Any, lanes: int) -> None:
                n, *outer = point
                inner = result[2 + len(outer) :]  # all spatial axes, where they were fused

                def element(lane: Any) -> Any:
                    return total(lane) if op.bias is None else total(lane) + emitter.read(op.bias, [o])

                emitter.store_vector(element, lambda lane: [n, o, *outer, *split(start + lane, inner)], lanes)

            emit_plain(c, register_tile(c, target, config["outputs"]), x, w, store, target)

        return build(kernel, body)


def plain_conv_cycles(op: ConvOp, target: CpuTarget) -> float:
    """The time of a convolution on one core, by the model of its register tile."""
    c = contraction(op, padded_shape(op.x, op.pads.get_values()))
    return plain_cycles(c, register_tile(c, target, _OUTPUTS[0]), target)


def contraction(op: ConvOp, shape: Sequence[int]) -> PlainContraction:
    """A convolution without padding as a contraction; `shape` is its input's, padded."""
    strides, w_strides = strides_of(shape), strides_of(shape_of(op.w))
    result, group = shape_of(op.result), op.group.value.data
    batch, *spatial = (
        Axis(n, stride * step)
        for n, stride, step in zip(
            (result[0], *result[2:]), (strides[0], *strides[2:]), (1, *op.strides.get_values()), strict=True
        )
    )
    if all(a.x == b.x * b.extent for a, b in pairwise(spatial)):  # 1x1: rows follow without a seam
        spatial = [Axis(prod(axis.extent for axis in spatial), spatial[-1].x)]
    taps = (
        Axis(k, stride * d, w)
        for k, stride, d, w in zip(
            shape_of(op.w)[2:], strides[2:], op.dilations.get_values(), w_strides[2:], strict=True
        )
    )
    inputs = shape_of(op.w)[1]
    return PlainContraction(
        points=(batch, *spatial[:-1]),
        width=spatial[-1],
        reduction=(Axis(inputs, strides[1], w_strides[1]), *taps),
        outputs=shape_of(op.w)[0] // group,
        output_stride=w_strides[0],
        groups=group,
        group_stride=inputs * strides[1],
        dtype=dtype_of(op.result),
    )
