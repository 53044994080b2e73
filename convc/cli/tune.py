"""convc tune."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from convc.cli.arguments import (
    UsageError,
    add_database,
    add_json,
    add_outputs,
    add_precision,
    add_shape,
    add_target,
    add_threads,
    duration,
    names,
    positive,
    shapes,
)
from convc.cli.show import print_json
from convc.cli.tuning_view import print_rows, view, won

if TYPE_CHECKING:
    from convc.targets.target import CpuTarget
    from convc.tuning.batch import Measure
    from convc.tuning.tuner import Tuner

HELP = "measure how the kernels of a model are computed fastest, for builds to come"
EXAMPLE = "convc tune model.onnx --threads 1 --time-limit 10m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="what convc build takes")
    add_target(parser)
    add_shape(parser, variants=True)
    add_outputs(parser)
    add_precision(parser)
    parser.add_argument(
        "--trials",
        type=positive,
        metavar="N",
        help="how many candidates to measure at the most; for a GPU, of each kernel (default 16)",
    )
    parser.add_argument("--time-limit", type=duration, metavar="TIME", help="for how long, such as 90s, 10m or 1h30m")
    add_threads(parser, "threads that each kernel runs on, pinned to so many cores", "all cores")
    add_database(parser, "to add to")
    parser.add_argument("--rpc", metavar="HOST:PORT", help="measure on servers that TVM's RPC tracker there knows")
    parser.add_argument("--key", metavar="K", help="the key of those servers: see python -m convc.tuning.server --help")
    halves = parser.add_mutually_exclusive_group()
    halves.add_argument(
        "--emit-candidates", type=Path, metavar="DIR", help="for a GPU: only compile candidates, where there is none"
    )
    halves.add_argument(
        "--measure", type=Path, metavar="DIR", help="measure compiled candidates on this GPU: the run-time is enough"
    )
    halves.add_argument("--merge", type=Path, metavar="DIR", help="add what was measured there to the database")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the choices into a file that can ship")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.cli import tune_cuda
    from convc.targets.target import CpuTarget, parse_target
    from convc.tuning.known import check_export

    given = arguments.measure or arguments.merge
    if (given is None) == (arguments.model is None):
        raise UsageError("expected a MODEL, or --measure DIR or --merge DIR alone")
    target = None if given else parse_target(arguments.target)
    if arguments.export:
        check_export(arguments.export)
    if isinstance(target, CpuTarget) and not arguments.emit_candidates:
        return _tune(arguments, target)
    tune_cuda.refuse_options(arguments)
    if target is None:
        return tune_cuda.measure(arguments) if arguments.measure else tune_cuda.merge(arguments)
    return tune_cuda.emit(arguments, target) if arguments.emit_candidates else tune_cuda.tune(arguments, target)


def _tune(arguments: argparse.Namespace, target: CpuTarget) -> int:
    """On the CPU."""
    from convc.frontends.source import load_source
    from convc.pipeline import target_in
    from convc.tuning.database import default_path
    from convc.tuning.known import export
    from convc.tuning.session import Session, side_by_side
    from convc.tuning.summary import choices, facts
    from convc.tuning.tuner import Budget

    target_in(target, arguments.precision)
    threads = arguments.threads or target.cores
    machines = _machines(arguments, target)
    source = load_source(arguments.model, names(arguments.outputs))
    with view(quiet=arguments.json) as (show, report):
        session = Session(
            source.model,
            source.shapes(shapes(arguments.shape)),
            target,
            threads,
            arguments.db or default_path(),
            Budget.of(arguments.trials, arguments.time_limit),
            machines=machines,
            show=show,
            report=report,
        )
        tuner = session.run()
        if arguments.export:
            export(arguments.export, target, threads, choices(tuner))
        network = None if machines else side_by_side(session)
    if arguments.json:
        print_json(facts(tuner) | {"target": target.to_dict(), "network": _network(network)})
        return 0
    _print(tuner, network)
    return 0


def _machines(arguments: argparse.Namespace, target: CpuTarget) -> list[Measure]:
    """A way to measure for each server; none for this machine."""
    from convc.tuning.remote import Remote, address

    if bool(arguments.rpc) != bool(arguments.key):
        raise UsageError("--rpc HOST:PORT and --key K go together")
    if arguments.rpc:
        try:
            remote = Remote(address(arguments.rpc), arguments.key, target)
        except ValueError as error:
            raise UsageError(f"--rpc: {error}") from None
        return [remote] * remote.machines()
    if (arguments.threads or 1) > target.cores:
        raise UsageError(f"--threads {arguments.threads}: this process may use {target.cores} cores")
    return []


def _network(times: tuple[float, float, float] | None) -> dict[str, float] | None:
    return dict(zip(("untuned_ms", "tuned_ms", "ratio"), times)) if times else None


def _print(tuner: Tuner, network: tuple[float, float, float] | None) -> None:
    from convc.tuning.summary import rows

    print_rows(rows(tuner))
    print()
    threads = tuner.conditions.threads
    print(f"measured    {tuner.trials} candidates in {tuner.seconds:.0f} s, on {threads} thread{'s' * (threads > 1)}")
    print(f"kernels     {won(tuner.ratio)} in all, each by its share of the network's time")
    if network:
        print(f"network     {network[0]:.3f} -> {network[1]:.3f} ms, {won(network[2])}: untuned and tuned took turns")
    print(f"database    {tuner.database.path}")
