"""Output for people and machines: tables, JSON, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any


def print_json(value: Any) -> None:
    """One JSON object on stdout. NaN and infinities, which JSON has not, are null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


_WIDEST = 64
"""Characters of a name in a table. Exporters join the names of all that they have fused."""


def _short(name: str) -> str:
    """The ends of a long name."""
    half = (_WIDEST - 3) // 2
    return name if len(name) <= _WIDEST else f"{name[:half]}...{name[-half:]}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[str] = ()) -> None:
    """Aligned columns under a header, names in the first one; the columns named in `right` are aligned right."""
    cells = [[_short(str(row[0])), *map(str, row[1:])] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if h in right else c.ljust(w) for c, w, h in zip(row, widths, header, strict=True))
        return "  ".join(padded).rstrip()

    print(line(cells[0]))
    print("  ".join("-" * width for width in widths))
    for row in cells[1:]:
        print(line(row))


class Progress:
    """What long work is doing: a spinner on a terminal, plain lines elsewhere. All of it goes to stderr."""

    def __init__(self, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose = verbose
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def note(self, text: str) -> None:
        """A line, unless quiet."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """A line under -v."""
        if self.verbose:
            self.note(text)

    def _line(self, text: str) -> None:
        name = text.partition("  ")[0]
        if name != self._last:
            self._last = name
            self.note(f"{name} ...")

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """A function to call with the name of each step as it begins. What follows a second space, such as a count,
        is for terminals only."""
        if self._quiet:
            yield lambda text: None
        elif self._terminal:
            from rich.console import Console

            with Console(stderr=True).status("") as status:
                yield lambda text: status.update(f"{text} ...")
        else:
            yield self._line


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
