"""What a model holds that convc cannot take, gathered so that the user hears of all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import onnx
from xdsl.ir import BlockArgument, Operation, SSAValue

from convc.frontends.onnx.problem import ImportProblem, node_name, operator_name, problem
from convc.frontends.onnx.registry import MustBeKnown

SHOWN = 8
"""Refused nodes, or values before them, in one message; more are counted."""


_REASONS = {
    "the shape of its result follows from computed values, and shapes are static": (
        "NonMaxSuppression",
        "NonZero",
        "Unique",
    ),
    "a program is a fixed list of kernels: no loops over computed values": ("Loop", "Scan"),
    "results are a function of the inputs: no random numbers": (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ),
}
"""Why some operators of ONNX are not supported."""
_REASON = {operator: reason for reason, operators in _REASONS.items() for operator in operators}


class Refusals:
    """Unsupported operators by type, and nodes refused for another reason, in the order of the graph."""

    def __init__(self) -> None:
        self._operators: dict[str, list[str]] = {}
        self._nodes: dict[str, None] = {}
        self._cause: Exception | None = None
        self._unknown: list[SSAValue] = []

    def unsupported(self, node: onnx.NodeProto) -> None:
        """A node of an operator that there is no way to import."""
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
        if isinstance(error, MustBeKnown):
            self._unknown += error.values

    def message(self) -> str:
        """All that was gathered, in one line; empty if nothing was."""
        parts = []
        if self._operators:
            listed = "; ".join(_unsupported(name, nodes) for name, nodes in self._operators.items())
            parts.append(f"unsupported operators: {listed}")
        parts += list(self._nodes)[:SHOWN]
        if (rest := len(self._nodes) - SHOWN) > 0:
            parts.append(f"and {rest} more")
        return "; ".join(parts)

    def __bool__(self) -> bool:
        return bool(self._operators or self._nodes)

    def raise_all(self, inputs: Sequence[str], ends: Sequence[str]) -> NoReturn:
        """Raise one ImportProblem for all that was gathered. `inputs` names the module's arguments, `ends` the values
        that a part of the model without what was refused ends with."""
        message = self.message()
        if ends and (self._operators or self._unknown):
            message += f"; {_part(ends)}"
        wanted = (inputs[argument.index] for argument in _arguments(self._unknown))
        raise ImportProblem(message, wanted) from self._cause


def _part(ends: Sequence[str]) -> str:
    """How to build the part of a model that ends with some values."""
    if len(ends) > SHOWN:
        return f"--outputs NAME,... builds a part of the model: {len(ends)} values lie before what was refused"
    return f"what comes before that can be built: --outputs {','.join(ends)}"


def _unsupported(name: str, nodes: list[str]) -> str:
    reason = _REASON.get(name)
    return f"{name} ({_listed(nodes)}{f': {reason}' if reason else ''})"


def _listed(nodes: list[str]) -> str:
    shown = ", ".join(nodes[:3])
    return f"{len(nodes)} nodes: {shown}{', ...' if len(nodes) > 3 else ''}" if len(nodes) > 1 else f"node {shown}"


def _arguments(values: Iterable[SSAValue]) -> set[BlockArgument]:
    """The arguments that some values are computed from."""
    pending, seen = list(values), set[SSAValue]()
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            pending += value.owner.operands if isinstance(value.owner, Operation) else ()
    return {value for value in seen if isinstance(value, BlockArgument)}
