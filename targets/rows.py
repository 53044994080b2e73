"""Reductions, arg-reductions and softmax as tensor expressions, unscheduled.

In a blocked layout a reduction over spatial axes is computed where the result lies. All else is seen as rows: runs of
neighbouring axes that are kept, or reduced over, count as one axis each, so that a loop over a run is contiguous in
a plain tensor. With a `Width`, a reduction runs in vectors of partial results along its innermost run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import prod
from typing import Any, TypeAlias

from tvm import te, tirx

from convc.ir.attributes import ReduceKind, element_type, layout_of, shape_of
from convc.ir.dtypes import is_float
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.neural import ArgReduceOp, ReduceOp, SoftmaxOp
from convc.targets.emit import Emitter, Index, dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.functions import apply
from convc.targets.reducers import ADD, MAXIMUM, MINIMUM, MULTIPLY, Reducer, reduction, window_axes


def reduces_space(kernel: KernelOp) -> bool:
    """Whether a kernel reduces spatial axes, which it keeps, and goes on element by element."""
    op = kernel.anchor
    return (
        isinstance(op, ReduceOp)
        and op.keepdims is not None
        and min(op.axes.get_values(), default=0) >= 2
        and elementwise_epilogue(kernel)
    )


@dataclass(frozen=True)
class Width:
    """Partial results of a row's reduction: `units` vectors of `lanes` elements."""

    units: int
    lanes: int


