"""convc build."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import (
    UsageError,
    add_build_options,
    add_database,
    add_json,
    add_samples,
    add_threads,
    names,
    shapes,
    trials_or_duration,
)
from convc.cli.loading import add_emulate, load_artifact
from convc.cli.show import Progress, megabytes, print_json
from convc.cli.tuning_view import view, won

if TYPE_CHECKING:
    import onnx

    from convc.pipeline import Build, Shapes
    from convc.targets.target import AnyTarget
    from convc.tuning.tuner import Tuner
    from convc.verify import Report

HELP = "compile a model into an artifact folder, and verify it against onnxruntime"
EXAMPLE = "convc build model.onnx -o model.convc --shape input=1x3x224x224"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="an ONNX file, a .keras file, or FILE.py:NAME, a script (which is run) and the convc.dsl model it makes",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="the artifact's folder (default: the model's name .convc, here)",
    )
    add_build_options(parser, variants=True)
    add_threads(parser, "how many threads the artifact runs on unless it is told otherwise", "all cores")
    parser.add_argument(
        "--tune", type=trials_or_duration, metavar="N|TIME", help="tune first: so many candidates, or for so long (2m)"
    )
    add_database(parser, "to choose kernels by")
    parser.add_argument("--no-verify", action="store_true", help="do not compare the result with onnxruntime's")
    add_samples(parser)
    add_emulate(parser)
    parser.add_argument(
        "--dump-ir",
        type=Path,
        metavar="DIR",
        help="write the module after each phase, for convc opt, then the scheduled kernels and the C that calls them",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell how long each phase took")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.frontends.source import load_source
    from convc.pipeline import Build
    from convc.targets.target import parse_target

    begin = time.perf_counter()
    output = arguments.output or Path(f"{arguments.model.stem}.convc")
    progress = Progress(arguments.verbose, quiet=arguments.json)
    target = parse_target(arguments.target)
    if arguments.emulate and target.kind != "cuda":
        raise UsageError(f"--emulate is for GPUs, the target is {target.name}")
    wanted = shapes(arguments.shape)
    source = load_source(arguments.model, names(arguments.outputs))
    sets = source.shapes(wanted)
    tuner = _tune(arguments, source.model, sets, target, output) if arguments.tune else None
    with progress.steps() as show:
        build = Build(target, arguments.level, arguments.precision, arguments.threads, arguments.dump_ir, on_phase=show)
        build.database = arguments.db
        checked: list[Report] = []
        notes = []
        if not arguments.no_verify and not arguments.emulate and (reason := _cannot_run(target)):
            notes.append(f"not verified: {reason}")
        elif not arguments.no_verify:
            build.accept = lambda folder: checked.append(_verified(folder, source.model, arguments))
        build.run(source.model, output, sets)
    seconds = time.perf_counter() - begin
    size = sum(path.stat().st_size for path in output.iterdir())
    if arguments.json:
        print_json(_facts(output, build, checked, seconds, size) | _tuned(tuner))
        return 0
    for phase, taken in build.times.items():
        progress.detail(f"  {phase:<10} {taken:6.2f} s")
    if tuner:
        notes.append(f"tuned: {tuner.trials} candidates in {tuner.seconds:.0f} s, kernels {won(tuner.ratio)} in all")
    for note in [*build.notes, *notes, *(report.summary() for report in checked)]:
        print(note)
    print(f"{output}: {megabytes(size)}, for {target.name}, in {seconds:.1f} s")
    return 0


def _tune(
    arguments: argparse.Namespace,
    model: Path | onnx.ModelProto,
    sets: Sequence[Shapes],
    target: AnyTarget,
    output: Path,
) -> Tuner:
    """Measure a model's kernels before it is built."""
    from convc.artifact.writer import check_output
    from convc.targets.target import CpuTarget
    from convc.tuning.database import default_path
    from convc.tuning.session import Session
    from convc.tuning.tuner import Budget

    if arguments.level < 3:
        raise UsageError(f"--tune needs -O3: at -O{arguments.level} there is one way to compute each kernel")
    if not isinstance(target, CpuTarget):
        raise UsageError(f"--tune measures kernels on CPUs; for {target.name} there is convc tune")
    check_output(output)
    threads, database = arguments.threads or target.cores, arguments.db or default_path()
    with view(quiet=arguments.json) as (show, report):
        budget = Budget.of(*arguments.tune)
        return Session(model, sets, target, threads, database, budget, show=show, report=report).run()


def _tuned(tuner: Tuner | None) -> dict[str, Any]:
    if tuner is None:
        return {"tuning": None}
    from convc.tuning.summary import facts

    return {"tuning": facts(tuner)}


def _cannot_run(target: AnyTarget) -> str:
    """Why code for a target cannot be run on this machine; empty if it can."""
    from convc.runtime import lacking

    missing = lacking(target.to_dict())
    if not missing:
        return ""
    hint = "; --emulate does it on the CPU" if target.kind == "cuda" else ""
    return f"{target.name} is another machine ({missing}){hint}"


def _verified(folder: Path, model: Path | onnx.ModelProto, arguments: argparse.Namespace) -> Report:
    """The report on a build that agrees with onnxruntime. Raises VerificationError for one that does not."""
    from convc.verify import VerificationError, verify_variants

    reports = []
    executable = load_artifact(folder, arguments)
    for report in verify_variants(executable, model, samples=arguments.samples, seed=arguments.seed):
        if not report.passed:
            raise VerificationError(f"{report.summary()}; build it with --no-verify, then convc verify --bisect")
        reports.append(report)
    return max(reports, key=lambda report: report.error)


def _facts(output: Path, build: Build, checked: Sequence[Report], seconds: float, size: int) -> dict[str, Any]:
    return {
        "artifact": str(output),
        "target": build.target.to_dict(),
        "level": build.level,
        "bytes": size,
        "seconds": seconds,
        "phases": build.times,
        "notes": build.notes,
        "verified": checked[0].to_dict() if checked else None,
    }
