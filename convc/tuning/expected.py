"""What a kernel should compute, as far as it is worth computing and sending: some elements of each result."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import Block, Operation, SSAValue

from convc.ir.attributes import element_type, layout_of, shape_of, tensor
from convc.ir.data import CastOp, RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.ir.macs import macs
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, PoolOp
from convc.passes.rewriting import set_type
from convc.tuning.problem import interpreted, tolerance
from convc.tuning.results import Result, Sample

_MOST = 1 << 30
"""Multiply-adds, or bytes of results in float64, beyond which only a few images of a batch are computed."""
_SAMPLES = 1 << 14
"""Elements of a result: 16 of a tile of 32 x 32, on average, where a million are computed."""
_ROWWISE = (CastOp, ConvOp, ElementwiseOp, MatMulOp, PoolOp, RelayoutOp)
"""What computes each place of the first axis from the same place of its first operand."""


def expected_results(
    kernel: KernelOp, weights: frozenset[int], operands: Sequence[np.ndarray], tf32: bool, seed: int
) -> list[Result]:
    """By the kernel's definition, in float64: a sample of each result, or all of a small one. Where the whole is too
    large it is of the first and the last place of the first axis, if the others do not matter to them. `weights` are
    the operands that are known when a network is built; `tf32` allows for products of rounded factors."""
    rows = _rows(kernel.outputs[0])
    size = max(macs(kernel), *(8 * prod(shape_of(value)) for value in kernel.outputs))
    part = _cut(kernel, weights, rows) if size > _MOST and rows > 2 else None
    computed, cut = part or (kernel, set())
    ends = [0, rows - 1] if part else range(rows)
    arrays = interpreted(computed, [array[ends] if i in cut else array for i, array in enumerate(operands)])
    found = []
    for array, value in zip(arrays, kernel.outputs, strict=True):
        layout, allowed = str(layout_of(value) or ""), tolerance(computed, array, tf32)
        if not part and array.size <= _SAMPLES:
            found.append(Result(array, layout, allowed))
            continue
        places = np.unique(np.random.default_rng(seed).integers(0, array.size, _SAMPLES))
        row = array.size // len(ends)
        where = np.array(ends)[places // row] * row + places % row
        found.append(Result(array.reshape(-1)[places], layout, allowed, Sample(shape_of(value), where)))
    return found


def _cut(kernel: KernelOp, weights: frozenset[int], rows: int) -> tuple[KernelOp, set[int]] | None:
    """A kernel on two of so many places of the first axis, and which operands have that axis; None if the places of its
    results are not computed from the same places of these alone."""
    body = kernel.body.clone()
    arguments = body.block.args
    cut = {i for i, value in enumerate(arguments) if i not in weights and _rows(value) == rows}
    along: set[SSAValue] = {arguments[i] for i in cut}
    *ops, last = body.block.ops
    for op in ops:
        if along.intersection(op.operands):
            if not isinstance(op, _ROWWISE) or not _keeps_rows(op, along, rows):
                return None
            along.update(op.results)
    if not along.issuperset(last.operands):
        return None
    for value in along:
        set_type(value, tensor(element_type(value), (2, *shape_of(value)[1:]), layout_of(value)))
    outer = Block(arg_types=[value.type for value in arguments])
    return KernelOp(list(outer.args), body, [value.type for value in last.operands]), cut


def _keeps_rows(op: Operation, along: set[SSAValue], rows: int) -> bool:
    """Whether the first axis of an operation's result is that of its operands `along` it, the rest broadcast."""
    rank, first = len(shape_of(op.results[0])), op.operands[0]
    if isinstance(op, ConvOp | MatMulOp):
        fits = first in along and not along.intersection(op.operands[1:])
    else:
        fits = all(x in along or len(shape_of(x)) < rank or _rows(x) == 1 for x in op.operands)
    return fits and _rows(op.results[0]) == rows and all(len(shape_of(x)) == rank for x in op.operands if x in along)


def _rows(value: SSAValue) -> int:
    return shape_of(value)[0] if shape_of(value) else 1
