"""Selections and prefix sums: loops whose steps follow one another, written out; rows are independent.

A short selection is kept in order by insertion. A longer one sorts the first, and of the others only what comes before
the worst of the best so far. Sorts are merges: runs of positions, of which no more than k are kept. Prefix sums run in
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

_SHORT = 32
"""Selections up to so long are kept in order by insertion."""
_MANY = 4
"""All of a row is sorted if it is no more than so many times as long as what is selected."""

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
    return _insertion(rows, op) if 0 < op.k.value.data <= _SHORT else _selection(rows, op)


def _insertion(rows: _Rows, op: TopKOp) -> tirx.Stmt:
    """Few: each element that comes before the last of the best so far takes its place among them."""
    size, k, inner = rows.size, op.k.value.data, prod(rows.inner)
    row, i, j = (tirx.Var(name, "int32") for name in ("row", "i", "j"))
    outer, within = tirx.floordiv(row, inner), tirx.floormod(row, inner)
    dtype = dtype_of(op.x)
    values, new = (tirx.decl_buffer((n,), dtype, name, scope="local") for n, name in ((k, "values"), (1, "new")))
    places, free = (tirx.decl_buffer((n,), "int32", name, scope="local") for n, name in ((k, "places"), (1, "free")))
    x, at = tirx.BufferLoad(new, [0]), tirx.BufferLoad(free, [0])

    def put(value: Any, place: Any) -> tirx.Stmt:
        return tirx.stmt_seq(tirx.BufferStore(values, value, [at]), tirx.BufferStore(places, place, [at]))

    def insert(last: Any) -> tirx.Stmt:
        """All that the new one comes before move on by a place, the last one out of it."""
        before, earlier = tirx.BufferLoad(values, [at - 1]), tirx.BufferLoad(places, [at - 1])
        moves = tirx.if_then_else(at > 0, _follows(op, x, before), tirx.const(False, "bool"))
        move = tirx.stmt_seq(put(before, earlier), tirx.BufferStore(free, at - 1, [0]))
        return tirx.stmt_seq(tirx.BufferStore(free, last, [0]), tirx.While(moves, move), put(x, i))

    read = tirx.BufferStore(new, rows.reader.read(op.x, rows.index(outer, i, within)), [0])
    better = _follows(op, x, tirx.BufferLoad(values, [k - 1]))
    rest = tirx.IfThenElse(better, insert(tirx.const(k - 1, "int32")), None)
    found = tirx.BufferLoad(places, [j])
    return rows.loop(
        row,
        prod(rows.outer) * inner,
        tirx.stmt_seq(
            *map(tirx.AllocBuffer, (values, places, new, free)),
            _for(i, k, tirx.stmt_seq(read, insert(i))),
            tirx.For(i, k, size - k, tirx.ForKind.SERIAL, tirx.stmt_seq(read, rest)),
            _for(j, k, rows.store(outer, j, within, lambda index: tirx.Cast("int64", found))),
        ),
    )


def _selection(rows: _Rows, op: TopKOp) -> tirx.Stmt:
    """The first positions in order; then those of the others that come before the last of the best so far wait behind
    the best, until they are many or all: then they are sorted, and merged with the best."""
    size, k, inner = rows.size, op.k.value.data, prod(rows.inner)
    row, i, j, number = (tirx.Var(name, "int32") for name in ("row", "i", "j", "number"))
    outer, within = tirx.floordiv(row, inner), tirx.floormod(row, inner)
    first, step = (size, 0) if size <= _MANY * k or not k else (k, k)
    room = first + 2 * step
    order = tirx.decl_buffer((2 * room,), "int32", "order", scope="local")

    def x(place: Any) -> Any:
        return rows.reader.read(op.x, rows.index(outer, place, within))

    runs = _Runs(order, room, k, lambda second, first: _follows(op, x(second), x(first)))
    found = tirx.BufferLoad(order, [j])
    body: list[tirx.Stmt] = [
        tirx.AllocBuffer(order),
        _for(i, first, tirx.BufferStore(order, i, [i])),
        *runs.sort(0, first, first),
    ]
    if step:
        count = tirx.decl_buffer((1,), "int32", "count", scope="local")
        last = tirx.decl_buffer((1,), dtype_of(op.x), "last", scope="local")
        waiting = tirx.BufferLoad(count, [0])
        remember = [
            tirx.BufferStore(last, x(tirx.BufferLoad(order, [k - 1])), [0]),
            tirx.BufferStore(count, tirx.const(k, "int32"), [0]),
        ]
        wait = [tirx.BufferStore(order, k + number * step + i, [waiting]), tirx.BufferStore(count, waiting + 1, [0])]
        better = _follows(op, x(k + number * step + i), tirx.BufferLoad(last, [0]))
        blocks = -(-(size - k) // step)
        some = tirx.IfThenElse(better, tirx.stmt_seq(*wait), None)
        merge = tirx.stmt_seq(*runs.sort(k, waiting, 2 * step), runs.merge_best(k, waiting), *remember)
        full = tirx.any(waiting > room - step, number == blocks - 1)
        every = tirx.For(i, 0, tirx.min(step, size - k - number * step), tirx.ForKind.SERIAL, some)
        body += [tirx.AllocBuffer(count), tirx.AllocBuffer(last), *remember]
        body.append(_for(number, blocks, tirx.stmt_seq(every, tirx.IfThenElse(full, merge, None))))
    body.append(_for(j, k, rows.store(outer, j, within, lambda index: tirx.Cast("int64", found))))
    return rows.loop(row, prod(rows.outer) * inner, tirx.stmt_seq(*body))


class _Runs:
    """Positions in an array and, from `spare` on, room to merge them into; of merged runs no more than `most` are
    kept. `follows`: whether the second of two positions comes before the first in the result."""

    def __init__(self, order: tirx.Var, spare: int, most: int, follows: Callable[[Any, Any], Any]) -> None:
        self.order, self.spare, self.most, self.follows = order, spare, most, follows

    def sort(self, begin: Any, end: Any, size: int) -> list[tirx.Stmt]:
        """Sort the positions from `begin` to `end`, `size` at most: runs of 1, 2, 4 ... of them, each merged from two
        of the half before."""
        steps, width, here, run, i = [], 1, 0, tirx.Var("run", "int32"), tirx.Var("i", "int32")
        while width < size:
            start = begin + run * (2 * width)
            ends = tirx.min(start + width, end), tirx.min(start + 2 * width, end)
            pair = self._merge(start, *ends, here, self.spare - here)
            steps.append(_for(run, tirx.floordiv(end - begin + 2 * width - 1, 2 * width), pair))
            width, here = 2 * width, self.spare - here
        if here:
            back = tirx.BufferStore(self.order, tirx.BufferLoad(self.order, [here + begin + i]), [begin + i])
            steps.append(_for(i, tirx.min(end - begin, self.most), back))
        return steps

    def merge_best(self, middle: int, end: Any) -> tirx.Stmt:
        """Merge the run before `middle` with that from there to `end`; the result lies where the first did."""
        i = tirx.Var("i", "int32")
        back = tirx.BufferStore(self.order, tirx.BufferLoad(self.order, [self.spare + i]), [i])
        merged = self._merge(tirx.const(0, "int32"), tirx.const(middle, "int32"), end, 0, self.spare)
        return tirx.stmt_seq(merged, _for(i, self.most, back))

    def _merge(self, begin: Any, middle: Any, end: Any, source: int, goal: int) -> tirx.Stmt:
        """Merge two runs, up to `most` of each; of two that are equal the left one comes first."""
        j = tirx.Var("j", "int32")
        left, right = (tirx.decl_buffer((1,), "int32", name, scope="local") for name in ("left", "right"))
        last_left, last_right = tirx.min(middle, begin + self.most), tirx.min(end, middle + self.most)
        a, b = tirx.BufferLoad(left, [0]), tirx.BufferLoad(right, [0])
        one, other = (tirx.BufferLoad(self.order, [at + source]) for at in (a, b))
        follows = self.follows(other, one)
        second = tirx.if_then_else(a >= last_left, True, tirx.if_then_else(b >= last_right, False, follows))
        place = begin + goal + j
        step = tirx.IfThenElse(
            second,
            tirx.stmt_seq(tirx.BufferStore(self.order, other, [place]), tirx.BufferStore(right, b + 1, [0])),
            tirx.stmt_seq(tirx.BufferStore(self.order, one, [place]), tirx.BufferStore(left, a + 1, [0])),
        )
        count = tirx.min(last_left - begin + last_right - middle, self.most)
        return tirx.stmt_seq(
            tirx.AllocBuffer(left),
            tirx.AllocBuffer(right),
            tirx.BufferStore(left, begin, [0]),
            tirx.BufferStore(right, middle, [0]),
            tirx.For(j, 0, count, tirx.ForKind.SERIAL, step),
        )


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


def _for(variable: tirx.Var, extent: Any, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.For(variable, 0, extent, tirx.ForKind.SERIAL, body)


def _vector(lane: tirx.Var, width: int, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.For(lane, 0, width, tirx.ForKind.VECTORIZED if width > 1 else tirx.ForKind.SERIAL, body)
