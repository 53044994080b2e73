"""Tensor maps as parameters of device functions. What is said of one is in the host's part of a function, as text that
the runtime is handed: nothing of that part is compiled."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import ir, tirx

from convc.runtime.cuda.launch import TensorMap

_ENCODE = "convc.tensor_map"


def tensor_map(
    name: str, buffer: Any, shape: Sequence[int], strides: Sequence[int], box: Sequence[int], steps: Sequence[int]
) -> tirx.Var:
    """The map of a kernel's operand, before the loops over blocks; see `TensorMap` for what it is made of."""
    variable = T.bind(T.tvm_stack_alloca("tensormap", 1), var=tirx.Var(name, T.TensorMap().ty))
    text = json.dumps({"shape": shape, "strides": strides, "box": box, "steps": steps})
    T.evaluate(T.call_packed(_ENCODE, variable, buffer.data, text))
    return variable


def address_of(variable: tirx.Var) -> Any:
    """Where a device function has a map."""
    return T.reinterpret("handle", T.address_of(variable))


def read_tensor_map(value: Any, operand: Callable[[Any], Any]) -> tuple[tirx.Var, TensorMap] | None:
    """The map that a host's call makes, and its variable; None if it makes none. `operand` numbers operands."""
    if not isinstance(value, ir.Call) or not value.args or not isinstance(value.args[0], ir.StringImm):
        return None
    name, *rest = value.args
    if name.value != _ENCODE:
        return None
    variable, data, text = rest
    return variable, TensorMap(operand(data), **{key: tuple(n) for key, n in json.loads(text.value).items()})
