"""Arguments of layers: checked where they are given, and named in the error."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from convc.frontends.dsl.layer import Layer


def sizes(layer: Layer, name: str, value: Any, count: int, minimum: int = 1) -> tuple[int, ...]:
    """An int, which stands for all axes, or one int an axis."""
    given = [value] * count if isinstance(value, int) else value
    try:
        found = tuple(index(size) for size in given)
    except TypeError:
        found = ()
    if len(found) != count or min(found, default=minimum) < minimum or isinstance(value, bool):
        tuple_ = f" or a tuple of {count}" if count > 1 else ""
        raise layer.problem(f"{name}: expected an integer of at least {minimum}{tuple_}, got {value!r}")
    return found


def positive(layer: Layer, name: str, value: Any) -> int:
    """An integer of at least 1."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise layer.problem(f"{name}: expected a positive integer, got {value!r}")
    return int(value)


def one_of(layer: Layer, name: str, value: Any, allowed: Sequence[str]) -> str:
    """A name, in any case."""
    if not isinstance(value, str) or value.lower() not in allowed:
        raise layer.problem(f"{name}: expected {' or '.join(map(repr, allowed))}, got {value!r}")
    return value.lower()


def number(layer: Layer, name: str, value: Any, low: float, high: float) -> float:
    """A number within bounds."""
    if not isinstance(value, int | float) or not low <= value <= high:
        raise layer.problem(f"{name}: expected a number from {low} to {high}, got {value!r}")
    return float(value)


def axis_of(layer: Layer, axis: Any, rank: int) -> int:
    """An axis counted from the front."""
    if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis < rank:
        raise layer.problem(f"axis: expected an integer in [-{rank}, {rank}) for an input of rank {rank}, got {axis!r}")
    return axis % rank


def axes_of(layer: Layer, axes: Any, rank: int) -> list[int]:
    """An axis or several, counted from the front."""
    return [axis_of(layer, axis, rank) for axis in (axes if isinstance(axes, list | tuple) else [axes])]


def pairs(layer: Layer, name: str, value: Any, count: int) -> tuple[tuple[int, int], ...]:
    """((before, after), ...), from an int for all axes, one int an axis, or one pair an axis; one axis takes a pair."""
    per_axis = [value] * count if isinstance(value, int) else [value] if count == 1 else value
    if not isinstance(per_axis, list | tuple) or len(per_axis) != count:
        raise layer.problem(
            f"{name}: expected an integer, {count} integers or {count} pairs of integers, got {value!r}"
        )
    found = [sizes(layer, name, each, 2, minimum=0) for each in per_axis]
    return tuple((before, after) for before, after in found)
