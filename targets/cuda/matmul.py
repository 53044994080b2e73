"""Matrix products: in tiles where there are rows enough, and otherwise each result by the threads of a warp or more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.neural import MatMulOp
from convc.targets.buffers import build
from convc.targets.cuda.cores import Tile
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.operands import source, type_of
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.tiling import DTYPES, Problem, tiles, uses_tensor_cores
from convc.targets.emit import Index
from convc.targets.epilogues import pointwise_epilogue
from convc.targets.flat import unravelled
from convc.targets.template import Config

_FEW_ROWS = 8
"""So many rows and more are worth a tile."""


class MatMul:
    """Products of plain matrices, the second one `[N, K]`, whose rows fill whole chunks. The configuration is a
    `Tile`."""

    name = "matmul"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, MatMulOp) or op.transpose_b is None or not pointwise_epilogue(kernel):
            return False
        a, b = source(kernel, op.a), source(kernel, op.b)
        if a is None or b is None or type_of(a) != type_of(b) or type_of(a) not in DTYPES:
            return False
        rows, depth = shape_of(op.a)[-2:]
        plain = all(layout_of(value) is None for value in (a, b, kernel.yielded[0]))
        return plain and rows >= _FEW_ROWS and depth % target.lanes(type_of(a)) == 0

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, MatMulOp)
        (*batch, rows, columns), depth, dtype = shape_of(op.result), shape_of(op.a)[-1], _type(kernel, op.a)
        problem = Problem(rows, columns, prod(batch), depth // target.lanes(dtype), dtype)
        return [vars(tile) for tile in tiles(problem, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter(kernel), target).emit(Tile(**config)))


def _constant(value: Any, index: Index) -> Any:
    return value


def _type(kernel: KernelOp, value: SSAValue) -> str:
    found = source(kernel, value)
    assert found is not None
    return type_of(found)


def _gemm(emitter: BufferEmitter, target: CudaTarget) -> Gemm:
    kernel = emitter.kernel
    op, y = kernel.anchor, kernel.yielded[0]
    assert isinstance(op, MatMulOp)
    dtype = _type(kernel, op.a)
    lanes = target.lanes(dtype)
    *batch, _, columns = shape_of(op.result)

    def operand(value: SSAValue) -> Operand:
        memory = source(kernel, value)
        assert memory is not None
        *own, extent, depth = shape_of(value)

        def chunk(row: Any, number: Any, group: Any) -> tuple[Any, Sequence[Any]]:
            index = unravelled(group, batch) if prod(batch) > 1 else [0] * len(batch)
            flat: Any = 0
            for size, i in zip(own, index[len(batch) - len(own) :], strict=True):
                flat = flat * size + (i if size > 1 else 0)
            return (flat * extent + row) * depth + number * lanes, []

        return Operand(extent, lambda row: row, chunk, emitter.buffers[memory].view(prod(shape_of(value))))

    def store(row: Any, column: Any, group: Any, count: int, value: Callable[[Any], Any]) -> None:
        outer = [T.bind(i) for i in unravelled(group, batch)] if prod(batch) > 1 else [0] * len(batch)
        for lane in range(count):
            emitter.bind_element(op.result, partial(_constant, value(lane)))
            with T.If(column + lane < columns) if columns % count else T.If(tirx.const(True, "bool")), T.Then():
                place = [*outer, row, column + lane]
                T.buffer_store(emitter.outputs[0], emitter.read(y, place), place)

    return Gemm(
        a=operand(op.a),
        b=operand(op.b),
        columns=-(-columns // lanes) * lanes,
        chunks=shape_of(op.a)[-1] // lanes,
        groups=prod(batch),
        dtype=dtype,
        tensor_cores=uses_tensor_cores(dtype, target),
        store=store,
    )
