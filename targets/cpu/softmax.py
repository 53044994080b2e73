"""Softmax along the innermost axis, written out: rows run in parallel.

A row is passed over three times, in vectors: for its largest element, for exponentials, which are stored and added up,
and for quotients. What two vectors at its end have in common is computed twice, but added once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.neural import SoftmaxOp
from convc.targets import float32
from convc.targets.cpu.row_vectors import Vectors, over_rows
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.flat import FlatReader, Memory, whole
from convc.targets.indexing import flattened, unravelled
from convc.targets.reducers import ADD, MAXIMUM
from convc.targets.target import CpuTarget
from convc.targets.written import Written


class SoftmaxRows(Written[CpuTarget]):
    """Single precision, rows of two elements or more."""

    name, anchors = "softmax_rows", (SoftmaxOp,)

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        return (
            super().applies(kernel, target)
            and isinstance(op, SoftmaxOp)
            and dtype_of(op.x) == "float32"
            and layout_of(op.x) is None
            and layout_of(op.result) is None
            and op.axes.get_values() == (len(shape_of(op.x)) - 1,)
            and shape_of(op.x)[-1] > 1
            and elementwise_epilogue(kernel)
        )

    def body(self, kernel: KernelOp, memory: Memory, target: CpuTarget) -> tirx.Stmt:
        op = kernel.anchor
        assert isinstance(op, SoftmaxOp)
        *outer, size = shape_of(op.x)
        row, rows = tirx.Var("row", "int32"), prod(outer)
        reader = FlatReader(kernel, whole(()), memory, guarded=True)
        reader.bind_axes([row], [rows])
        body = _row(op, reader, unravelled(row, outer), Vectors.of(size, target.lanes()))
        return over_rows(row, rows, rows * size, body)


def _row(op: SoftmaxOp, reader: FlatReader, outer: Sequence[Any], vectors: Vectors) -> tirx.Stmt:
    """The statements of a row."""
    memory, lanes = reader.memory, vectors.lanes
    partial = vectors.side_by_side * lanes
    largest, total = (tirx.decl_buffer((partial,), "float32", name) for name in ("largest", "total"))
    exponentials = tirx.decl_buffer((vectors.size,), "float32", "exponentials")

    def shifted(lane: Any, place: Any) -> Any:
        return reader.read(op.x, [*outer, place]) - tirx.BufferLoad(largest, [lane])

    def enlarge(lane: Any, place: Any, number: int, known: int) -> Sequence[tirx.Stmt]:
        at = lane + number * lanes
        found = MAXIMUM.combine(tirx.BufferLoad(largest, [at]), reader.read(op.x, [*outer, place]))
        return [tirx.BufferStore(largest, found, [at])]

    def add(lane: Any, place: Any, number: int, known: int) -> Sequence[tirx.Stmt]:
        # What is e**-88 of the largest, or less, may be 0: the sum is 1 of that at the least.
        store = tirx.BufferStore(exponentials, float32.exp_flushing(shifted(lane, place)), [place])
        term, at = tirx.BufferLoad(exponentials, [place]), lane + number * lanes
        once = tirx.Select(lane >= known, term, float32.const(0)) if known else term
        return [store, tirx.BufferStore(total, ADD.combine(tirx.BufferLoad(total, [at]), once), [at])]

    def finish(lane: Any, place: Any, number: int, known: int) -> Sequence[tirx.Stmt]:
        scale = tirx.BufferLoad(total, [lane])
        value = shifted(lane, place) - scale if op.log else tirx.BufferLoad(exponentials, [place]) * scale
        reader.bind_element(op.result, lambda index: value)
        index = [*outer, place]
        at = reader.simplify(flattened(index, memory.shape))
        return [tirx.BufferStore(memory.result, reader.element_at(reader.kernel.yielded[0], index), [at])]

    one = tirx.BufferLoad(total, [0])
    scale = float32.log(one) if op.log else float32.const(1) / one
    return tirx.stmt_seq(
        *(tirx.AllocBuffer(buffer) for buffer in (largest, total, exponentials)),
        *vectors.fill(largest, MAXIMUM.identity("float32")),
        *vectors.each(enlarge),
        *vectors.across(largest, MAXIMUM),
        *vectors.fill(total, ADD.identity("float32")),
        *vectors.each(add),
        *vectors.across(total, ADD),
        *vectors.fill(total, scale)[:1],
        *vectors.each(finish),
    )
