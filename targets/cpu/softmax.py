"""Softmax along the innermost axis, written out: rows run in parallel.

A row is passed over three times, in vectors: for its largest element, for exponentials, which are stored and added up,
and for quotients. Where it does not fill vectors, the last one begins so early that it ends with the row: its elements
are computed twice, but added once. Rows of 21 classes or 197 tokens have no scalar rest then, which took as long as a
vector for each element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.neural import SoftmaxOp
from convc.targets import float32
from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.cpu.shuffles import shuffle
from convc.targets.emit import dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.flat import FlatReader, Memory, whole
from convc.targets.indexing import flattened, unravelled
from convc.targets.reducers import ADD, MAXIMUM, Reducer
from convc.targets.target import CpuTarget
from convc.targets.written import Written

_VECTORS = 4
"""Vectors of partial results: an addition takes three or four cycles, and one begins in each."""

_PIECES = 64
"""Steps of the parallel loop over rows, enough for any number of cores to have equal shares."""


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
        body = _row(op, reader, unravelled(row, outer), _Vectors.of(size, target.lanes()))
        if rows == 1 or rows * size < PARALLEL_ELEMENTS:
            return tirx.For(row, 0, rows, tirx.ForKind.SERIAL, body)
        # Several rows a step: long ones ask for their scratch memory at its beginning.
        each = -(-rows // _PIECES)
        piece, step = tirx.Var("piece", "int32"), tirx.Var("step", "int32")
        inner = tirx.stmt_seq(tirx.Bind(row, piece * each + step), body)
        steps = tirx.For(step, 0, tirx.min(each, rows - piece * each), tirx.ForKind.SERIAL, inner)
        return tirx.For(piece, 0, -(-rows // each), tirx.ForKind.PARALLEL, steps)


@dataclass(frozen=True)
class _Vectors:
    """A row of `size` elements as vectors of `lanes`, no longer than the row."""

    size: int
    lanes: int

    @staticmethod
    def of(size: int, lanes: int) -> _Vectors:
        return _Vectors(size, min(lanes, 1 << (size.bit_length() - 1)))

    @property
    def side_by_side(self) -> int:
        """Of how many vectors each has a partial result of its own."""
        return min(_VECTORS, self.size // self.lanes)

    def each(self, body: Callable[[Any, Any, int, int], Sequence[tirx.Stmt]]) -> list[tirx.Stmt]:
        """Statements for all vectors. `body` gives those of a lane, from the lane, its place in the row, the number of
        its vector among those that are `side_by_side`, and how many of the first lanes other vectors have as well."""
        step = self.side_by_side * self.lanes
        whole, rest = divmod(self.size, step)
        statements = []
        if whole:
            chunk = tirx.Var("chunk", "int32")
            inner = [self._vector(chunk * step + n * self.lanes, n, 0, body) for n in range(self.side_by_side)]
            statements.append(tirx.For(chunk, 0, whole, tirx.ForKind.SERIAL, tirx.stmt_seq(*inner)))
        for n in range(-(-rest // self.lanes)):
            begin = whole * step + n * self.lanes
            known = max(begin + self.lanes - self.size, 0)
            statements.append(self._vector(begin - known, n, known, body))
        return statements

    def across(self, buffer: tirx.Var, reducer: Reducer) -> list[tirx.Stmt]:
        """Statements that reduce the vectors in a buffer, and those lanes, into all lanes of its first vector."""
        ramps = [tirx.Ramp(n * self.lanes, 1, self.lanes) for n in range(self.side_by_side)]
        statements: list[tirx.Stmt] = []

        def name(vector: Any) -> tirx.Var:
            variable = tirx.Var("v", vector.ty)
            statements.append(tirx.Bind(variable, vector))
            return variable

        vectors = [name(tirx.BufferLoad(buffer, [ramp])) for ramp in ramps]
        while len(vectors) > 1:
            left, right = vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]
            vectors = [name(reducer.combine(a, b)) for a, b in zip(left, right)] + right[len(left) :]
        (total,), bit = vectors, 1
        while bit < self.lanes:
            other = name(shuffle([total], [lane ^ bit for lane in range(self.lanes)]))
            total, bit = name(reducer.combine(total, other)), 2 * bit
        return [*statements, tirx.BufferStore(buffer, total, [ramps[0]])]

    def fill(self, buffer: tirx.Var, value: Any) -> list[tirx.Stmt]:
        """Statements that start all partial results from a value."""
        lane = tirx.Var("lane", "int32")
        ramps = [lane + n * self.lanes for n in range(self.side_by_side)]
        return [self._loop(lane, [tirx.BufferStore(buffer, value, [ramp])]) for ramp in ramps]

    def _vector(self, begin: Any, number: int, known: int, body: Callable[..., Sequence[tirx.Stmt]]) -> tirx.Stmt:
        lane = tirx.Var("lane", "int32")
        return self._loop(lane, body(lane, begin + lane, number, known))

    def _loop(self, lane: tirx.Var, body: Sequence[tirx.Stmt]) -> tirx.Stmt:
        return tirx.For(lane, 0, self.lanes, tirx.ForKind.VECTORIZED, tirx.stmt_seq(*body))


def _row(op: SoftmaxOp, reader: FlatReader, outer: Sequence[Any], vectors: _Vectors) -> tirx.Stmt:
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
