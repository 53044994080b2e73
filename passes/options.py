"""Checks made before a pass runs: of the options that it takes as text, and of the module that it finds."""

from __future__ import annotations

from collections.abc import Sequence


class OrderError(Exception):
    """A pass was asked to run on a module as another one leaves it, which it cannot; the message is one line."""


def one_of(name: str, option: str, value: str, allowed: Sequence[str]) -> None:
    """Raises ValueError unless a pass's option has one of the values allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: expected {option} to be one of {', '.join(allowed)}, got {value}")


def positive(name: str, option: str, value: int) -> None:
    """Raises ValueError unless a pass's option is at least 1."""
    if value < 1:
        raise ValueError(f"{name}: expected {option} of at least 1, got {value}")
