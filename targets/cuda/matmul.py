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
from convc.targets.anchors import batch_index
from convc.targets.buffers import build
from convc.targets.cuda.cores import Tile, where
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.gemm import Gemm, Operand
from convc.targets.cuda.operands import factors, multiplied, type_of
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.tiling import Problem, tiles, uses_tensor_cores
from convc.targets.emit import Index
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.indexing import flattened, unravelled
from convc.targets.template import Config

_FEW_ROWS = 8
"""So many rows and more are worth a tile."""


class MatMul:
    """Products of plain matrices, the second one `[N, K]`, whose rows fill whole chunks. The configuration is a
    `Tile`."""

    name = "matmul"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, MatMulOp) or op.transpose_b is None or not elementwise_epilogue(kernel):
            return False
        if (found := multiplied(kernel, op.a, op.b)) is None:
            return False
        a, b = found
        rows, depth = shape_of(op.a)[-2:]
        plain = all(layout_of(value) is None for value in (a, b, kernel.yielded[0]))
        return plain and rows >= _FEW_ROWS and depth % target.lanes(type_of(a)) == 0

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, MatMulOp)
        (*batch, rows, columns), depth = shape_of(op.result), shape_of(op.a)[-1]
        dtype = type_of(factors(kernel, op.a, op.b)[0])
        problem = Problem(rows, columns, prod(batch), depth // target.lanes(dtype), dtype)
        return [vars(tile) for tile in tiles(problem, target)]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        return build(lambda: _gemm(BufferEmitter.of_parameters(kernel), target).emit(Tile(**config), target))


def _constant(value: Any, index: Index) -> Any:
    return value


def _gemm(emitter: BufferEmitter, target: CudaTarget) -> Gemm:
    kernel = emitter.kernel
    op, y = kernel.anchor, kernel.yielded[0]
    assert isinstance(op, MatMulOp)
    a, b = factors(kernel, op.a, op.b)
    dtype = type_of(a)
    lanes = target.lanes(dtype)
    *batch, _, columns = shape_of(op.result)

    def outer(group: Any) -> list[Any]:
        """The index along the leading axes of the result."""
        return unravelled(group, batch) if prod(batch) > 1 else [0] * len(batch)

    def operand(value: SSAValue) -> Operand:
        *own, extent, depth = shape_of(value)

        def chunk(row: Any, number: Any, group: Any) -> tuple[Any, Sequence[Any]]:
            flat = flattened(batch_index(shape_of(value), outer(group)), own)
            return (flat * extent + row) * depth + number * lanes, []

        return Operand(extent, lambda row: row, chunk, emitter.buffers[value].view(prod(shape_of(value))))

    def store(row: Any, column: Any, group: Any, count: int, value: Callable[[Any], Any]) -> None:
        leading = [i if isinstance(i, int) else T.bind(i) for i in outer(group)]
        for lane in range(count):
            emitter.bind_element(op.result, partial(_constant, value(lane)))
            with where([column + lane < columns] if columns % count else []):
                place = [*leading, row, column + lane]
                T.buffer_store(emitter.results[0], emitter.read(y, place), place)

    return Gemm(
        a=operand(a),
        b=operand(b),
        columns=-(-columns // lanes) * lanes,
        chunks=shape_of(op.a)[-1] // lanes,
        groups=prod(batch),
        dtype=dtype,
        tensor_cores=uses_tensor_cores(dtype, target),
        store=store,
    )
