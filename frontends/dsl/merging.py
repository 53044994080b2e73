"""Layers that make one tensor of several."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar

from convc.frontends.dsl.arguments import axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape


class Merge(Layer):
    """Element by element. Axes of one element are repeated, and missing ones are put after the batch, as in Keras.
    A subclass names the ONNX operator."""

    merges = True
    operator: ClassVar[str]

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        rank = max(map(len, shapes))
        aligned = [_expanded(shape, rank)[1:] for shape in shapes]
        batches = {shape[0] for shape in shapes} - {None}
        if len(batches) > 1:
            raise self.problem(f"expected inputs of one batch size, got {' and '.join(map(str, shapes))}")
        rest = (self._common(sizes, shapes) for sizes in zip(*aligned, strict=True))
        return (next(iter(batches), None), *rest)

    def _common(self, sizes: tuple[int | None, ...], shapes: tuple[Shape, ...]) -> int | None:
        wide = {size for size in sizes if size not in (1, None)}
        if len(wide) > 1:
            raise self.problem(f"expected inputs of one shape, got {' and '.join(map(str, shapes))}")
        # An unknown size beside a known one is that or 1, which only the run decides.
        return None if None in sizes else next(iter(wide), 1)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        shape = self.compute_output_shape(*(x.shape for x in inputs))
        first = any(x.is_first for x in inputs)
        names = [self._aligned(emitter, x, len(shape), first) for x in inputs]
        return Value(shape, self.combine(emitter, names), first=first)

    def combine(self, emitter: Emitter, names: list[str]) -> str:
        """Append the nodes that make one value of several of one rank and order; its name."""
        return reduce(lambda a, b: emitter.node(self.operator, [a, b]), names)

    def _aligned(self, emitter: Emitter, x: Value, rank: int, first: bool) -> str:
        name = emitter.in_order(x, first)
        if x.rank == rank:
            return name
        begin = 2 if first else 1  # after the batch, and after the channels where they come first
        return emitter.node("Unsqueeze", [name, emitter.ints(range(begin, begin + rank - x.rank), "axes")])


def _expanded(shape: Shape, rank: int) -> Shape:
    return (shape[0], *[1] * (rank - len(shape)), *shape[1:])


class Add(Merge):
    operator = "Add"


class Multiply(Merge):
    operator = "Mul"


class Maximum(Merge):
    operator = "Max"


class Minimum(Merge):
    operator = "Min"


class Average(Merge):
    operator = "Mean"

    def combine(self, emitter: Emitter, names: list[str]) -> str:
        return emitter.node(self.operator, names)


class Subtract(Merge):
    operator = "Sub"
    counts = (2,)


class Concatenate(Layer):
    """Inputs one after the other along an axis."""

    merges = True

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        rank = len(shapes[0])
        axis = axis_of(self, self.axis, rank)
        if axis == 0:
            raise self.problem("axis: expected another axis than the batch's, got 0")
        found: list[int | None] = []
        for i in range(rank):
            sizes = [shape[i] for shape in shapes if len(shape) == rank]
            known = [size for size in sizes if size is not None]
            if len(sizes) != len(shapes) or (i != axis and len(set(known)) > 1):
                raise self.problem(
                    f"expected inputs of one shape but for axis {axis}, got {' and '.join(map(str, shapes))}"
                )
            if i == axis:
                found.append(sum(known) if len(known) == len(sizes) else None)
            else:
                found.append(known[0] if known else None)
        return tuple(found)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        shape = self.compute_output_shape(*(x.shape for x in inputs))
        first = any(x.is_first for x in inputs)
        names = [emitter.in_order(x, first) for x in inputs]
        y = Value(shape, names[0], first=first)  # says where the axis is in the order of the result
        return Value(shape, emitter.node("Concat", names, axis=y.axis(self.axis)), first=first)
