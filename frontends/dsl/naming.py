"""Names of layers as Keras makes them: conv2d, conv2d_1, batch_normalization, p_re_lu."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_used: Counter[str] = Counter()


def snake_case(class_name: str) -> str:
    """`BatchNormalization` -> `batch_normalization`, `Conv2DTranspose` -> `conv2d_transpose`."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def auto_name(class_name: str) -> str:
    """The next name of a class: the first has no number, the second has 1."""
    prefix = snake_case(class_name)
    _used[prefix] += 1
    return f"{prefix}_{_used[prefix] - 1}" if _used[prefix] > 1 else prefix


def clear_session() -> None:
    """Start the numbers in automatic names anew."""
    _used.clear()


@contextmanager
def own_names() -> Iterator[None]:
    """Names made inside start anew, and do not count outside."""
    outside = _used.copy()
    _used.clear()
    try:
        yield
    finally:
        _used.clear()
        _used.update(outside)
