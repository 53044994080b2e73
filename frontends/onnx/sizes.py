"""The sizes that exporters write into a graph, made to follow where its inputs get other shapes than they declare.

    x: 1x8x7x7 -> Reshape to 1x392    =>    x: 4x8x7x7 -> Reshape to 4x392

The shape in a Reshape follows from that of its input where the axes on both sides can be told apart: by groups of axes
with equal products, a batch outermost in its group. The sizes in a Resize keep their ratio to those of its input, or
are those of what the result is joined with. What is computed from shapes needs no help, and what is written elsewhere
(a Slice's bounds, a table of positions) stays: the importer says where it does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import onnx

from convc.frontends.onnx.inputs import MAX_ELEMENTS
from convc.frontends.onnx.registry import static_shape
from convc.frontends.onnx.scope import Known, Refused, Scope
from convc.notation import shape_text

Shape = tuple[int, ...]

POSITIONS: Mapping[str, int] = {"Reshape": 1, "Resize": 3}
"""The input that holds sizes, by operator."""


def contradicted(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The inputs that are declared with other sizes than those given for them, which they could have, with the shape
    declared."""
    found = {}
    for value in model.graph.input:
        declared = [max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim]  # old exporters write -1
        given = shapes.get(value.name, ())
        if len(declared) == len(given) and min(given, default=1) > 0 and prod(given) <= MAX_ELEMENTS:
            shape = tuple(size or want for size, want in zip(declared, given))
            if shape != tuple(given):
                found[value.name] = shape
    return found


def declared_as(value: onnx.ValueInfoProto, shape: Sequence[int]) -> onnx.ValueInfoProto:
    """An input declared with other sizes."""
    changed = onnx.ValueInfoProto()
    changed.CopyFrom(value)
    for dim, size in zip(changed.type.tensor_type.shape.dim, shape):
        dim.dim_value = size
    return changed


class Sizes:
    """The sizes of a graph's nodes at the shapes that its inputs declare, and what they become at others."""

    def __init__(self, before: Scope) -> None:
        """`before` is the graph's scope after an import at the declared shapes."""
        self._shapes = {
            name: static_shape(value)
            for name, value in before.values.items()
            if value is not None and not isinstance(value, Refused)
        }
        self._written: dict[str, list[int]] = {}
        for node in before.nodes:
            name = _sizes_input(node)
            if name and before.defines(name) and isinstance(array := before.find(name), np.ndarray):
                self._written[node.output[0]] = array.reshape(-1).tolist()
        self.changed: dict[str, list[int]] = {}
        """The sizes that became others so far, by the output of their node."""

    def fitted(self, node: onnx.NodeProto, inputs: Sequence[Known], scope: Scope) -> Sequence[Known]:
        """The inputs of a node, its sizes such as follow from the others. Raises ValueError."""
        if not _sizes_input(node) or inputs[0] is None or isinstance(inputs[0], Refused):
            return inputs
        position, result = POSITIONS[node.op_type], node.output[0]
        now, sizes, written = static_shape(inputs[0]), inputs[position], self._written.get(result)
        source, target = self._shapes.get(node.input[0]), self._shapes.get(result)
        if source is None or target is None or len(source) != len(now):
            return inputs
        if not isinstance(sizes, np.ndarray) or sizes.reshape(-1).tolist() != written:  # computed, maybe from a shape
            return inputs
        resize = node.op_type == "Resize"
        fresh = self._resized(node, source, now, target, scope) if resize else follow(source, target, now)
        if fresh is None and -1 not in written:
            raise ValueError(
                f"it makes {shape_text(target)} of {shape_text(source)}, and nothing says what of {shape_text(now)}"
            )
        if fresh is None or fresh == target:
            return inputs
        axes = next((attribute.ints for attribute in node.attribute if attribute.name == "axes"), range(len(fresh)))
        self.changed[result] = [fresh[axis] for axis in axes]
        return [*inputs[:position], np.array(self.changed[result], np.int64), *inputs[position + 1 :]]

    def _resized(self, node: onnx.NodeProto, source: Shape, now: Shape, target: Shape, scope: Scope) -> Shape:
        """Sizes in the ratio that they had. An axis that stays as it was, as that of an image pooled to one pixel
        does, is resized to what the result is concatenated with."""
        sizes = [
            new * size // old if old != new and new * size % old == 0 else size
            for old, new, size in zip(source, now, target)
        ]
        for user in scope.nodes:
            if user.op_type != "Concat" or node.output[0] not in user.input:
                continue
            axis = next(attribute.i for attribute in user.attribute if attribute.name == "axis") % len(target)
            for name in user.input:
                old, new = self._shapes.get(name), scope.values.get(name)
                if old is None or new is None or isinstance(new, Refused) or len(old) != len(target):
                    continue
                for i, size in enumerate(static_shape(new)):
                    if i != axis and source[i] == now[i] and old[i] == target[i]:
                        sizes[i] = size
        return tuple(sizes)


def _sizes_input(node: onnx.NodeProto) -> str:
    """The name of a node's sizes; empty if it has none."""
    position = POSITIONS.get(node.op_type, 0) if node.domain in ("", "ai.onnx") else 0
    return node.input[position] if position and len(node.input) > position else ""


def follow(source: Shape, target: Shape, now: Shape) -> Shape | None:
    """The target that a Reshape from `source` to `target` has for an input of the shape `now`; None if the axes that
    changed cannot be told apart.

        1x116x28x28 -> 1x2x58x28x28, now 4x116x32x32    =>    4x2x58x32x32
    """
    result: list[int] = []
    for before, after in _groups(source, target):
        old, new, size = source[before], now[before], target[after]
        if new == old:
            result += size
        elif len(size) == 1:
            result.append(prod(new))
        elif new[1:] == old[1:] and 1 in (old[0], *size[:1]) and new[0] % old[0] == 0:  # a batch of one, outermost
            result += [size[0] * new[0] // old[0], *size[1:]]
        else:
            return None
    return tuple(result)


def _groups(source: Shape, target: Shape) -> Iterator[tuple[slice, slice]]:
    """The shortest runs of axes on both sides that hold equally many elements."""
    i = j = 0
    while i < len(source) and j < len(target):
        first, second = i, j
        i, j = i + 1, j + 1
        while (left := prod(source[first:i])) != (right := prod(target[second:j])):
            if left < right and i < len(source):
                i += 1
            elif j < len(target):
                j += 1
            else:
                i, j = len(source), len(target)
                break
        if j == len(target):  # axes of 1 at the end go with what is before them
            i = len(source)
        yield slice(first, i), slice(second, j)
    if i < len(source) or j < len(target):
        yield slice(i, None), slice(j, None)
