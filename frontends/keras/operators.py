"""Operators among layers: in Keras `x + y`, `2 * x` and `ops.relu(x)` are no layers, but the DSL has some for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from convc.frontends import dsl
from convc.frontends.dsl import activations
from convc.frontends.dsl.naming import snake_case

Config: TypeAlias = Mapping[str, Any]

_MERGES: dict[str, type[dsl.Layer]] = {
    "Add": dsl.Add,
    "Maximum": dsl.Maximum,
    "Minimum": dsl.Minimum,
    "Multiply": dsl.Multiply,
    "Subtract": dsl.Subtract,
}
_WITH_NUMBER: dict[str, Callable[[float], tuple[float, float]]] = {
    "Add": lambda number: (1, number),
    "Multiply": lambda number: (number, 0),
    "Subtract": lambda number: (1, -number),
    "TrueDivide": lambda number: (1 / number, 0),
}
"""(scale, offset) of a tensor and a number."""


def is_tensor(argument: Any) -> bool:
    return isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__"


def operator(entry: Config) -> dsl.Layer | None:
    """The layer for an operator's configuration and the arguments of its call, or None for one that has none."""
    kind, config, calls = entry["class_name"], entry["config"], entry["inbound_nodes"]
    if len(calls) != 1:
        return None
    name, arguments = str(config.get("name")), calls[0]["args"]
    activation = activations.known(snake_case(kind))
    if activation is not None and set(config) == {"name"} and len(arguments) == 1:
        return dsl.Activation(activation, name=name)
    if kind == "Concatenate":
        return dsl.Concatenate(config["axis"], name=name)
    if len(arguments) != 2:
        return None
    if all(map(is_tensor, arguments)):
        # Keras's operators align axes from the end, its layers from the batch on.
        alike = len({len(tensor["config"]["shape"]) for tensor in arguments}) == 1
        return _MERGES[kind](name=name) if kind in _MERGES and alike else None
    return _with_number(kind, name, *arguments)


def _with_number(kind: str, name: str, left: Any, right: Any) -> dsl.Layer | None:
    if kind in _WITH_NUMBER and isinstance(right, int | float) and (right or kind != "TrueDivide"):
        scale, offset = _WITH_NUMBER[kind](right)
        return dsl.Rescaling(scale, offset, name=name)
    if kind in ("Add", "Multiply", "Subtract") and isinstance(left, int | float):
        scale, offset = (-1, left) if kind == "Subtract" else _WITH_NUMBER[kind](left)
        return dsl.Rescaling(scale, offset, name=name)
    return None
