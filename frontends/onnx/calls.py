"""Model-local functions: how much the model holds once each call is replaced by the function's body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import onnx

from convc.frontends.onnx.problem import ImportProblem, operator_name

Functions: TypeAlias = Mapping[tuple[str, str, str], onnx.FunctionProto]
"""By domain, name and overload."""

_MAX_NODES = 1 << 17  # a hundred times what large networks have
_MAX_LEVELS = 64  # a converted call takes a few frames of Python's stack


def local_functions(model: onnx.ModelProto) -> Functions:
    """The functions of a model. Raises ImportProblem where its calls have no end, or multiply beyond measure.

    A function that calls another ten times, which calls another ten times, fits into a hundred bytes a level.
    """
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    count, _ = _expanded(model.graph.node, functions, {}, 0)
    if count > _MAX_NODES:
        raise ImportProblem(
            f"expected at most {_MAX_NODES} nodes, the model has {count} once its functions are expanded"
        )
    return functions


def called(node: onnx.NodeProto) -> tuple[str, str, str]:
    """The function that a node would call."""
    return node.domain, node.op_type, node.overload


def nested(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of all graphs within them, such as the branches of an `If`."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            pending.extend(attribute.g.node)
            for graph in attribute.graphs:
                pending.extend(graph.node)


def _expanded(
    nodes: Iterable[onnx.NodeProto],
    functions: Functions,
    known: dict[tuple[str, str, str], tuple[int, int]],
    level: int,
) -> tuple[int, int]:
    """(nodes, levels of calls) of a body with its calls expanded; `known` remembers those of functions."""
    count, deepest = 0, 0
    for node in nested(nodes):
        count += 1
        key = called(node)
        if key not in functions:
            continue
        if key not in known:
            if level >= _MAX_LEVELS:
                raise _endless(node)
            known[key] = _expanded(functions[key].node, functions, known, level + 1)
        count, deepest = count + known[key][0], max(deepest, 1 + known[key][1])
        if deepest > _MAX_LEVELS:
            raise _endless(node)
    return count, deepest


def _endless(node: onnx.NodeProto) -> ImportProblem:
    return ImportProblem(
        f"expected calls at most {_MAX_LEVELS} deep, those of function {operator_name(node)} go deeper"
    )
