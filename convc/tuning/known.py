"""Choices that ship with convc: the fastest candidate of each form of some kernels, for common processors and GPUs.

`known.json` holds, by processor and number of threads, for the digest of a kernel's text: the template, its
configuration and the time in ns. `convc tune --export` writes the choices of a model into such a file, beside those
that it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from convc.targets.measurements import Record, TuningError
from convc.tuning.database import digest

if TYPE_CHECKING:
    from convc.targets.target import AnyTarget

FORMAT = 1
PATH = Path(__file__).with_name("known.json")

_Table: TypeAlias = dict[str, dict[str, list[Any]]]


def known_choices(target: AnyTarget, threads: int, path: Path | None = None) -> dict[str, Record]:
    """The choices in a file (None: the one that ships) for a target, by digest of the kernel's text. Raises TuningError
    for any other file."""
    entries = _read(path or PATH).get(_processor(target, threads), {})
    return {key: Record(template, config, "ok", ns) for key, (template, config, ns) in entries.items()}


def check_export(path: Path) -> None:
    """Raises TuningError or OSError where `export` could not write into a file."""
    if path.exists():
        _read(path)
    elif not path.absolute().parent.is_dir():
        raise TuningError(f"cannot export to {path}: {path.parent} is no folder")


def export(path: Path, target: AnyTarget, threads: int, choices: Iterable[tuple[str, Record]]) -> None:
    """Write choices, given with their kernels' texts, into a file; what it knows of other kernels, processors and
    numbers of threads stays. Raises TuningError for a file of another kind."""
    table = _read(path) if path.exists() else {}
    found = {digest(text): [record.template, dict(record.config), round(record.ns)] for text, record in choices}
    key = _processor(target, threads)
    table[key] = table.get(key, {}) | found
    parts = [f"{json.dumps(key)}: {{\n{_lines(table[key])}\n}}" for key in sorted(table)]
    text = f'{{"format": {FORMAT}, "choices": {{\n' + ",\n".join(parts) + "\n}}\n"
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _lines(entries: dict[str, list[Any]]) -> str:
    """A line a kernel, so that changes to the file can be read."""
    return ",\n".join(f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries))


def _processor(target: AnyTarget, threads: int) -> str:
    """What choices carry over to; `threads` is 0 on a GPU."""
    return target.processor + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")


def _read(path: Path) -> _Table:
    try:
        found = json.loads(path.read_bytes())
        if found["format"] == FORMAT:
            return dict(found["choices"])
    except (ValueError, KeyError, TypeError):
        pass
    raise TuningError(f"{path} is no file that convc tune --export wrote, or one of another version")
