"""Checks of the options that passes take as text, made before a pass runs."""

from __future__ import annotations

from collections.abc import Sequence


def one_of(name: str, option: str, value: str, allowed: Sequence[str]) -> None:
    """Raises ValueError unless a pass's option has one of the values allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: expected {option} to be one of {', '.join(allowed)}, got {value}")


def positive(name: str, option: str, value: int) -> None:
    """Raises ValueError unless a pass's option is at least 1."""
    if value < 1:
        raise ValueError(f"{name}: expected {option} of at least 1, got {value}")
