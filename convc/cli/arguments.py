"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import inf
from pathlib import Path

_SIZE = "[1-9][0-9]{0,17}"  # what is longer fits no 64 bits
_SIZES = f"{_SIZE}(x{_SIZE})*"
_BUILDING: dict[str, object] = {"target": "cpu", "shape": [], "outputs": [], "precision": "fp32", "level": 3}
"""What decides the code that is built, by name, where nothing is said of it."""


class UsageError(Exception):
    """A command line that cannot be carried out; the message is one line."""


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, for machines")


def add_threads(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help=f"{what} (default: {default})")


def add_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--samples", type=positive, default=3, metavar="N", help="random inputs to compare on (default 3)"
    )
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="the seed of the first (default 0)")


def add_shape(parser: argparse.ArgumentParser, *, variants: bool) -> None:
    """`--shape`, several of an input where the verb makes `variants`."""
    several = (
        "; several shapes, as in NAME=1x3x224x224,8x3x224x224 or NAME=1,8x3x224x224 (batch sizes), make a variant each"
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1x3x224x224",
        help="the shape of an input that the model leaves open, or another than it declares where the graph allows it; "
        "repeat it for other inputs" + (several if variants else ""),
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--outputs",
        action="append",
        default=[],
        metavar="NAME,...",
        help="values inside the graph to compute in place of the model's outputs: what only others need is left out, "
        "such as the selection of boxes behind a detector",
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default=_BUILDING["target"],
        metavar="T",
        help="what to build for (default cpu: this machine); see convc targets",
    )


def add_build_options(parser: argparse.ArgumentParser, *, variants: bool) -> None:
    """What decides the code that is built."""
    add_target(parser)
    add_shape(parser, variants=variants)
    add_outputs(parser)
    add_precision(parser)
    parser.add_argument(
        "-O",
        dest="level",
        type=int,
        choices=range(4),
        default=_BUILDING["level"],
        help="0 import only, 1 simplify and fold, 2 fuse, 3 layouts and templates (default 3)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "fp16", "bf16"),
        default=_BUILDING["precision"],
        help="on a GPU: tf32 rounds the factors of products; fp16 and bf16 also what lies in memory between kernels; "
        "sums are float32 always (default fp32: nothing is rounded)",
    )


def add_database(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--db",
        type=Path,
        metavar="FILE",
        help=f"the database of measurements {what} (default: convc/tuning.db in the user's cache folder)",
    )


def positive(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def natural(text: str) -> int:
    """argparse type: an integer of at least 0, as seeds are."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got '{text}'")
    return int(text)


def seconds(text: str) -> float:
    """argparse type: a positive number of seconds."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < inf:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got '{text}'")
    return found


def duration(text: str) -> float:
    """argparse type: the seconds of `90s`, `2m`, `0.5m` or `1h30m`."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", text)
    try:
        total = sum(float(part or 0) * unit for part, unit in zip(match.groups() if match else (), (3600, 60, 1)))
    except ValueError:
        total = 0
    if not total:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 2m or 1h30m, got '{text}'")
    return total


def trials_or_duration(text: str) -> tuple[int | None, float | None]:
    """argparse type: a number of trials, or a time; the other is None."""
    if text.isdecimal():
        return positive(text), None
    try:
        return None, duration(text)
    except argparse.ArgumentTypeError:
        message = f"expected a number of trials, or a time such as 90s, 2m or 1h30m, got '{text}'"
        raise argparse.ArgumentTypeError(message) from None


def shapes(texts: Iterable[str]) -> list[dict[str, tuple[int, ...]]]:
    """`--shape` options as sets of shapes by input name, one a variant to build. Raises UsageError."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        if not equals or not name or not re.fullmatch(rf"{_SIZES}(,{_SIZES})*", sizes):
            raise UsageError(f"--shape: expected NAME=1x3x224x224 with sizes of at least 1, got '{text}'")
        if name in found:
            raise UsageError(f"--shape: '{name}' is given twice; several shapes are written {name}=A,B")
        found[name] = _several(sizes)
    counts = {len(each) for each in found.values()} - {1}
    if len(counts) > 1:
        raise UsageError(f"--shape: expected one shape or equally many for each input, got {sorted(counts)}")
    columns = [each * max(counts, default=1) if len(each) == 1 else each for each in found.values()]
    return [dict(zip(found, row, strict=True)) for row in zip_longest(*columns)] or [{}]


def _several(text: str) -> list[tuple[int, ...]]:
    """`1,8x3x224` is batches 1 and 8 of 3x224."""
    parts = [tuple(map(int, part.split("x"))) for part in text.split(",")]
    *batches, last = parts
    if len(last) > 1 and all(len(part) == 1 for part in batches):
        return [(*part, *last[1:]) for part in batches] + [last]
    return parts


def one_shape(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`--shape` options of a verb that looks at one variant. Raises UsageError."""
    found = shapes(texts)
    if len(found) > 1:
        raise UsageError(f"--shape: expected one shape of an input, got {len(found)}: one variant is looked at")
    return found[0]


def refuse_build_options(arguments: argparse.Namespace) -> None:
    """Raises UsageError where something is said of how to build what is built already."""
    for name, default in _BUILDING.items():
        if getattr(arguments, name, default) != default:
            option = "-O" if name == "level" else f"--{name}"
            raise UsageError(f"{option} is for models: {arguments.path} is an artifact, which is built already")


def is_artifact(path: Path) -> bool:
    """Whether a path is an artifact's folder rather than a model's file."""
    return path.is_dir()


def names(texts: Sequence[str]) -> list[str]:
    """The parts of comma-separated lists."""
    return [name for text in texts for name in text.split(",") if name]
