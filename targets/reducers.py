"""Reductions as tensor expressions: what they combine by, over which axes, in the layout of which value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.targets.emit import Emitter, Index


@dataclass(frozen=True)
class Reducer:
    """An associative function of two elements and its identity for a dtype."""

    combine: Callable[[Any, Any], Any]
    identity: Callable[[str], Any]

    def reduce(self, element: Any, axes: Sequence[Any]) -> Any:
        """The reduction of an expression, as the body of a tensor; without axes the expression itself."""
        return te.comm_reducer(self.combine, self.identity)(element, axis=axes) if axes else element


def _extreme(infinity: float) -> Callable[[str], Any]:
    # TVM's own start at the largest finite numbers, which is wrong where all elements are infinite.
    def identity(dtype: str) -> Any:
        if str(dtype).startswith("float"):
            return tirx.const(infinity, dtype)
        return tirx.min_value(dtype) if infinity < 0 else tirx.max_value(dtype)

    return identity


ADD = Reducer(lambda a, b: a + b, lambda dtype: tirx.const(0, dtype))
MULTIPLY = Reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype))
MAXIMUM = Reducer(lambda a, b: tirx.max(a, b), _extreme(float("-inf")))
MINIMUM = Reducer(lambda a, b: tirx.min(a, b), _extreme(float("inf")))


def window_axes(emitter: Emitter, sizes: Sequence[int]) -> list[Any]:
    """Reduction axes over a window: k0, k1 ..."""
    return [emitter.reduce_axis(size, f"k{i}") for i, size in enumerate(sizes)]


def reduction(
    emitter: Emitter,
    value: SSAValue,
    element: Callable[[Index], Any],
    reducer: Reducer,
    axes: Sequence[Any],
    name: str,
    reads: Sequence[tuple[SSAValue, int]] | None,
) -> te.Tensor:
    """A tensor in the layout of `value` that reduces `element`, a function of the logical index, over some axes.

    `reads` are the values that `element` reads by the axis in which the layout has blocks, each with its own number
    for that axis: where all of them are padded alike, the result's padding is computed like any other element,
    without a test. None if it reads any in another way."""
    layout, shape, extents = layout_of(value), shape_of(value), physical_shape(value)

    def body(*position: Any) -> Any:
        emitter.bind_axes(position, extents)
        index = [emitter.simplify(i) for i in layout.logical_index(position)] if layout else list(position)
        result = element(index)
        if layout and layout.pads(shape) and (reads is None or not emitter.padded_like(value, reads)):
            inside = [i < n for i, n in zip(index, shape)]
            result = tirx.if_then_else(tirx.all(*inside), result, tirx.const(0, result.ty.dtype))
        return reducer.reduce(result, axes)

    return te.compute(extents, body, name=name)
