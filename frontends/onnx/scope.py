"""The names that a node sees: those of its graph, branch or function body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np
import onnx

from convc.frontends.onnx.calls import nested
from convc.frontends.onnx.problem import node_name
from convc.frontends.onnx.registry import Value
from convc.frontends.onnx.tensors import Initializers


class Refused(Enum):
    """Stands for the results of a node that could not be imported: what reads them is passed over in silence."""

    COMPUTED = "computed"
    STATIC = "static"  # would be known at import: shape arithmetic


Known: TypeAlias = Value | Refused | None
"""What a name stands for; None is an optional input that the caller of a function left out."""


def refused(node: onnx.NodeProto, inputs: Sequence[Known]) -> Refused:
    """What the results of a node are that cannot be imported."""
    static = all(value is None or value is Refused.STATIC or isinstance(value, np.ndarray) for value in inputs)
    return Refused.STATIC if static or node.op_type in ("Shape", "Size") else Refused.COMPUTED


@dataclass
class Scope:
    """The values of one graph by name. A branch of an `If` sees those of the graph around it too."""

    nodes: Sequence[onnx.NodeProto]
    opsets: Mapping[str, int]
    initializers: Initializers
    outputs: Sequence[str]
    attributes: Mapping[str, onnx.AttributeProto] | None = None
    """In a function's body, what the call gives its attributes."""
    outer: Scope | None = None
    values: dict[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = live_nodes(self.nodes, self.outputs)
        """The nodes that some output needs: others may be whatever they are."""
        self.used = names_read(self.live, self.outputs)
        """Every name that one of those reads or that is an output: other results need not be computed."""

    def find(self, name: str) -> Known:
        """The value of a name. Raises ValueError where there is none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            if name in scope.initializers:
                return scope.initializers[name]
            scope = scope.outer
        for node in self.nodes:
            if name in node.output:
                place = f"which is computed only later, by node '{node_name(node)}' ({node.op_type})"
                raise ValueError(f"reads '{name}', {place}: expected nodes in topological order")
        raise ValueError(f"reads '{name}', which is nowhere defined")

    def defines(self, name: str) -> bool:
        """Whether this scope itself has the name, not one around it."""
        return name in self.values or name in self.initializers

    def bound(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The node with the attributes that its function's caller gives; those that it leaves out are dropped."""
        if self.attributes is None or not any(attribute.ref_attr_name for attribute in node.attribute):
            return node
        result = onnx.NodeProto()
        result.CopyFrom(node)
        del result.attribute[:]
        for attribute in node.attribute:
            given = self.attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if given is not None:
                copy = result.attribute.add()
                copy.CopyFrom(given)
                copy.name = attribute.name
        return result


def live_nodes(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in their order. Of a name that is defined twice, both are its makers."""
    makers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            makers.setdefault(name, []).append(index)
    pending, live = list(outputs), set[int]()
    while pending:
        for index in makers.pop(pending.pop(), ()):
            if index not in live:
                live.add(index)
                pending += filter(None, names_read([nodes[index]], ()))
    return [nodes[index] for index in sorted(live)]


def names_read(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> frozenset[str]:
    """The names that a graph's nodes read, those in their branches and bodies among them, and its outputs."""
    names = set(outputs)
    for node in nested(nodes):
        names.update(node.input)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                names.update(output.name for output in graph.output)
    return frozenset(names)
