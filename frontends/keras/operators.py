"""Operators among layers, such as `x + y`, `2 * x` and `ops.relu(x)`, as layers of the DSL or of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from convc.frontends import dsl
from convc.frontends.dsl import activations
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.naming import snake_case
from convc.frontends.keras.operations import KINDS, Elementwise

Config: TypeAlias = Mapping[str, Any]

_ARRAYS = ("__tensor__", "__numpy__")
_CONSTANTS = (*_ARRAYS, "__slice__", "__ellipsis__")


def is_tensor(argument: Any) -> bool:
    return _class(argument) == "__keras_tensor__"


def is_constant(argument: Any) -> bool:
    """A number, an array, or a part of an index."""
    return argument is None or isinstance(argument, int | float) or _class(argument) in _CONSTANTS


def _class(argument: Any) -> str:
    return str(argument.get("class_name")) if isinstance(argument, Mapping) else ""


def operator(entry: Config) -> dsl.Layer | None:
    """The layer for an operator's configuration and the arguments of its call, or None for one that has none."""
    kind, calls = entry["class_name"], entry["inbound_nodes"]
    if len(calls) != 1:
        return None
    config = {key: value for key, value in entry["config"].items() if key not in ("name", "dtype")}
    name, arguments = str(entry["config"].get("name")), calls[0]["args"]
    if kind in KINDS:
        return _operation(kind, config, name, arguments)
    if kind == "Concatenate":
        return dsl.Concatenate(config["axis"], name=name)
    if kind == "LeakyRelu":
        return dsl.LeakyReLU(config["negative_slope"], name=name)
    if kind == "Softmax":
        return dsl.Softmax(config["axis"], name=name)
    if kind == "Gelu":
        return dsl.Activation(_GELU if config["approximate"] else "gelu", name=name)
    activation = activations.known(snake_case(kind))
    return dsl.Activation(activation, name=name) if activation and not config and len(arguments) == 1 else None


def _operation(kind: str, config: dict[str, Any], name: str, arguments: list[Any]) -> dsl.Layer | None:
    if kind == "GetItem":
        key = _key(arguments[1])
        return None if key is None else KINDS[kind](kind, [None], {"key": key}, name)
    if kind == "Pad" and config["mode"] not in ("constant", "reflect"):
        return None
    operands: list[np.ndarray | None] = []
    for argument in arguments:
        if is_tensor(argument) or isinstance(argument, list):
            operands.append(None)
        elif _class(argument) in _ARRAYS or isinstance(argument, int | float):
            value = argument["config"]["value"] if isinstance(argument, Mapping) else argument
            operands.append(np.asarray(value, np.float32))
        else:
            return None
    if KINDS[kind] is not Elementwise and any(operand is not None for operand in operands):
        return None
    return KINDS[kind](kind, operands, config, name)


def _key(key: Any) -> list[Any] | None:
    """The integers, slices and the ellipsis of x[...], or None for an index that holds anything else."""
    found: list[Any] = []
    for each in key if isinstance(key, list) else [key]:
        if isinstance(each, int) and not isinstance(each, bool):
            found.append(each)
        elif _class(each) == "__slice__":
            bounds = [each["config"][bound] for bound in ("start", "stop", "step")]
            if not all(bound is None or isinstance(bound, int) for bound in bounds):
                return None
            found.append(slice(*bounds))
        elif _class(each) == "__ellipsis__":
            found.append(Ellipsis)
        else:
            return None
    return found if found.count(Ellipsis) < 2 else None


def _gelu(e: Emitter, x: Value) -> Value:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))"""
    cube = e.apply("Mul", e.apply("Mul", x, x), x)
    inner = e.apply("Mul", e.apply("Add", x, e.apply("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
    return e.apply("Mul", e.apply("Mul", x, 0.5), e.apply("Add", e.apply("Tanh", inner), 1))


_GELU = activations.Activation("gelu", _gelu)
