"""Layers that give the same elements another shape or order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from convc.frontends.dsl.emitter import Emitter, Value, to_first
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape


class Flatten(Layer):
    """`[N, ...]` -> `[N, elements]`, channels last."""

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.set_data_format(data_format)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, *rest = shapes[0]
        return (batch, None if None in rest else prod(size for size in rest if size is not None))

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        if x.rank == 2:
            return x
        name = emitter.node("Flatten", [emitter.flat(x)], axis=1)
        return Value(self.compute_output_shape(x.shape), name, first=False)


class Reshape(Layer):
    """The elements of each example in another shape; one size may be -1, which follows from the others."""

    stateless = True

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        given = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        if not all(isinstance(size, int) and (size > 0 or size == -1) for size in given) or given.count(-1) > 1:
            raise self.problem(f"target_shape: expected positive integers and at most one -1, got {target_shape!r}")
        self.target_shape = given

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, *rest = shapes[0]
        known = prod(size for size in self.target_shape if size > 0)
        if None in rest:
            return (batch, *(size if size > 0 else None for size in self.target_shape))
        elements = prod(size for size in rest if size is not None)
        if elements % known or (-1 not in self.target_shape and elements != known):
            raise self.problem(
                f"expected a target_shape of {elements} elements for {shapes[0]}, got {self.target_shape}"
            )
        return (batch, *(size if size > 0 else elements // known for size in self.target_shape))

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = inputs[0]
        shape = self.compute_output_shape(x.shape)
        # One place or one channel: the elements lie channels first as well, so what follows needs no transpose.
        first = len(shape) > 2 and Value(shape, "", first=False).one_order
        sizes = [0, *(-1 if size is None else size for size in shape[1:])]  # 0 copies the batch
        ordered = [sizes[axis] for axis in to_first(len(shape))] if first else sizes
        name = emitter.node("Reshape", [emitter.flat(x), emitter.ints(ordered, "shape")])
        return Value(shape, name, first=first)


class Permute(Layer):
    """The axes in another order; they are counted from 1, the batch stays."""

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise self.problem(f"dims: expected the axes from 1 on, each once, got {dims!r}")

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) != len(self.dims) + 1:
            raise self.problem(f"expected an input of {len(self.dims)} axes beside the batch's, got {shapes[0]}")
        return (shapes[0][0], *(shapes[0][axis] for axis in self.dims))

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        """One transpose from the order that x has, or none if that is the order that the result has channels last."""
        x = inputs[0]
        perm = [x.axis(axis) for axis in (0, *self.dims)]
        name = x.name if perm == sorted(perm) else emitter.node("Transpose", [x.name], perm=perm)
        return Value(self.compute_output_shape(x.shape), name, first=False)
