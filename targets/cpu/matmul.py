"""Matrix products: with a weight in blocks of output columns, or of two plain operands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import blocked_weight
from convc.ir.neural import MatMulOp
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.buffers import BufferEmitter, build
from convc.targets.cpu.contraction import Contraction, Tiling
from convc.targets.cpu.loops import split
from convc.targets.cpu.plain import PlainContraction, emit_plain, register_tile
from convc.targets.cpu.register_tile import emit, in_memory
from convc.targets.cpu.tiling import tilings
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue, heavy_epilogue
from convc.targets.target import CpuTarget
from convc.targets.template import Config


class PackedMatMul:
    """`[..., M, K] x [N, K]` with the weight as OI{b}o: its vectors are neighbouring columns of the result. The
    configuration is a `Tiling`."""

    name = "packed_matmul"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            isinstance(op, MatMulOp)
            and op.transpose_b is not None
            and (layout := layout_of(op.b)) is not None
            and layout == blocked_weight(2, layout.block(0))
            and _plain(kernel, op.a)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, MatMulOp)
        sizes = prod(shape_of(op.a)), prod(physical_shape(op.b))
        return [vars(tiling) for tiling in tilings(_packed(op), *sizes, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        def body(emitter: BufferEmitter) -> None:
            op = kernel.anchor
            assert isinstance(op, MatMulOp)
            a = emitter.buffers[op.a].view(prod(shape_of(op.a)))
            b = emitter.buffers[op.b].view(prod(physical_shape(op.b)))
            c, result = _packed(op), shape_of(op.result)
            columns, whole = result[-1], result[-1] // c.block * c.block

            def store(block: Any, point: Sequence[Any], first: int, total: Any, lanes: int) -> None:
                def at(lane: Any) -> list[Any]:
                    return [*split(point[0], result[:-1]), block * c.block + first + lane]

                if columns == whole:
                    emitter.store_vector(total, at, lanes)
                    return
                with T.If(block * c.block + first + lanes <= columns):
                    with T.Then():
                        emitter.store_vector(total, at, lanes)
                    with T.Else(), T.serial(0, lanes) as lane, T.If(at(lane)[-1] < columns), T.Then():
                        emitter.store_vector(lambda _: total(lane), lambda _: at(lane), 1)

            roll = heavy_epilogue(kernel)
            emit(c, Tiling(**config), in_memory(a, c), b, store, target, roll=roll)

        return build(kernel, body, rolls=True)


class PlainMatMul:
    """`[..., M, K] x [..., K, N]`, neither operand known at compile time. Config: `outputs`, the rows of a tile."""

    name = "plain_matmul"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return isinstance(op, MatMulOp) and op.transpose_b is None and _plain(kernel, op.a, op.b)

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, MatMulOp)
        rows = shape_of(op.result)[-2]
        return [{"outputs": n} for n in dict.fromkeys(min(n, rows) for n in (4, 6, 8, 2))]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        def body(emitter: BufferEmitter) -> None:
            op = kernel.anchor
            assert isinstance(op, MatMulOp)
            a, b = (emitter.buffers[value].view(prod(shape_of(value))) for value in (op.a, op.b))
            (rows, depth), columns = shape_of(op.a)[-2:], shape_of(op.b)[-1]
            batch = shape_of(op.result)[:-2]
            c = PlainContraction(
                points=tuple(
                    Axis(n, x, w)
                    for n, x, w in zip(batch, _strides(shape_of(op.b), batch), _strides(shape_of(op.a), batch))
                ),
                width=Axis(columns, 1),
                reduction=(Axis(depth, columns, 1),),
                outputs=rows,
                output_stride=depth,
                dtype=dtype_of(op.result),
            )

            def store(row: Any, point: Sequence[Any], start: Any, total: Any, lanes: int) -> None:
                emitter.store_vector(total, lambda lane: [*point, row, start + lane], lanes)

            emit_plain(c, register_tile(c, target, config["outputs"]), b, a, store, target)

        return build(kernel, body)


def _plain(kernel: KernelOp, *operands: Any) -> bool:
    """Whether some operands of a product are plain arguments of its kernel, as is the result."""
    anchor = kernel.anchor
    return (
        anchor is not None
        and elementwise_epilogue(kernel, relayout=True)
        and dtype_of(anchor.results[0]).startswith("float")
        and all(layout_of(value) is None for value in (*operands, anchor.results[0], kernel.yielded[0]))
        and all(operand in kernel.block.args for operand in anchor.operands)
    )


def _packed(op: MatMulOp) -> Contraction:
    *rows, depth = shape_of(op.a)
    blocks, _, block = physical_shape(op.b)
    return Contraction(
        points=(Axis(prod(rows), depth),),
        reduction=(Axis(depth, 1, block),),
        blocks=blocks,
        block=block,
        block_stride=depth * block,
        dtype=dtype_of(op.result),
    )


def _strides(shape: Sequence[int], batch: Sequence[int]) -> list[int]:
    """How many elements of an operand each batch axis of the result steps over; 0 where it is broadcast."""
    padded = [1] * (len(batch) + 2 - len(shape)) + list(shape)
    return [prod(padded[i + 1 :]) if padded[i] > 1 else 0 for i in range(len(batch))]
