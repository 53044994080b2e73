"""A graph of layer calls between tensors, in the order in which Keras lists layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.problem import ModelError
from convc.frontends.dsl.tensor import Node, SymbolicTensor


class Graph:
    """The calls that lead from inputs to outputs. `nodes` and `layers` are sorted by depth, the number of calls
    between them and the furthest output, and within one depth as the search from the outputs met them.

    Raises ModelError if an output depends on an input that is not among `inputs`.
    """

    def __init__(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        found, met = _search(self.outputs)
        known = {tensor.node for tensor in self.inputs}
        for node in found:
            if not node.inputs and node not in known:
                raise ModelError(
                    f"the outputs depend on input '{node.layer.name}', which is not among the model's inputs: "
                    + ", ".join(repr(tensor.layer.name) for tensor in self.inputs)
                )
        depths, layer_depths = _depths(found)
        for tensor in self.inputs:  # an input that no output depends on
            if tensor.node not in depths:
                depths[tensor.node] = layer_depths[tensor.layer] = 0
                met[tensor.layer] = -1
        by_depth: dict[int, list[Node]] = {}
        for node, depth in depths.items():
            by_depth.setdefault(depth, []).append(node)
        self.levels = [by_depth[depth] for depth in sorted(by_depth, reverse=True)]
        self.layers = sorted(layer_depths, key=lambda layer: (-layer_depths[layer], met[layer]))

    @property
    def nodes(self) -> list[Node]:
        """Every call after those that it depends on."""
        return [node for level in self.levels for node in level]


def _search(outputs: Sequence[SymbolicTensor]) -> tuple[list[Node], dict[Layer, int]]:
    """(calls, each after those it depends on; when the depth-first search met each layer)."""
    finished: dict[Node, None] = {}
    met: dict[Layer, int] = {}
    for output in outputs:
        stack: list[tuple[Node, Iterator[SymbolicTensor]]] = []

        def enter(node: Node, stack: list[tuple[Node, Iterator[SymbolicTensor]]] = stack) -> None:
            if node not in finished:
                met.setdefault(node.layer, len(met))
                stack.append((node, iter(node.inputs)))

        enter(output.node)
        while stack:
            node, pending = stack[-1]
            tensor = next(pending, None)
            if tensor is not None:
                enter(tensor.node)
            else:
                finished.setdefault(node)
                stack.pop()
    return list(finished), met


def _depths(nodes: Sequence[Node]) -> tuple[dict[Node, int], dict[Layer, int]]:
    """The depth of each call, and of each layer, which is that of its deepest call."""
    depths: dict[Node, int] = {}
    layers: dict[Layer, int] = {}
    for node in reversed(nodes):
        # A call of a layer met at a greater depth takes that depth, as in Keras.
        depths[node] = layers[node.layer] = max(depths.get(node, 0), layers.get(node.layer, 0))
        for tensor in node.inputs:
            depths[tensor.node] = max(depths[node] + 1, depths.get(tensor.node, 0))
    return depths, layers
