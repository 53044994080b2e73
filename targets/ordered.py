"""Selections and prefix sums: loops whose steps follow one another, written out; rows are independent.

A selection is a merge sort of positions that keeps no more than k of each run: n log k steps. Prefix sums run in
vectors across rows where neighbours in memory belong to different ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

from tvm import tirx

from convc.ir.attributes import ReduceKind, element_type, shape_of
from convc.ir.dtypes import is_float
from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.targets.emit import Index, dtype_of
from convc.targets.flat import FlatReader, Memory, whole
from convc.targets.indexing import flattened, unravelled
from convc.targets.reducers import ADD, MULTIPLY

Loop: TypeAlias = Callable[[tirx.Var, int, tirx.Stmt], tirx.Stmt]
"""Makes the loop over rows, or over groups of them, from its variable, its extent and its body."""


ANCHORS = (ScanOp, TopKOp)


def ordered(kernel: KernelOp, memory: Memory, lanes: int, loop: Loop) -> tirx.Stmt:
    """The steps of a selection or of prefix sums; those of `lanes` neighbouring rows are computed as a vector."""
    op = kernel.anchor
    assert isinstance(op, ScanOp | TopKOp)
    rows = _Rows(kernel, op, memory, loop)
    return _top_k(rows, op) if isinstance(op, TopKOp) else _scan(rows, op, lanes)


class _Rows:
    """A tensor `[*outer, n, *inner]` as rows of n elements, and the anchor that goes along them."""

    def __init__(self, kernel: KernelOp, op: ScanOp | TopKOp, memory: Memory, loop: Loop) -> None:
        self.kernel, self.op, self.memory = kernel, op, memory
        shape, axis = shape_of(op.x), op.axis.value.data
        self.outer, self.size, self.inner = shape[:axis], shape[axis], shape[axis + 1 :]
        self.loop = loop
        self.reader = FlatReader(kernel, whole(()), memory, guarded=True)

    def index(self, outer: Any, i: Any, inner: Any) -> list[Any]:
        return [*unravelled(outer, self.outer), i, *unravelled(inner, self.inner)]

    def store(self, outer: Any, i: Any, inner: Any, value: Callable[[Index], Any]) -> tirx.Stmt:
        """Store what follows from an element of the anchor's result."""
        self.reader.bind_element(self.op.result, value)
        index = self.index(outer, i, inner)
        at = flattened(index, self.memory.shape)
        return tirx.BufferStore(self.memory.result, self.reader.element_at(self.kernel.yielded[0], index), [at])


def _top_k(rows: _Rows, op: TopKOp) -> tirx.Stmt:
    """Runs of 1, 2, 4 ... positions in order, each merged from two of the half before; between two arrays."""
    size, k, inner = rows.size, op.k.value.data, prod(rows.inner)
    row, i, j = (tirx.Var(name, "int32") for name in ("row", "i", "j"))
    outer, within = tirx.floordiv(row, inner), tirx.floormod(row, inner)
    order = tirx.decl_buffer((2 * size,), "int32", "order", scope="local")
    body: list[tirx.Stmt] = [tirx.AllocBuffer(order), _for(i, size, tirx.BufferStore(order, i, [i]))]
    width, here = 1, 0

    def x(place: Any) -> Any:
        return rows.reader.read(op.x, rows.index(outer, place, within))

    while width < size:
        body.append(_merge(order, here, size - here, width, size, k, lambda a, b: _follows(op, x(b), x(a))))
        width, here = 2 * width, size - here
    found = tirx.BufferLoad(order, [j + here])
    body.append(_for(j, k, rows.store(outer, j, within, lambda index: tirx.Cast("int64", found))))
    return rows.loop(row, prod(rows.outer) * inner, tirx.stmt_seq(*body))


def _merge(
    order: tirx.Var, source: int, goal: int, width: int, size: int, k: int, follows: Callable[[Any, Any], Any]
) -> tirx.Stmt:
    """Merge all pairs of runs of `width` positions, up to k of each; of two that are equal the left one comes first."""
    run, j = tirx.Var("run", "int32"), tirx.Var("j", "int32")
    left, right = (tirx.decl_buffer((1,), "int32", name, scope="local") for name in ("left", "right"))
    begin = run * (2 * width)
    middle, end = tirx.min(begin + width, size), tirx.min(begin + 2 * width, size)
    last_left, last_right = tirx.min(middle, begin + k), tirx.min(end, middle + k)
    a, b = tirx.BufferLoad(left, [0]), tirx.BufferLoad(right, [0])
    one, other = (tirx.BufferLoad(order, [at + source]) for at in (a, b))
    second = tirx.if_then_else(a >= last_left, True, tirx.if_then_else(b >= last_right, False, follows(one, other)))
    place = begin + goal + j
    step = tirx.IfThenElse(
        second,
        tirx.stmt_seq(tirx.BufferStore(order, other, [place]), tirx.BufferStore(right, b + 1, [0])),
        tirx.stmt_seq(tirx.BufferStore(order, one, [place]), tirx.BufferStore(left, a + 1, [0])),
    )
    count = tirx.min(last_left - begin + last_right - middle, k)
    body = tirx.stmt_seq(
        tirx.AllocBuffer(left),
        tirx.AllocBuffer(right),
        tirx.BufferStore(left, begin, [0]),
        tirx.BufferStore(right, middle, [0]),
        tirx.For(j, 0, count, tirx.ForKind.SERIAL, step),
    )
    return _for(run, -(-size // (2 * width)), body)


def _follows(op: TopKOp, second: Any, first: Any) -> Any:
    """Whether the second of two elements comes before the first in the result."""
    small, large = (second, first) if op.smallest is not None else (first, second)
    if not is_float(element_type(op.x)):
        return small < large
    return tirx.any(small < large, tirx.all(tirx.isnan(large), tirx.Not(tirx.isnan(small))))


def _scan(rows: _Rows, op: ScanOp, lanes: int) -> tirx.Stmt:
    """A sum (or product) for each of some neighbouring rows, as one vector."""
    dtype, inner = dtype_of(op.x), prod(rows.inner)
    width = min(lanes, inner)
    groups = -(-inner // width)
    group, i, lane = (tirx.Var(name, "int32") for name in ("group", "i", "lane"))
    # The last group overlaps the one before: the same elements are written twice.
    within = tirx.min(tirx.floormod(group, groups) * width, inner - width) + lane
    outer, at = tirx.floordiv(group, groups), rows.size - 1 - i if op.reverse is not None else i
    reducer = ADD if op.kind.data is ReduceKind.SUM else MULTIPLY
    total = tirx.decl_buffer((width,), dtype, "total", scope="local")
    so_far = tirx.BufferLoad(total, [lane])
    combined = reducer.combine(so_far, rows.reader.read(op.x, rows.index(outer, at, within)))
    add = _vector(lane, width, tirx.BufferStore(total, combined, [lane]))
    store = _vector(lane, width, rows.store(outer, at, within, lambda index: so_far))
    body = tirx.stmt_seq(
        tirx.AllocBuffer(total),
        _vector(lane, width, tirx.BufferStore(total, reducer.identity(dtype), [lane])),
        _for(i, rows.size, tirx.stmt_seq(*((store, add) if op.exclusive is not None else (add, store)))),
    )
    return rows.loop(group, prod(rows.outer) * groups, body)


def _for(variable: tirx.Var, extent: int, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.For(variable, 0, extent, tirx.ForKind.SERIAL, body)


def _vector(lane: tirx.Var, width: int, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.For(lane, 0, width, tirx.ForKind.VECTORIZED if width > 1 else tirx.ForKind.SERIAL, body)
