"""The types of a graph's inputs: every axis is an integer by the time they leave here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from xdsl.dialects.builtin import TensorType

from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.tensors import element_dtype
from convc.ir.attributes import tensor
from convc.ir.dtypes import from_numpy
from convc.notation import shape_text

MAX_ELEMENTS = 1 << 31
"""The most of one tensor: more than any network needs, less than an index can hold."""


@dataclass(frozen=True)
class _Declared:
    """An input as the model declares it: each axis a size, a name (a symbolic dimension), or "?"."""

    name: str
    dims: tuple[int | str, ...] | None
    empty: frozenset[int]
    """Axes that are declared 0: empty if a given shape says so too, unknown otherwise (old exporters)."""

    def __str__(self) -> str:
        return "unknown" if self.dims is None else shape_text(self.dims)


def input_types(
    values: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]], weights: Iterable[str] = ()
) -> dict[str, TensorType]:
    """The type of each input by name.

    `shapes` fixes symbolic axes. An input that it leaves out takes the sizes that the others give the symbolic
    dimensions it shares with them. Raises ImportProblem.
    """
    names = [value.name for value in values]
    for name in shapes:
        if name in weights:
            raise ImportProblem(f"a shape is given for '{name}', which is a weight; the inputs are {', '.join(names)}")
        if name not in names:
            raise ImportProblem(f"a shape is given for '{name}', but the inputs are {', '.join(names) or 'none'}")
    if len(set(names)) != len(names) or "" in names:
        raise ImportProblem(f"expected inputs with a name each, got {', '.join(map(repr, names))}")
    declared = [_declare(value) for value in values]
    fixed = {value.name: _fix(value, shapes[value.name]) for value in declared if value.name in shapes}
    sizes = _symbolic_sizes(declared, fixed)
    for value in declared:
        if value.name not in fixed:
            fixed[value.name] = _fix(value, _infer(value, sizes))
    return {value.name: _type(value, fixed[value.name]) for value in values}


def _declare(value: onnx.ValueInfoProto) -> _Declared:
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type")
        raise ImportProblem(f"expected tensors as inputs, '{value.name}' is of the type {kind}")
    if not value.type.tensor_type.HasField("shape"):
        return _Declared(value.name, None, frozenset())
    dims = value.type.tensor_type.shape.dim
    sizes = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?" for dim in dims
    )
    empty = frozenset(axis for axis, dim in enumerate(dims) if dim.HasField("dim_value") and dim.dim_value == 0)
    return _Declared(value.name, sizes, empty)


def _fix(value: _Declared, given: Sequence[int]) -> tuple[int, ...]:
    """The shape that is given, if the declared one allows it."""
    shape = tuple(int(size) for size in given)
    if prod(shape) > MAX_ELEMENTS:
        raise ImportProblem(f"expected at most {MAX_ELEMENTS} elements, input '{value.name}' has {shape_text(shape)}")
    fits = value.dims is None or (
        len(shape) == len(value.dims)
        and all(not isinstance(dim, int) or dim == size for dim, size in zip(value.dims, shape))
    )
    if not fits or any(size < (0 if axis in value.empty else 1) for axis, size in enumerate(shape)):
        raise ImportProblem(f"input '{value.name}' has the shape {value}, got {shape_text(shape)}")
    return shape


def _symbolic_sizes(declared: Sequence[_Declared], fixed: Mapping[str, Sequence[int]]) -> dict[str, dict[int, str]]:
    """The sizes that the given shapes give each symbolic dimension, and which input it was.

    Exporters call unrelated axes by one name now and then ("None", "dim"), so several sizes are no error: they
    merely decide nothing.
    """
    sizes: dict[str, dict[int, str]] = {}
    for value in declared:
        for dim, size in zip(value.dims or (), fixed.get(value.name, ())):
            if isinstance(dim, str) and dim != "?":
                sizes.setdefault(dim, {}).setdefault(size, value.name)
    return sizes


def _infer(value: _Declared, sizes: Mapping[str, Mapping[int, str]]) -> list[int]:
    """The shape of an input that none is given for."""
    found = [dim if isinstance(dim, int) else _only(sizes.get(dim, {})) for dim in value.dims or ()]
    shape = [size for size in found if size is not None]
    if value.dims is not None and len(shape) == len(value.dims):
        return shape
    example = shape_text([size or 1 for size in found]) if value.dims else "1x3x224x224"
    reasons = [
        f" ({dim} is {' and '.join(f'{size} in {name!r}' for size, name in sizes[dim].items())})"
        for dim in value.dims or ()
        if isinstance(dim, str) and len(sizes.get(dim, ())) > 1
    ]
    reason = reasons[0] if reasons else ""
    raise ImportProblem(
        f"input '{value.name}' has the symbolic shape {value}{reason}: fix it with --shape {value.name}={example}"
    )


def _only(sizes: Mapping[int, str]) -> int | None:
    return next(iter(sizes)) if len(sizes) == 1 else None


def _type(value: onnx.ValueInfoProto, shape: Sequence[int]) -> TensorType:
    try:
        return tensor(from_numpy(element_dtype(value.type.tensor_type.elem_type)), shape)
    except ValueError as error:
        raise ImportProblem(f"input '{value.name}': {error}") from None
