"""Symbolic tensors, and the calls of layers that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from convc.frontends.dsl.layer import Layer

Shape: TypeAlias = tuple[int | None, ...]
"""Channels last, the batch first; None is a size that is fixed when the model is compiled."""


@dataclass(eq=False)
class Node:
    """One call of a layer; `index` counts the layer's calls."""

    layer: Layer
    inputs: list[SymbolicTensor]
    index: int
    outputs: list[SymbolicTensor] = field(default_factory=list)


@dataclass(eq=False)
class SymbolicTensor:
    """What a layer returns when a model is described: a shape and where it comes from, but no elements."""

    shape: Shape
    node: Node
    index: int = 0
    dtype: str = "float32"

    @property
    def layer(self) -> Layer:
        """The layer whose call returned it."""
        return self.node.layer

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, from layer '{self.layer.name}'>"


def connect(layer: Layer, inputs: Sequence[SymbolicTensor], shapes: Sequence[Shape], index: int) -> Node:
    """A node whose outputs have these shapes."""
    node = Node(layer, list(inputs), index)
    node.outputs = [SymbolicTensor(shape, node, i) for i, shape in enumerate(shapes)]
    return node
