"""Shapes as people read and write them."""

from __future__ import annotations

from collections.abc import Iterable


def shape_text(shape: Iterable[object]) -> str:
    """1x3x224x224, or `scalar` without axes."""
    return "x".join(map(str, shape)) or "scalar"
