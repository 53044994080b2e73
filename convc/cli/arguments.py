"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path


class UsageError(Exception):
    """A command line that cannot be carried out; the message is one line."""


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, for machines")


def add_threads(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help=f"{what} (default {default})")


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1x3x224x224",
        help="the shape of an input that the model leaves open; may be repeated",
    )


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """What decides the code that is built."""
    parser.add_argument(
        "--target", default="cpu", metavar="T", help="what to build for (default cpu: this machine); see convc targets"
    )
    add_shape(parser)
    parser.add_argument(
        "-O",
        dest="level",
        type=int,
        choices=range(4),
        default=3,
        help="0 import only, 1 simplify and fold, 2 fuse, 3 layouts and templates (default 3)",
    )


def positive(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`--shape` options by input name. Raises UsageError."""
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        if not equals or not name or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sizes):
            raise UsageError(f"--shape: expected NAME=1x3x224x224 with sizes of at least 1, got '{text}'")
        if name in found:
            raise UsageError(f"--shape: '{name}' is given two shapes")
        found[name] = tuple(map(int, sizes.split("x")))
    return found


def is_artifact(path: Path) -> bool:
    """Whether a path is an artifact's folder rather than a model's file."""
    return path.is_dir()
