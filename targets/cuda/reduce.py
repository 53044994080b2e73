"""Reductions, arg-reductions and softmax over rows, and products with few rows: the threads of a block compute one
row, or one element of a product, together.

Each thread combines every so-many-th element, and their results are combined pairwise in shared memory, so that a long
sum is a tree. All passes over a row (largest, total, quotient) are one launch: what the first has read the others find
in the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce as reduce_
from math import prod
from typing import Any

from tvm import tirx
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.neural import ArgReduceOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.targets.anchors import batch_index
from convc.targets.cuda.injective import MOST_LANES
from convc.targets.cuda.target import WARP, CudaTarget
from convc.targets.cuda.threads import MOST_THREADS, STREAM, bound
from convc.targets.emit import Emitter, Index
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.flat import FlatReader, Memory, whole, without_elements
from convc.targets.indexing import flattened, unravelled
from convc.targets.reducers import ADD, Reducer
from convc.targets.rows import Rows, Width, arg_reduce, reduce, softmax
from convc.targets.template import Config

_ANCHORS = (ArgReduceOp, MatMulOp, ReduceOp, SoftmaxOp)


class RowReduce:
    """Applies where a row has work for a warp. Config: `threads` for a row."""

    name = "row_reduce"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, _ANCHORS) or len(kernel.outputs) != 1 or not elementwise_epilogue(kernel):
            return False
        rows, length = _extents(op)
        return length >= WARP and rows * WARP <= 16 * target.threads and without_elements(kernel) is None

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, _ANCHORS)
        rows, length = _extents(op)
        threads, stream = WARP, STREAM * _lanes(op)
        while threads < MOST_THREADS and 2 * threads * stream <= length and rows * threads < target.threads:
            threads *= 2
        choices = (threads, threads * 2, threads // 2)
        return [{"threads": each} for each in choices if WARP <= each <= MOST_THREADS]

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        op, y, memory = kernel.anchor, kernel.yielded[0], Memory.of(kernel)
        assert isinstance(op, _ANCHORS)
        reader = FlatReader(kernel, whole(()), memory, guarded=True)
        count = _extents(op)[0] if isinstance(op, SoftmaxOp) else prod(memory.shape)
        row = _Row(reader, config["threads"], count)
        position = [reader.simplify(i) for i in unravelled(row.number, memory.shape)]
        if isinstance(op, SoftmaxOp):
            rows = _ThreadRows(shape_of(op.x), op.axes.get_values(), row)
            row.kept = unravelled(row.number, rows.kept)
            softmax(reader, op, make=lambda shape, axes: rows)

            def store(i: Any, lane: Any) -> tirx.Stmt:
                index = rows.index(row.kept, unravelled(i, rows.over))
                flat = reader.simplify(flattened(index, memory.shape))
                return tirx.BufferStore(memory.result, reader.element_at(y, index), [flat])

            row.statements.append(row.loop(prod(rows.over), store))
            return memory.function(row.launch())
        if isinstance(op, MatMulOp):
            _product(reader, op, row, position)
            return memory.function(row.writing(memory, y, position))
        layout = layout_of(y)
        index = list(layout.logical_index(position)) if layout else position

        keepdims = op.keepdims is not None

        def make(shape: Sequence[int], axes: Sequence[int]) -> Rows:
            rows = _ThreadRows(shape, axes, row)
            row.kept = rows.kept_of([reader.simplify(i) for i in index], keepdims)
            return rows

        if isinstance(op, ReduceOp):
            reduce(reader, op, make=make)
        else:
            arg_reduce(reader, op, make=make)
        return memory.function(row.writing(memory, y, position))


def _extents(op: Operation) -> tuple[int, int]:
    """How many rows there are, and how many elements each has."""
    assert isinstance(op, _ANCHORS)
    if isinstance(op, MatMulOp):
        return prod(shape_of(op.result)), shape_of(op.a)[-1]
    axes = [op.axis.value.data] if isinstance(op, ArgReduceOp) else op.axes.get_values()
    length = prod(shape_of(op.x)[axis] for axis in axes)
    return prod(shape_of(op.x)) // max(length, 1), length


def _lanes(op: Operation) -> int:
    """How many neighbouring elements a thread reads at once. Weights that are read once are worth it: a product of one
    row is as fast as they come."""
    whole = isinstance(op, MatMulOp) and op.transpose_b is not None and shape_of(op.a)[-1] % MOST_LANES == 0
    return MOST_LANES if whole else 1


class _Row:
    """What the threads of a block do for one row, statement by statement. `kept` is the row's index by runs."""

    def __init__(self, reader: FlatReader, threads: int, count: int) -> None:
        self.reader, self.threads, self.count = reader, threads, count
        self.number, self.thread = tirx.Var("row", "int32"), tirx.Var("thread", "int32")
        self.kept: list[Any] = []
        self.statements: list[tirx.Stmt] = []
        reader.bind_axes([self.number, self.thread], [count, threads])

    def loop(self, extent: int, body: Callable[[Any, Any], tirx.Stmt], lanes: int = 1) -> tirx.Stmt:
        """`body`, of a number and its lane, for each number below `extent`, the thread's own ones: `lanes` neighbours,
        of which the extent is a multiple, are a vector."""
        step, lane = tirx.Var("step", "int32"), tirx.Var("lane", "int32")
        steps = -(-extent // (self.threads * lanes))
        self.reader.bind_axes([step, lane], [steps, lanes])
        first = (step * self.threads + self.thread) * lanes
        if lanes > 1:
            statement: tirx.Stmt = tirx.For(lane, 0, lanes, tirx.ForKind.VECTORIZED, body(first + lane, lane))
        else:
            statement = body(first, 0)
        if extent % (self.threads * lanes):
            statement = tirx.IfThenElse(first < extent, statement, None)
        return tirx.For(step, 0, steps, tirx.ForKind.SERIAL, statement)

    def writing(self, memory: Memory, value: SSAValue, position: Index) -> tirx.Stmt:
        """The launch, at the end of which the first thread writes an element of the kernel's result."""
        store = tirx.BufferStore(memory.result, self.reader.element_at(value, position), [self.number])
        self.statements.append(tirx.IfThenElse(self.thread == 0, store, None))
        return self.launch()

    def launch(self) -> tirx.Stmt:
        """The loops over rows and threads around the statements."""
        body = tirx.stmt_seq(*self.statements)
        return bound(self.number, self.count, "blockIdx.x", bound(self.thread, self.threads, "threadIdx.x", body))


def _product(reader: FlatReader, op: MatMulOp, row: _Row, place: Index) -> None:
    """The sum of products that an element of a product is."""
    *batch, m, n = place

    def element(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        b = [n, over[0]] if op.transpose_b is not None else [over[0], n]
        return reader.read(op.a, [*batch_index(shape_of(op.a), batch), m, over[0]]) * reader.read(
            op.b, [*batch_index(shape_of(op.b), batch), *b]
        )

    rows = _ThreadRows([shape_of(op.a)[-1]], [0], row, _lanes(op))
    total = rows.reduction(reader, element, ADD, "product", None)
    reader.bind_element(op.result, lambda index: total(index))


class _ThreadRows(Rows):
    """Rows that a block of threads reduces, as statements of a `_Row`; a thread reads `lanes` elements at once."""

    def __init__(self, shape: Sequence[int], axes: Sequence[int], row: _Row, lanes: int = 1) -> None:
        super().__init__(shape, axes)
        self.row, self.lanes = row, lanes

    def reduction(
        self,
        emitter: Emitter,
        element: Callable[[Sequence[Any], Sequence[Any]], Any],
        reducer: Reducer,
        name: str,
        width: Width | None,
    ) -> Callable[[Sequence[Any]], Any]:
        """Statements that reduce the row; the result is in shared memory, whatever row the reader is asked for."""
        row, thread, over, lanes = self.row, self.row.thread, self.over, self.lanes

        def value(i: Any) -> Any:
            return element(row.kept, [emitter.simplify(j) for j in unravelled(i, over)])

        dtype = str(value(tirx.IntImm("int32", 0)).ty.dtype)
        own = tirx.decl_buffer((lanes,), dtype, f"{name}_own", scope="local")
        shared = tirx.decl_buffer((row.threads,), dtype, f"{name}_shared", scope="shared")
        at, parts = tirx.BufferLoad(shared, [thread]), [tirx.BufferLoad(own, [lane]) for lane in range(lanes)]

        def add(i: Any, lane: Any) -> tirx.Stmt:
            return tirx.BufferStore(own, reducer.combine(tirx.BufferLoad(own, [lane]), value(i)), [lane])

        row.statements += [
            tirx.AllocBuffer(own),
            tirx.AllocBuffer(shared),
            *(tirx.BufferStore(own, reducer.identity(dtype), [lane]) for lane in range(lanes)),
            row.loop(prod(over), add, lanes),
            tirx.BufferStore(shared, reduce_(reducer.combine, parts), [thread]),
        ]
        half = row.threads // 2
        while half:
            combined = reducer.combine(at, tirx.BufferLoad(shared, [thread + half]))
            store = tirx.BufferStore(shared, combined, [thread])
            row.statements += [_SYNC, tirx.IfThenElse(thread < half, store, None)]
            half //= 2
        row.statements.append(_SYNC)
        return lambda index: tirx.BufferLoad(shared, [0])

    def stored(
        self, emitter: Emitter, extents: Sequence[int], element: Callable[[Index], Any], name: str
    ) -> Callable[[Index], Any]:
        """Computed again by each reader: that is an exponential, the alternative a trip to memory."""
        return element


_SYNC = tirx.Evaluate(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared"))
