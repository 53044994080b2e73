"""Layers of sequences and vectors that are neither convolutions nor recurrent."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np
from onnx import TensorProto

from convc.frontends.dsl.arguments import axis_of, positive
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.tensor import Shape


class RepeatVector(Layer):
    """A vector for each of n steps: `[N, C]` -> `[N, n, C]`."""

    ranks = (2,)

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = positive(self, "n", n)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, channels = shapes[0]
        return (batch, self.n, channels)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x = emitter.node("Unsqueeze", [inputs[0].name, emitter.ints([1], "axes")])
        name = emitter.node("Expand", [x, emitter.ints([1, self.n, 1], "shape")])
        return Value(self.compute_output_shape(inputs[0].shape), name, first=False)


class Embedding(Layer):
    """A row of a table for each index: `[N, ...]` -> `[N, ..., output_dim]`, embeddings `[input_dim, output_dim]`."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Initializer = "random_uniform",
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        if mask_zero:
            raise self.problem("mask_zero: expected False, for no layer takes masks, got True")
        self._initializer = embeddings_initializer

    def build(self, *shapes: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight("embeddings", shape, self._initializer)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0], self.output_dim)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        indices = emitter.node("Cast", [emitter.last(inputs[0])], to=TensorProto.INT32)
        table = emitter.weight(self.embeddings, "rows", np.asarray)
        return Value(self.compute_output_shape(inputs[0].shape), emitter.node("Gather", [table, indices]), first=False)


class Dot(Layer):
    """Products summed over one axis of each of two inputs: `[N, A, C]` and `[N, B, C]` -> `[N, A, B]` for axes 2.
    `normalize` divides both by their length along it."""

    merges = True
    counts = (2,)

    def __init__(self, axes: int | tuple[int, int] | list[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        given = [axes, axes] if isinstance(axes, int) else axes
        if not isinstance(given, list | tuple) or len(given) != 2 or not all(isinstance(axis, int) for axis in given):
            raise self.problem(f"axes: expected an integer or one for each of two inputs, got {axes!r}")
        self.axes, self.normalize = given, bool(normalize)

    def _axes(self, shapes: tuple[Shape, ...]) -> list[int]:
        found = [axis_of(self, axis, len(shape)) for axis, shape in zip(self.axes, shapes, strict=True)]
        if 0 in found:
            raise self.problem(f"axes: expected other axes than the batch's, got {self.axes}")
        return found

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        a, b = self._axes(shapes)
        left, right = shapes
        if left[a] != right[b] and None not in (left[a], right[b]):
            raise self.problem(f"expected as many elements along axes {a} and {b}, got {left} and {right}")
        rest = [*left[1:a], *left[a + 1 :], *right[1:b], *right[b + 1 :]]
        return (left[0], *(rest or [1]))

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        e, axes = emitter, self._axes(tuple(x.shape for x in inputs))
        shape = self.compute_output_shape(*(x.shape for x in inputs))
        names = [
            self._unit(e, e.last(x), axis) if self.normalize else e.last(x)
            for x, axis in zip(inputs, axes, strict=True)
        ]
        letters = iter(ascii_lowercase.replace("n", "").replace("k", ""))
        terms = [
            "n" + "".join("k" if i == axis else next(letters) for i in range(1, x.rank))
            for x, axis in zip(inputs, axes)
        ]
        result = "n" + "".join(letter for term in terms for letter in term[1:] if letter != "k")
        name = e.node("Einsum", names, equation=f"{','.join(terms)}->{result}")
        if len(result) == 1:
            name = e.node("Unsqueeze", [name, e.ints([1], "axes")])
        return Value(shape, name, first=False)

    def _unit(self, e: Emitter, x: str, axis: int) -> str:
        length = e.node("ReduceL2", [x], axes=[axis], keepdims=1)
        return e.node("Div", [x, e.node("Max", [length, e.constant(np.float32(1e-12), "least")])])
