"""Keras's operations on tensors, as layers of their own: what `x + y`, `ops.mean(x)` and `x[..., 0]` are in a file.

Their axes align from the end and count the batch, as in numpy; a call has tensors, numbers and arrays as operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convc.frontends import dsl
from convc.frontends.dsl.arguments import axes_of, axis_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.tensor import Shape

UNARY = {
    "Abs": "Abs",
    "Absolute": "Abs",
    "Ceil": "Ceil",
    "Cos": "Cos",
    "Erf": "Erf",
    "Exp": "Exp",
    "Floor": "Floor",
    "Log": "Log",
    "Negative": "Neg",
    "Reciprocal": "Reciprocal",
    "Sign": "Sign",
    "Sin": "Sin",
    "Sqrt": "Sqrt",
}
BINARY = {
    "Add": "Add",
    "Divide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
    "Multiply": "Mul",
    "Power": "Pow",
    "Subtract": "Sub",
    "TrueDivide": "Div",
}
REDUCTIONS = {"Max": "ReduceMax", "Mean": "ReduceMean", "Min": "ReduceMin", "Sum": "ReduceSum"}


class Operation(dsl.Layer):
    """One operation with its options. `operands` are its arguments: None stands for a tensor of the call."""

    merges = True
    stateless = True

    def __init__(self, kind: str, operands: Sequence[Any], config: Mapping[str, Any], name: str) -> None:
        super().__init__(name=name)
        self.kind, self.operands, self.config = kind, operands, config

    @property
    def class_name(self) -> str:
        return self.kind

    def _axes(self, given: Any, rank: int) -> list[int]:
        if given is None:
            return list(range(rank))
        return sorted(axes_of(self, given, rank))


class Elementwise(Operation):
    """A function of each element of one or two operands, which are repeated along axes of one element."""

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        given = iter(shapes)
        found: list[Shape] = [next(given) if array is None else np.shape(array) for array in self.operands]
        rank = max(map(len, found))
        aligned = [(*[1] * (rank - len(shape)), *shape) for shape in found]
        return tuple(self._common(sizes, found) for sizes in zip(*aligned, strict=True))

    def _common(self, sizes: tuple[int | None, ...], shapes: list[Shape]) -> int | None:
        wide = {size for size in sizes if size not in (1, None)}
        if len(wide) > 1:
            raise self.problem(f"expected shapes that broadcast, got {' and '.join(map(str, shapes))}")
        return next(iter(wide)) if wide else None if None in sizes else 1

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        e, shape = emitter, self.compute_output_shape(*(x.shape for x in inputs))
        if self.kind == "Square":
            return e.apply("Mul", inputs[0], inputs[0])
        if self.kind == "Rsqrt":
            return e.apply("Reciprocal", e.apply("Sqrt", inputs[0]))
        if self.kind == "Clip":
            return e.apply("Clip", inputs[0], float(self.config["x_min"]), float(self.config["x_max"]))
        if self.kind in UNARY:
            return e.apply(UNARY[self.kind], inputs[0])
        like = Value(shape, "", first=all(x.is_first and x.rank == len(shape) for x in inputs))
        values, names = iter(inputs), []
        for array in self.operands:
            if array is None:
                names.append(e.in_order(next(values), like.is_first))
            else:
                array = np.asarray(array, np.float32)
                names.append(e.constant(like.arranged(array) if array.ndim else array, "constant"))
        return Value(shape, e.node(BINARY[self.kind], names), first=like.is_first)


class Reduction(Operation):
    """A sum, a mean, the largest or the least element over some axes."""

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        axes, keep = self._axes(self.config["axis"], len(shapes[0])), self.config.get("keepdims", False)
        return tuple(1 if i in axes else size for i, size in enumerate(shapes[0]) if keep or i not in axes)

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        e, x = emitter, inputs[0]
        axes, keep = self._axes(self.config["axis"], x.rank), int(self.config.get("keepdims", False))
        direct = bool(keep) or axes == list(range(1, x.rank - 1))  # what is left has one order
        first = direct and x.is_first
        name = x.name if direct else e.last(x)
        places = sorted(x.axis(axis) if first else axis for axis in axes)
        if self.kind == "Sum":
            y = e.node("ReduceSum", [name, e.ints(places, "axes")], keepdims=keep)
        else:
            y = e.node(REDUCTIONS[self.kind], [name], axes=places, keepdims=keep)
        return Value(self.compute_output_shape(x.shape), y, first=first)


class Movement(Operation):
    """The same elements, or some of them, in another shape or order."""

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        return _MOVES[self.kind](self, shapes)[0]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        shape, write = _MOVES[self.kind](self, [x.shape for x in inputs])
        return Value(shape, write(emitter, [emitter.last(x) for x in inputs]), first=False)


Write = Callable[[Emitter, Sequence[str]], str]


def _reshape(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    new = list(layer.config["newshape"])
    if new and new[0] in (-1, None, shapes[0][0]):  # the batch stays
        inner = dsl.Reshape(new[1:], name=layer.name)
        return inner.compute_output_shape(shapes[0]), lambda e, x: e.node(
            "Reshape", [x[0], e.ints([0, *(-1 if size is None else size for size in new[1:])], "shape")]
        )
    raise layer.problem(f"newshape: expected the batch, or -1, at the front, got {new}")


def _transpose(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    rank = len(shapes[0])
    perm = layer.config.get("axes") or list(range(rank))[::-1]
    if layer.kind == "Swapaxes":
        perm = list(range(rank))
        a, b = (axis_of(layer, layer.config[key], rank) for key in ("axis1", "axis2"))
        perm[a], perm[b] = b, a
    perm = [axis_of(layer, axis, rank) for axis in perm]
    return tuple(shapes[0][axis] for axis in perm), lambda e, x: e.node("Transpose", x, perm=perm)


def _expand(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    axes, rank = layer.config["axis"], len(shapes[0])
    axes = axes if isinstance(axes, list | tuple) else [axes]
    places = sorted(axis_of(layer, axis, rank + len(axes)) for axis in axes)
    shape = list(shapes[0])
    for place in places:
        shape.insert(place, 1)
    return tuple(shape), lambda e, x: e.node("Unsqueeze", [x[0], e.ints(places, "axes")])


def _squeeze(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    given = layer.config["axis"]
    axes = [i for i, size in enumerate(shapes[0]) if size == 1] if given is None else layer._axes(given, len(shapes[0]))
    shape = tuple(size for i, size in enumerate(shapes[0]) if i not in axes)
    return shape, lambda e, x: e.node("Squeeze", [x[0], e.ints(axes, "axes")])


def _stack(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    axis = axis_of(layer, layer.config["axis"], len(shapes[0]) + 1)
    shape = (*shapes[0][:axis], len(shapes), *shapes[0][axis:])
    return shape, lambda e, xs: e.node(
        "Concat", [e.node("Unsqueeze", [x, e.ints([axis], "axes")]) for x in xs], axis=axis
    )


def _matmul(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    a, b = shapes
    if len(a) != len(b) or len(a) < 3 or a[-1] != b[-2]:
        raise layer.problem(f"expected matrices that can be multiplied, with as many axes before, got {a} and {b}")
    return (*a[:-1], b[-1]), lambda e, x: e.node("MatMul", x)


def _item(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    """x[...]: integers and slices."""
    key, rank = layer.config["key"], len(shapes[0])
    if Ellipsis in key:
        place = key.index(Ellipsis)
        key = [*key[:place], *[slice(None)] * (rank - len(key) + 1), *key[place + 1 :]]
    starts, ends, axes, steps, gone = [], [], [], [], []
    shape = list(shapes[0])
    for axis, each in enumerate(key):
        if isinstance(each, int):
            each = slice(each, each + 1 if each != -1 else None)
            gone.append(axis)
        if each == slice(None):
            continue
        size = shape[axis]
        if size is None:
            raise layer.problem(f"expected an axis of known size to take a part of, got axis {axis} of {shapes[0]}")
        start, stop, step = each.indices(size)
        starts.append(start)
        ends.append(stop if stop >= 0 else np.iinfo(np.int64).min)
        axes.append(axis)
        steps.append(step)
        shape[axis] = len(range(start, stop, step))

    def write(e: Emitter, x: Sequence[str]) -> str:
        name = x[0]
        if axes:
            name = e.node("Slice", [name, *(e.ints(each, "bounds") for each in (starts, ends, axes, steps))])
        return e.node("Squeeze", [name, e.ints(gone, "axes")]) if gone else name

    return tuple(size for axis, size in enumerate(shape) if axis not in gone), write


def _pad(layer: Operation, shapes: Sequence[Shape]) -> tuple[Shape, Write]:
    width = layer.config["pad_width"]
    shape = tuple(None if size is None else size + sum(ends) for size, ends in zip(shapes[0], width, strict=True))
    pads = [ends[0] for ends in width] + [ends[1] for ends in width]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "edge"}[layer.config["mode"]]
    return shape, lambda e, x: e.node("Pad", [x[0], e.ints(pads, "pads")], mode=mode)


_MOVES: dict[str, Callable[[Operation, Sequence[Shape]], tuple[Shape, Write]]] = {
    "ExpandDims": _expand,
    "GetItem": _item,
    "Matmul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "Swapaxes": _transpose,
    "Transpose": _transpose,
}

KINDS: dict[str, type[Operation]] = {
    **dict.fromkeys([*UNARY, *BINARY, "Square", "Rsqrt", "Clip"], Elementwise),
    **dict.fromkeys(REDUCTIONS, Reduction),
    **dict.fromkeys(_MOVES, Movement),
}
"""Keras's names of the operations that are known."""
