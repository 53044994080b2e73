"""The elementwise functions as tensor expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import tirx

from convc.ir.functions import Fn


def apply(fn: Fn, operands: Sequence[Any], params: Mapping[str, float]) -> Any:
    """The value of `fn` at scalar expressions."""
    if fn is Fn.RELU:
        return tirx.max(operands[0], tirx.const(0, operands[0].ty.dtype))
    if fn is Fn.ADD:
        return operands[0] + operands[1]
    raise NotImplementedError(f"the elementwise function {fn} has no tensor expression")
