"""What a model holds that convc cannot take, gathered so that the user hears of all of it at once."""

from __future__ import annotations

import onnx

from convc.frontends.onnx.problem import ImportProblem, node_name, operator_name, problem

_SHOWN = 8  # refused nodes in one message; the rest are counted


class Refusals:
    """Unsupported operators by type, and nodes refused for another reason, in the order of the graph."""

    def __init__(self) -> None:
        self._operators: dict[str, list[str]] = {}
        self._nodes: dict[str, None] = {}
        self._cause: Exception | None = None

    def unsupported(self, node: onnx.NodeProto) -> None:
        self._operators.setdefault(operator_name(node), []).append(node_name(node))

    def refuse(self, node: onnx.NodeProto, error: Exception) -> None:
        """A node that fails on its own account.

        A ValueError says what is wrong with the node, an ImportProblem what is wrong elsewhere. What else there is may
        be a fault of the node or of its converter: it stays the cause of the message.
        """
        if isinstance(error, ImportProblem):
            message = str(error)
        elif isinstance(error, ValueError):
            message = str(problem(node, error))
        else:
            message = str(problem(node, f"is malformed ({type(error).__name__}: {error})"))
            self._cause = self._cause or error
        self._nodes[message] = None

    def raise_any(self) -> None:
        """Raise one ImportProblem for all that was gathered, if anything was."""
        parts = []
        if self._operators:
            listed = "; ".join(f"{name} ({_listed(nodes)})" for name, nodes in self._operators.items())
            parts.append(f"unsupported operators: {listed}")
        parts += list(self._nodes)[:_SHOWN]
        if (rest := len(self._nodes) - _SHOWN) > 0:
            parts.append(f"and {rest} more")
        if parts:
            raise ImportProblem("; ".join(parts)) from self._cause


def _listed(nodes: list[str]) -> str:
    shown = ", ".join(nodes[:3])
    return f"{len(nodes)} nodes: {shown}{', ...' if len(nodes) > 3 else ''}" if len(nodes) > 1 else f"node {shown}"
