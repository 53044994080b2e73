"""The one exception of the frontend, and how its messages name a node."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


class ImportProblem(Exception):
    """A model that convc cannot take; the message says what was expected, what was found, and where.

    `inputs` are the graph inputs that some node needs to know at import (a shape, axes): with their values as
    `constants` the model may be taken."""

    def __init__(self, message: str, inputs: Iterable[str] = ()) -> None:
        super().__init__(" ".join(message.split()))  # one line, whatever names and foreign messages hold
        self.inputs = frozenset(inputs)


def node_name(node: onnx.NodeProto) -> str:
    """The node's name, or its first output where exporters leave nodes unnamed."""
    return node.name or next(iter(filter(None, node.output)), "?")


def operator_name(node: onnx.NodeProto) -> str:
    """The operator with its domain: `Conv`, `com.microsoft.FusedConv`."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def problem(node: onnx.NodeProto, reason: object) -> ImportProblem:
    """The error for a node: its name and operator, then the reason."""
    return ImportProblem(f"node '{node_name(node)}' ({operator_name(node)}): {reason}")
