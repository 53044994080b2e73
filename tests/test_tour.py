"""docs/tour.md shows what convc prints: its blocks are run here, in order and in one folder.

A `console` block holds commands (`$ convc ...`, `$ cat FILE`, `$ diff A B`) and what they print, a `pycon` block a
session of Python. Both may be cut: `...` stands for any text within a line, a line of it for any lines.
"""

from __future__ import annotations

import code
import contextlib
import difflib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from convc.cli.main import main
from convc.passes.registry import PASSES
from convc.pipeline import phases
from convc.runtime import lacking
from convc.targets.target import parse_target

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.md"
BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(?:\$ |>>> )", re.MULTILINE)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the model in it, no measurements, and one core, as the text says."""
    shutil.copy(ROOT / "examples" / "tour.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield tmp_path
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(bool(lacking(parse_target("cpu:haswell").to_dict())), reason="it runs what it builds for AVX2")
def test_every_block_is_what_convc_prints(place):
    python = code.InteractiveInterpreter({"__name__": "tour"})
    for line, asked, shown in steps(TOUR.read_text()):
        printed = shell(asked) if isinstance(asked, list) else session(python, asked)
        assert matches(shown, printed), f"docs/tour.md:{line}: {asked}\n" + "\n".join(
            difflib.unified_diff(shown.splitlines(), printed.splitlines(), "shown", "printed", lineterm="")
        )


def test_every_file_that_it_names_exists():
    named = set(re.findall(r"`([a-z_/]+/[a-z0-9_/]+(?:\.[a-z]+|/))`", TOUR.read_text()))
    assert named
    assert not {name for name in named if not (ROOT / name).exists()}


def test_it_names_every_pass():
    passes = {
        name
        for target, precision in (("cpu:haswell", "fp32"), ("cuda:sm_90a", "fp16"))
        for _, text in phases(3, parse_target(target), precision)
        for name in re.findall(r"(?:^|,)([a-z-]+)(?=[{,]|$)", re.sub(r"\{[^}]*\}", "{", text))
    }
    assert passes == set(PASSES)
    assert not {name for name in passes if f"`{name}`" not in TOUR.read_text()}


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a ... d\n", "a b c d\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a ... d\n", "a b\nc d\n", False),
        ("a\n", "a\nb\n", False),
        ("...\nd\n", "abcd\n", False),
    ],
)
def test_what_is_cut_may_be_anything(shown, printed, agree):
    assert matches(shown, printed) is agree


def steps(text: str) -> Iterator[tuple[int, list[str] | str, str]]:
    """(line, words of a command or a statement of Python, what it is shown to print) of each prompt."""
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(2)) + 1
        begins = [match.start() for match in PROMPT.finditer(block[2])]
        assert begins[:1] == [0], f"docs/tour.md:{first}: expected a prompt"
        for begin, end in zip(begins, [*begins[1:], len(block[2])]):
            lines = block[2][begin:end].splitlines(keepends=True)
            typed = 1
            while typed < len(lines) and lines[typed].startswith(("    ... ", "... ")) and block[1] == "pycon":
                typed += 1
            asked = "".join(line[4:] if block[1] == "pycon" else line[2:] for line in lines[:typed])
            where = first + block[2].count("\n", 0, begin)
            yield where, shlex.split(asked) if block[1] == "console" else asked, "".join(lines[typed:])


def shell(words: list[str]) -> str:
    """What a command prints on stdout, run in this process."""
    if words[0] == "cat":
        return Path(words[1]).read_text()
    if words[0] == "ls":
        return "".join(f"{path.name}\n" for path in sorted(Path(words[1]).iterdir()))
    assert words[0] == "convc", words
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(words[1:]) == 0, words
    return printed.getvalue()


def session(python: code.InteractiveInterpreter, statement: str) -> str:
    """What a statement prints, an expression's value included."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        more = python.runsource(statement, symbol="single")
    assert not more, statement
    return printed.getvalue()


def matches(shown: str, printed: str) -> bool:
    """Whether a text is what is shown, trailing blanks of lines aside."""
    lines = [line.rstrip() for line in shown.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"[ \t]*\n"
        for line in lines
    )
    return re.fullmatch(pattern, printed) is not None
