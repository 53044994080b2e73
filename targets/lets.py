"""Names for subexpressions that are used more than once."""

from __future__ import annotations

from typing import Any

from tvm import tirx


class Lets:
    """Collects `let name = value` around an expression. Without names a chain of functions, each using its operand
    k times, would be an expression of k**n nodes."""

    def __init__(self) -> None:
        self._bound: list[tuple[tirx.Var, Any]] = []

    def __call__(self, value: Any) -> Any:
        """A name for `value`, or the value itself if it is one already."""
        if isinstance(value, tirx.Var | tirx.FloatImm | tirx.IntImm):
            return value
        name = tirx.Var("t", value.ty)
        self._bound.append((name, value))
        return name

    def result(self, body: Any) -> Any:
        """The body, inside all names given so far."""
        for name, value in reversed(self._bound):
            body = tirx.Let(name, value, body)
        return body
