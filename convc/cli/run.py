"""convc run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import UsageError, add_json, add_threads, natural
from convc.cli.loading import add_emulate, load_artifact
from convc.cli.show import print_json
from convc.notation import shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from convc.runtime import Executable

HELP = "run an artifact on arrays, images or random numbers"
EXAMPLE = "convc run model.convc --input image=cat.jpg --output results"

_STEM_BYTES = 200
"""Of a file's name, which may have 255 with all that is added to it."""
_PREVIEW = 8
_CLASSES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a folder that convc build wrote")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a .npy array taken as it is, or an image: resized to the input's height and width, RGB or grey, channels "
        "first or last as the input has them, floats scaled to [0, 1]; may be repeated",
    )
    parser.add_argument(
        "--random", type=natural, metavar="SEED", help="random arrays for the inputs that are not given"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write each output to DIR/NAME.npy")
    add_threads(parser, "threads to run on", "as built, or all cores")
    add_emulate(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    executable = load_artifact(arguments.artifact, arguments)
    outputs = executable.run(_inputs(executable, arguments))
    written = _write(outputs, arguments.output) if arguments.output else {}
    if arguments.json:
        print_json({"outputs": [_summary(name, array, written.get(name)) for name, array in outputs.items()]})
        return 0
    for name, array in outputs.items():
        print(f"{name}: {shape_text(array.shape)} {array.dtype}" + (f" -> {written[name]}" if name in written else ""))
        for line in _preview(array):
            print(f"  {line}")
    return 0


def _inputs(executable: Executable, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    from convc.cli.files import read_input
    from convc.runtime.inputs import random_inputs

    signature = {name: (shape, dtype) for name, shape, dtype in executable.inputs}
    feed = {}
    for text in arguments.input:
        name, file = _named(text, signature)
        if name in feed:
            raise UsageError(f"--input: '{name}' is given twice")
        feed[name] = read_input(Path(file), *signature[name])
    missing = [name for name in signature if name not in feed]
    if missing and arguments.random is None:
        names = ", ".join(f"{name} ({shape_text(signature[name][0])} {signature[name][1]})" for name in missing)
        raise UsageError(f"expected --input NAME=FILE or --random SEED for {names}")
    if missing:
        drawn = random_inputs(executable.inputs, arguments.random)
        feed |= {name: drawn[name] for name in missing}
    return feed


def _named(text: str, names: Iterable[str]) -> tuple[str, str]:
    """The name and the file of NAME=FILE: the longest name that fits, since either may hold a `=`."""
    name, equals, file = text.partition("=")
    if not equals or not file:
        raise UsageError(f"--input: expected NAME=FILE, got '{text}'")
    known = [each for each in names if text.startswith(f"{each}=") and len(text) > len(each) + 1]
    if not known:
        raise UsageError(f"--input: no input '{name}'; the inputs are {', '.join(names) or 'none'}")
    name = max(known, key=len)
    return name, text[len(name) + 1 :]


def _write(outputs: Mapping[str, np.ndarray], folder: Path) -> dict[str, str]:
    """Write each output by way of a temporary file; the paths by name."""
    import re

    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, str] = {}
    for name, array in outputs.items():
        stem = re.sub(r"[^\w.-]+", "_", name).strip(".") or "output"  # a name must not lead out of the folder
        stem = stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        path = folder / f"{stem}.npy"
        number = 1
        while str(path) in paths.values():
            path, number = folder / f"{stem}.{number}.npy", number + 1
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                np.save(file, array)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        paths[name] = str(path)
    return paths


def _summary(name: str, array: np.ndarray, path: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size and array.dtype.kind in "fiu":
        found |= {"min": array.min().item(), "max": array.max().item(), "mean": _mean(array)}
    return found | {"file": path}


def _mean(array: np.ndarray) -> float:
    """NaN where infinities of both signs are among the elements, without a warning."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        return float(array.mean(dtype=float))


def _preview(array: np.ndarray) -> list[str]:
    """What tells a person whether an output makes sense: its first elements, its range, the classes it favours."""
    import numpy as np

    flat = array.reshape(-1)
    lines = ["[" + ", ".join(f"{value:.6g}" for value in flat[:_PREVIEW]) + (", ...]" if flat.size > _PREVIEW else "]")]
    if flat.size > 1 and array.dtype.kind in "fiu":
        lines.append(f"min {flat.min():.6g}, max {flat.max():.6g}, mean {_mean(flat):.6g}")
    if array.dtype.kind == "f" and array.ndim == 2 and array.shape[0] == 1 and array.shape[1] > _CLASSES:
        best = np.argsort(-array[0], kind="stable")[:_CLASSES]
        lines.append("largest at " + ", ".join(f"{index} ({array[0, index]:.4g})" for index in best))
    return lines
