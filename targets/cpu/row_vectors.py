"""Rows in vectors, written out. Where a row does not fill vectors, the last one overlaps the one before.
What it has in common with the one before is computed twice, and no scalar rest is left, where each element takes as
long as a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from convc.targets.cpu.loops import PARALLEL_ELEMENTS
from convc.targets.cpu.shuffles import shuffle
from convc.targets.reducers import Reducer

_SIDE_BY_SIDE = 4
"""Vectors of partial results: an addition takes three or four cycles, and one begins in each."""

_PIECES = 64
"""Steps of a parallel loop over rows, enough for any number of cores to have equal shares."""


def over_rows(row: tirx.Var, rows: int, work: int, body: tirx.Stmt) -> tirx.Stmt:
    """The loop over independent rows, parallel if they are so much work. A step has several: they share its scratch
    memory."""
    if rows == 1 or work < PARALLEL_ELEMENTS:
        return tirx.For(row, 0, rows, tirx.ForKind.SERIAL, body)
    each = -(-rows // _PIECES)
    piece, step = tirx.Var("piece", "int32"), tirx.Var("step", "int32")
    inner = tirx.stmt_seq(tirx.Bind(row, piece * each + step), body)
    steps = tirx.For(step, 0, tirx.min(each, rows - piece * each), tirx.ForKind.SERIAL, inner)
    return tirx.For(piece, 0, -(-rows // each), tirx.ForKind.PARALLEL, steps)


@dataclass(frozen=True)
class Vectors:
    """A row of `size` elements as vectors of `lanes`, no longer than the row."""

    size: int
    lanes: int

    @staticmethod
    def of(size: int, lanes: int) -> Vectors:
        return Vectors(size, min(lanes, 1 << (size.bit_length() - 1)))

    @property
    def side_by_side(self) -> int:
        """Of how many vectors each has a partial result of its own."""
        return min(_SIDE_BY_SIDE, self.size // self.lanes)

    def each(
        self,
        body: Callable[[Any, Any, int, int], Sequence[tirx.Stmt]],
        before: Callable[[Any, int], list[tirx.Stmt]] = lambda begin, number: [],
    ) -> list[tirx.Stmt]:
        """Statements for all vectors. `body` gives those of a lane, from the lane, its place in the row, the number of
        its vector among those that are `side_by_side`, and how many of the first lanes other vectors have as well;
        `before`, those of the whole vector that come first, from where it begins and its number."""
        step = self.side_by_side * self.lanes
        whole, rest = divmod(self.size, step)
        statements = []
        if whole:
            chunk = tirx.Var("chunk", "int32")
            inner = [self._vector(chunk * step + n * self.lanes, n, 0, body, before) for n in range(self.side_by_side)]
            statements.append(tirx.For(chunk, 0, whole, tirx.ForKind.SERIAL, tirx.stmt_seq(*inner)))
        for n in range(-(-rest // self.lanes)):
            begin = whole * step + n * self.lanes
            known = max(begin + self.lanes - self.size, 0)
            statements.append(self._vector(begin - known, n, known, body, before))
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

    def _vector(
        self,
        begin: Any,
        number: int,
        known: int,
        body: Callable[[Any, Any, int, int], Sequence[tirx.Stmt]],
        before: Callable[[Any, int], list[tirx.Stmt]],
    ) -> tirx.Stmt:
        lane = tirx.Var("lane", "int32")
        return tirx.stmt_seq(*before(begin, number), self._loop(lane, body(lane, begin + lane, number, known)))

    def _loop(self, lane: tirx.Var, body: Sequence[tirx.Stmt]) -> tirx.Stmt:
        kind = tirx.ForKind.VECTORIZED if self.lanes > 1 else tirx.ForKind.SERIAL
        return tirx.For(lane, 0, self.lanes, kind, tirx.stmt_seq(*body))
