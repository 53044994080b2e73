"""convc verify."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convc.cli.arguments import add_json, add_samples, add_threads
from convc.cli.loading import add_emulate, load_artifact
from convc.cli.show import Progress, print_json, print_table
from convc.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from convc.pipeline import Build
    from convc.runtime import Executable
    from convc.verify import Finding
    from convc.verify.report import Network

HELP = "compare an artifact with onnxruntime, its graph optimisations off"
EXAMPLE = "convc verify model.convc model.onnx --samples 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a folder that convc build wrote")
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model that it was built from")
    add_samples(parser)
    parser.add_argument(
        "--bisect", action="store_true", help="if they differ, find the first wrong level and the first wrong value"
    )
    add_threads(parser, "threads to run on", "as built, or all cores")
    add_emulate(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.frontends.source import load_source
    from convc.verify import verify_variants

    progress = Progress(quiet=arguments.json)
    executable = load_artifact(arguments.artifact, arguments)
    with progress.steps() as show:
        show("loading the model in onnxruntime")
        model = load_source(arguments.model).model
        reports = list(
            verify_variants(
                executable,
                model,
                samples=arguments.samples,
                seed=arguments.seed,
                on_sample=lambda seed: show(f"comparing on seed {seed}"),
            )
        )
        passed = all(report.passed for report in reports)
        finding = None if passed or not arguments.bisect else _first_wrong(executable, model, arguments, show)
    if arguments.json:
        print_json(
            {"passed": passed, "variants": [r.to_dict() for r in reports], "finding": str(finding) if finding else None}
        )
        return 0 if passed else 1
    for report in reports:
        print_table(("output", "shape", "dtype", "max|diff|/max|ref|", "verdict"), report.rows())
        print(report.summary())
    if not passed and arguments.bisect:
        print(finding or "every level agrees with onnxruntime when it is built anew")
    return 0 if passed else 1


def _first_wrong(
    executable: Executable, model: Path | onnx.ModelProto, arguments: argparse.Namespace, show: Callable[[str], None]
) -> Finding | None:
    import onnx

    from convc.frontends.onnx.cutting import cut
    from convc.frontends.onnx.reshaping import reshaped
    from convc.pipeline import Build
    from convc.targets.target import parse_target
    from convc.verify import PRECISIONS, bisect

    signature = executable.inputs
    shapes = {name: shape for name, shape, _ in signature}
    manifest = executable.manifest
    target, precision = parse_target(manifest["target"]["name"]), manifest["precision"]
    with Scratch() as folder:
        make = partial(Build, target, precision=precision, threads=manifest["threads"])
        build = _builder(folder, make, shapes, arguments)
        proto = onnx.load(model) if isinstance(model, Path) else model
        proto = reshaped(cut(proto, [name for name, *_ in executable.outputs], None), shapes, None)
        return bisect(proto, build, signature, seed=arguments.seed, precision=PRECISIONS[precision], on_step=show)


def _builder(
    folder: Path,
    make: Callable[[int], Build],
    shapes: dict[str, tuple[int, ...]],
    arguments: argparse.Namespace,
) -> Callable[[onnx.ModelProto, int], Network]:
    """Builds parts of a model at a level, each into a folder of its own: a library is loaded once and for all."""
    count = 0

    def build(model: onnx.ModelProto, level: int) -> Network:
        nonlocal count
        count += 1
        path = folder / f"{count}.convc"
        inputs = {value.name for value in model.graph.input}
        sets = [{name: shape for name, shape in shapes.items() if name in inputs}]
        make(level).run(model, path, sets)
        return load_artifact(path, arguments).run

    return build
