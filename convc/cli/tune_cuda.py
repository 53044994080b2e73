"""convc tune for GPUs, in halves: candidates are compiled here or there, and measured where the GPU is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import UsageError, names, shapes
from convc.cli.show import Progress, megabytes, print_json
from convc.cli.tuning_view import print_rows, won
from convc.scratch import Scratch

if TYPE_CHECKING:
    from convc.targets.target import AnyTarget
    from convc.tuning.cuda.folder import Records

_CANDIDATES = 16
"""Of each kernel, unless `--trials` says how many."""


def refuse_options(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that mean nothing for a GPU."""
    for name in ("threads", "time_limit", "rpc", "key"):
        if getattr(arguments, name):
            raise UsageError(f"--{name.replace('_', '-')} is for tuning on CPUs")
    for name in ("db", "export"):
        if arguments.emit_candidates and getattr(arguments, name):
            raise UsageError(f"--{name}: --emit-candidates measures nothing; it goes with --measure and --merge")


def emit(arguments: argparse.Namespace, target: AnyTarget) -> int:
    """The first half: `--emit-candidates DIR`."""
    from convc.tuning.cuda.folder import Candidates

    folder = arguments.emit_candidates
    _emit(arguments, target, folder)
    candidates = Candidates(folder)
    every = [each for kernel in candidates.kernels for each in kernel["candidates"]]
    refused = sum("refused" in each for each in every)
    size = sum(path.stat().st_size for path in folder.iterdir())
    if arguments.json:
        facts = {"folder": str(folder), "target": target.to_dict(), "bytes": size, "refused": refused}
        print_json({**facts, "kernels": len(candidates.kernels), "candidates": len(every)})
        return 0
    count = f"{len(every)} candidates ({refused} refused) for {len(candidates.kernels)} kernels"
    print(f"{folder}: {count}, {megabytes(size)}")
    print(f"measure them on its GPU: convc tune --measure {folder}")
    return 0


def measure(arguments: argparse.Namespace) -> int:
    """The second half: `--measure DIR`, into a database too if one is named."""
    records = _measure(arguments, arguments.measure)
    if arguments.db:
        records.merge(arguments.db)
    _finish(arguments, records, arguments.db)
    if not arguments.db and not arguments.json:
        print(f"take {arguments.measure} to where networks are built: convc tune --merge {arguments.measure}")
    return 0


def merge(arguments: argparse.Namespace) -> int:
    """What was measured elsewhere, into a database: `--merge DIR`."""
    from convc.tuning.cuda.folder import Candidates, Records
    from convc.tuning.database import default_path

    database = arguments.db or default_path()
    records = Records(Candidates(arguments.merge))
    records.merge(database)
    _finish(arguments, records, database)
    return 0


def tune(arguments: argparse.Namespace, target: AnyTarget) -> int:
    """Both halves, where the GPU and the compiler are."""
    from convc.runtime import lacking
    from convc.targets.measurements import TuningError
    from convc.tuning.database import default_path

    if missing := lacking(target.to_dict()):
        raise TuningError(f"{target.name} is another machine ({missing}): tune there, or in halves, --emit-candidates")
    database = arguments.db or default_path()
    with Scratch() as scratch:
        folder = scratch / "candidates"
        _emit(arguments, target, folder)
        records = _measure(arguments, folder)
        records.merge(database)
        _finish(arguments, records, database)
    return 0


def _emit(arguments: argparse.Namespace, target: AnyTarget, folder: Path) -> None:
    from convc.artifact.manifest import CANDIDATES
    from convc.artifact.writer import check_output
    from convc.frontends.source import load_source
    from convc.pipeline import Build
    from convc.targets.cuda.compiler import compile_cuda, compiler_version
    from convc.tuning.cuda.emit import emit

    if target.kind != "cuda":
        raise UsageError(f"--emit-candidates is for GPUs, the target is {target.name}")
    check_output(folder, CANDIDATES)
    compiler_version()  # before anything is done that would be in vain
    wanted = shapes(arguments.shape)
    source = load_source(arguments.model, names(arguments.outputs))
    with Progress(quiet=arguments.json).steps() as show:
        build = Build(target, precision=arguments.precision, measured=False, on_phase=show)
        emit(source.model, source.shapes(wanted), build, folder, arguments.trials or _CANDIDATES, compile_cuda)


def _measure(arguments: argparse.Namespace, folder: Path) -> Records:
    from convc.tuning.cuda.measure import measure

    progress = Progress(quiet=arguments.json)

    def report(records: Records, kernel: int) -> None:
        row = records.row(kernel)
        found = f"{row.tuned_us:.1f} us, {won(row.ratio)}" if row.tuned_us else f"nothing right of {row.candidates}"
        progress.note(f"  {row.name} ({row.computes}): {found}")

    return measure(folder, report=report)


def _finish(arguments: argparse.Namespace, records: Records, database: Path | None) -> None:
    """Export what was found, and say it. Raises TuningError where no candidate of a kernel is right."""
    from convc.targets.measurements import TuningError
    from convc.tuning.known import export

    if arguments.export:
        export(arguments.export, records.target, 0, records.choices())
    if failures := records.failures():
        raise TuningError("; ".join(failures))
    rows = records.rows()
    ratio = sum(row.share * row.ratio for row in rows) if rows else 1.0
    if arguments.json:
        facts: dict[str, Any] = {"target": records.target.to_dict(), "ratio": ratio, "kernels": list(map(vars, rows))}
        print_json(facts | {"database": str(database) if database else None})
        return
    print_rows(rows)
    print()
    print(f"measured    on {records.target.processor}")
    print(f"kernels     {won(ratio)} in all, each by its share of the time of those measured")
    if database:
        print(f"database    {database}")