class Rows:
    """A tensor of `shape` reduced over `axes`. An index by runs is a pair of lists: along the kept runs, and along
    the reduced ones. An axis of extent 1 belongs to the run that it stands in or follows."""

    def __init__(self, shape: Sequence[int], axes: Sequence[int]) -> None:
        self.shape = shape
        self.reduced = [axis in axes for axis in range(len(shape))]
        found = [reduced for reduced, size in zip(self.reduced, shape) if size > 1]
        in_run, last = [], found[0] if found else all(self.reduced)
        for reduced, size in zip(self.reduced, shape):
            last = reduced if size > 1 else last
            in_run.append(last)
        self.runs = [list(run) for _, run in groupby(range(len(shape)), key=in_run.__getitem__)]
        self.kept_runs = [run for run in self.runs if not in_run[run[0]]]
        self.reduced_runs = [run for run in self.runs if in_run[run[0]]]

    @property
    def innermost_is_kept(self) -> bool:
        """Whether neighbours in memory belong to different rows."""
        return self.runs[-1] in self.kept_runs

    @property
    def kept(self) -> list[int]:
        """The extents of the kept runs."""
        return [self.size(run) for run in self.kept_runs]

    @property
    def over(self) -> list[int]:
        """The extents of the reduced runs."""
        return [self.size(run) for run in self.reduced_runs]

    def size(self, run: Sequence[int]) -> int:
        """The extent of a run."""
        return prod(self.shape[axis] for axis in run)

    def index(self, kept: Sequence[Any], over: Sequence[Any]) -> list[Any]:
        """The index into the tensor from one by runs."""
        result: list[Any] = [None] * len(self.shape)
        for run, flat in zip((*self.kept_runs, *self.reduced_runs), (*kept, *over), strict=True):
            for axis in reversed(run[1:]):
                result[axis] = tirx.floormod(flat, self.shape[axis])
                flat = tirx.floordiv(flat, self.shape[axis])
            result[run[0]] = flat
        return result

    def flatten(self, index: Index) -> tuple[list[Any], list[Any]]:
        """The inverse of `index`."""

        def flat(run: Sequence[int]) -> Any:
            result = index[run[0]]
            for axis in run[1:]:
                result = result * self.shape[axis] + index[axis]
            return result

        return [flat(run) for run in self.kept_runs], [flat(run) for run in self.reduced_runs]

    def kept_of(self, index: Index, keepdims: bool) -> list[Any]:
        """Along the kept runs, an index into the reduction's result."""
        if not keepdims:
            rest = iter(index)
            index = [0 if reduced else next(rest) for reduced in self.reduced]
        return self.flatten(index)[0]

    def reduction(
        self,
        emitter: Emitter,
        element: Callable[[Sequence[Any], Sequence[Any]], Any],
        reducer: Reducer,
        name: str,
        width: Width | None,
    ) -> Callable[[Sequence[Any]], Any]:
        """Reduce `element`, a function of an index by runs. Returns the reader of the result by kept runs. Blocks:
        `name`; with a width also `name_vectors` (all but `units` x `lanes` reduced) and `name_lanes` before it."""
        kept = self.kept or [1]
        dims = len(self.kept)
        if width is None:
            over = window_axes(emitter, self.over)

            def whole(*index: Any) -> Any:
                emitter.bind_axes(index, kept)
                return reducer.reduce(element(index[:dims], [k.var for k in over]), over)

            tensor = te.compute(kept, whole, name=name)
        else:
            step = width.units * width.lanes
            *outer, last = window_axes(emitter, [*self.over[:-1], -(-self.over[-1] // step)])

            def vectors(*index: Any) -> Any:
                emitter.bind_axes(index, [*kept, width.units, width.lanes])
                at = last.var * step + index[-2] * width.lanes + index[-1]
                value = element(index[:dims], [*(k.var for k in outer), at])
                if self.over[-1] % step:
                    value = tirx.if_then_else(at < self.over[-1], value, reducer.identity(value.ty.dtype))
                return reducer.reduce(value, [*outer, last])

            partial = te.compute([*kept, width.units, width.lanes], vectors, name=f"{name}_vectors")
            unit = emitter.reduce_axis(width.units, "unit")
            lanes = te.compute(
                [*kept, width.lanes],
                lambda *index: reducer.reduce(partial(*index[:-1], unit.var, index[-1]), [unit]),
                name=f"{name}_lanes",
            )
            lane = emitter.reduce_axis(width.lanes, "lane")
            tensor = te.compute(kept, lambda *index: reducer.reduce(lanes(*index, lane.var), [lane]), name=name)
        return lambda index: tensor(*(emitter.simplify(i) for i in (index or [0])))

    def stored(
        self, emitter: Emitter, extents: Sequence[int], element: Callable[[Index], Any], name: str
    ) -> Callable[[Index], Any]:
        """Compute `element` for all indices once, as a block. Returns the reader."""

        def body(*index: Any) -> Any:
            emitter.bind_axes(index, extents)
            return element(index)

        tensor = te.compute(extents, body, name=name)
        return lambda index: tensor(*(emitter.simplify(i) for i in index))


Make: TypeAlias = Callable[[Sequence[int], Sequence[int]], Rows]
"""Makes rows of a shape and the axes that are reduced over: as tensors, or as a target's statements."""

_REDUCERS: Mapping[ReduceKind, Reducer] = {
    ReduceKind.MAX: MAXIMUM,
    ReduceKind.MIN: MINIMUM,
    ReduceKind.PROD: MULTIPLY,
}
_BEFORE: Mapping[ReduceKind, Callable[[Any], Any]] = {
    ReduceKind.SUM_SQUARE: lambda x: x * x,
    ReduceKind.L2: lambda x: x * x,
    ReduceKind.L1: lambda x: tirx.abs(x),
}


def reduce(emitter: Emitter, op: ReduceOp, width: Width | None = None, make: Make = Rows) -> None:
    """Block `reduce`; `log_sum_exp` subtracts the largest element first, a block `largest` of the same form."""
    kind = op.kind.data
    axes = op.axes.get_values()
    rows = make(shape_of(op.x), axes)
    blocked = make is Rows and layout_of(op.result) is not None and op.keepdims is not None

    def block(name: str, reducer: Reducer, change: Callable[[Any, Index], Any]) -> Callable[[Index], Any]:
        """Reduce `change(x[i], result index)`. Returns the reader by the result's index."""
        if not blocked:
            read = rows.reduction(
                emitter,
                lambda kept, over: change(
                    emitter.read(op.x, rows.index(kept, over)), _result_index(rows, kept, op.keepdims is not None)
                ),
                reducer,
                name,
                width,
            )
            return lambda index: read(rows.kept_of(index, op.keepdims is not None))
        over = window_axes(emitter, [shape_of(op.x)[axis] for axis in axes])

        def element(index: Index) -> Any:
            places = [over[axes.index(axis)].var if axis in axes else i for axis, i in enumerate(index)]
            return change(emitter.read(op.x, places), index)

        tensor = reduction(emitter, op.result, element, reducer, over, name, reads=[(op.x, 1)])
        return lambda index: emitter.element(op.result, tensor, index)

    if kind is ReduceKind.LOG_SUM_EXP:
        largest = block("largest", MAXIMUM, lambda x, _: x)
        total = block("reduce", ADD, lambda x, index: exp(x - finite(largest(index))))
        emitter.bind_element(op.result, lambda index: log(total(index)) + finite(largest(index)))
        return
    before = _BEFORE.get(kind, lambda x: x)
    if kind is ReduceKind.MEAN and not is_float(element_type(op.x)):
        before = partial(tirx.Cast, "int64")  # the sum may exceed the type, the mean does not
    result = block("reduce", _REDUCERS.get(kind, ADD), lambda x, _: before(x))
    count = prod(rows.over)

    def after(total: Any) -> Any:
        if kind is ReduceKind.L2:
            return apply(Fn.SQRT, [total], {})
        if kind is ReduceKind.LOG_SUM:
            return log(total)
        if kind is ReduceKind.MEAN and is_float(element_type(op.x)):
            return total * tirx.const(1 / count, total.ty.dtype)
        if kind is ReduceKind.MEAN:
            return tirx.Cast(dtype_of(op.x), tirx.truncdiv(total, tirx.const(count, "int64")))
        return total

    emitter.bind_element(op.result, lambda index: after(result(index)))


def _result_index(rows: Rows, kept: Sequence[Any], keepdims: bool) -> Index:
    index = rows.index(kept, [0] * len(rows.reduced_runs))
    return [i for i, reduced in zip(index, rows.reduced) if keepdims or not reduced]


def arg_reduce(emitter: Emitter, op: ArgReduceOp, width: Width | None = None, make: Make = Rows) -> None:
    """Blocks `extreme`, the largest (or smallest) element, and `place`, the first or last position it is at."""
    axis = op.axis.value.data
    rows, size = make(shape_of(op.x), [axis]), shape_of(op.x)[axis]
    last = op.select_last is not None

    def x(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        return emitter.read(op.x, rows.index(kept, over))

    extreme = rows.reduction(emitter, x, MAXIMUM if op.kind.data is ReduceKind.MAX else MINIMUM, "extreme", width)

    def position(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        # NaN equals nothing: the position must stay inside the axis even then.
        nowhere = tirx.const(0 if last else size - 1, "int32")
        return tirx.Select(x(kept, over) == extreme(kept), tirx.Cast("int32", over[0] if over else 0), nowhere)

    place = rows.reduction(emitter, position, MAXIMUM if last else MINIMUM, "place", width)
    emitter.bind_element(
        op.result, lambda index: tirx.Cast("int64", place(rows.kept_of(index, op.keepdims is not None)))
    )


def softmax(emitter: Emitter, op: SoftmaxOp, width: Width | None = None, make: Make = Rows) -> None:
    """Blocks `largest`, `softmax` (the exponentials; absent for the logarithm) and `total`. A row that holds +inf, or
    nothing but -inf, is NaN."""
    rows = make(shape_of(op.x), op.axes.get_values())

    def x(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        return emitter.read(op.x, rows.index(kept, over))

    largest = rows.reduction(emitter, x, MAXIMUM, "largest", width)

    def shifted(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        return x(kept, over) - largest(kept)

    if op.log is not None:
        total = rows.reduction(emitter, lambda kept, over: exp(shifted(kept, over)), ADD, "total", width)

        def logarithm(index: Index) -> Any:
            kept, over = rows.flatten(index)
            return shifted(kept, over) - log(total(kept))

        emitter.bind_element(op.result, logarithm)
        return
    extents = [rows.size(run) for run in rows.runs]
    is_kept = [run in rows.kept_runs for run in rows.runs]

    def exponential(flat: Index) -> Any:
        kept = [i for i, keep in zip(flat, is_kept) if keep]
        return exp(shifted(kept, [i for i, keep in zip(flat, is_kept) if not keep]))

    scaled = rows.stored(emitter, extents, exponential, "softmax")

    def read(kept: Sequence[Any], over: Sequence[Any]) -> Any:
        remaining, reduced = iter(kept), iter(over)
        return scaled([next(remaining) if keep else next(reduced) for keep in is_kept])

    total = rows.reduction(emitter, read, ADD, "total", width)
    one = tirx.const(1, dtype_of(op.x))

    def quotient(index: Index) -> Any:
        kept, over = rows.flatten(index)
        return read(kept, over) * (one / total(kept))

    emitter.bind_element(op.result, quotient)


def exp(x: Any) -> Any:
    return apply(Fn.EXP, [x], {})


def log(x: Any) -> Any:
    return apply(Fn.LOG, [x], {})


def finite(value: Any) -> Any:
    """The nearest finite number: what is subtracted from infinities must be one."""
    dtype = value.ty.dtype
    return tirx.max(tirx.min(value, tirx.max_value(dtype)), tirx.min_value(dtype))
