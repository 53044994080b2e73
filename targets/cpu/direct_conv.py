"""Direct convolution: NCHW{b}c or plain NCHW input, blocked result, any window, stride, dilation, padding and groups."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import blocked_activation, blocked_weight
from convc.ir.neural import ConvOp
from convc.targets.cpu.buffers import BufferEmitter, build, elementwise_epilogue
from convc.targets.cpu.contraction import Axis, Contraction, emit
from convc.targets.cpu.loops import channel_block
from convc.targets.emit import dtype_of
from convc.targets.target import Target
from convc.targets.template import Config


class DirectConv:
    """Weights are OIHW{b}i{b}o for a blocked input, OIHW{b}o for a plain one (the first layer's few channels)."""

    name = "direct_conv"

    def applies(self, kernel: KernelOp, target: Target) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp) or not elementwise_epilogue(kernel) or not dtype_of(op.x).startswith("float"):
            return False
        rank, group = len(shape_of(op.x)), op.group.value.data
        block, in_block = channel_block(layout_of(op.result)), channel_block(layout_of(op.x))
        if not block or (layout_of(op.x) is not None and not in_block):
            return False
        if layout_of(op.w) != blocked_weight(rank, block, in_block or None):
            return False
        outputs, inputs = shape_of(op.w)[0] // group, shape_of(op.w)[1]
        return group == 1 or (outputs % block == 0 and inputs % (in_block or 1) == 0)

    def candidates(self, kernel: KernelOp, target: Target) -> Sequence[Config]:
        return ({"points": 6, "blocks": 2, "unrolled": 8, "chunk": 1 << 20, "band": 1 << 20, "outer": 0},)

    def schedule(self, kernel: KernelOp, config: Config, target: Target) -> tirx.PrimFunc:
        def body(emitter: BufferEmitter) -> None:
            op = kernel.anchor
            assert isinstance(op, ConvOp)
            pads = op.pads.get_values()
            shape = physical_shape(op.x)
            if any(pads) or op.x not in emitter.buffers:
                x, shape = emitter.padded_copy(op.x, pads, target)
            else:
                x = emitter.buffers[op.x].view(prod(shape))
            w = emitter.buffers[op.w].view(prod(physical_shape(op.w)))
            block = channel_block(layout_of(op.result))

            def store(o: Any, point: Sequence[Any], first: int, total: Any, lanes: int) -> None:
                n, *spatial = point

                def result(index: Sequence[Any]) -> Any:
                    value = total(emitter.simplify(index[1] - o * block - first))
                    return value if op.bias is None else value + emitter.read(op.bias, [index[1]])

                emitter.bind_element(op.result, result, also=[(op.bias, 0)] if op.bias else [])
                emitter.store(lambda lane: [n, o * block + first + lane, *spatial], lanes)

            emit(contraction(op, shape), config, x, w, store, target)

        return build(kernel, body)


def contraction(op: ConvOp, shape: Sequence[int]) -> Contraction:
    """A convolution without padding as a contraction; `shape` is that in memory of its input, padded."""
    strides = [prod(shape[i + 1 :]) for i in range(len(shape))]
    rank = len(shape_of(op.x)) - 2
    weight = physical_shape(op.w)
    w_strides = [prod(weight[i + 1 :]) for i in range(len(weight))]
    result, group = shape_of(op.result), op.group.value.data
    spatial = strides[2 : 2 + rank]
    points = (
        Axis(result[0], strides[0]),
        *(Axis(n, step * s) for n, step, s in zip(result[2:], spatial, op.strides.get_values(), strict=True)),
    )
    taps = (
        Axis(k, step * d, w)
        for k, step, d, w in zip(
            shape_of(op.w)[2:], spatial, op.dilations.get_values(), w_strides[2 : 2 + rank], strict=True
        )
    )
    blocked = channel_block(layout_of(op.x))
    reduction = [Axis(weight[1], strides[1], w_strides[1]), *taps]
    if blocked:
        reduction.append(Axis(blocked, 1, w_strides[2 + rank]))
    return Contraction(
        points=points,
        reduction=tuple(reduction),
        blocks=weight[0] // group,
        block=channel_block(layout_of(op.result)),
        block_stride=w_strides[0],
        groups=group,
        group_stride=weight[1] * strides[1],
        dtype=dtype_of(op.result),
    )
