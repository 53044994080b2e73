"""convc tune."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convc.cli.arguments import (
    UsageError,
    add_database,
    add_json,
    add_shape,
    add_target,
    add_threads,
    duration,
    positive,
    shapes,
)
from convc.cli.show import print_json, print_table
from convc.cli.tuning_view import view, won

if TYPE_CHECKING:
    from convc.targets.target import Target
    from convc.tuning.batch import Measure
    from convc.tuning.tuner import Tuner

HELP = "measure how the kernels of a model are computed fastest, for builds to come"
EXAMPLE = "convc tune model.onnx --threads 1 --time-limit 10m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="what convc build takes")
    add_target(parser)
    add_shape(parser)
    parser.add_argument("--trials", type=positive, metavar="N", help="how many candidates to measure at the most")
    parser.add_argument("--time-limit", type=duration, metavar="TIME", help="for how long, such as 90s, 10m or 1h30m")
    add_threads(parser, "threads that each kernel runs on, pinned to so many cores", "all cores")
    add_database(parser, "to add to")
    parser.add_argument("--rpc", metavar="HOST:PORT", help="measure on servers that TVM's RPC tracker there knows")
    parser.add_argument("--key", metavar="K", help="the key of those servers: see python -m convc.tuning.server --help")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the choices into a file that can ship")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.frontends.source import load_source
    from convc.targets.target import parse_cpu
    from convc.tuning.database import default_path
    from convc.tuning.known import check_export, export
    from convc.tuning.session import Session, side_by_side
    from convc.tuning.summary import choices, facts
    from convc.tuning.tuner import Budget

    target = parse_cpu(arguments.target)
    threads = arguments.threads or target.cores
    if arguments.export:
        check_export(arguments.export)
    machines = _machines(arguments, target)
    source = load_source(arguments.model)
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


def _machines(arguments: argparse.Namespace, target: Target) -> list[Measure]:
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

    cells: list[tuple[Any, ...]] = [
        (
            row.name,
            row.computes,
            row.count,
            f"{row.share:.1%}",
            f"{row.untuned_us:.1f}" if row.untuned_us else "",
            f"{row.tuned_us:.1f}" if row.tuned_us else "",
            won(row.ratio) if row.tuned_us else "",
            " ".join([row.template, *(f"{key}={value}" for key, value in row.config.items())]),
            f"{row.candidates}" + (f" ({row.failed} failed)" if row.failed else ""),
        )
        for row in rows(tuner)
    ]
    header = ("kernel of", "computes", "times", "share", "untuned us", "tuned us", "change", "choice", "tried")
    print_table(header, cells, right=header[2:7])
    print()
    threads = tuner.conditions.threads
    print(f"measured    {tuner.trials} candidates in {tuner.seconds:.0f} s, on {threads} thread{'s' * (threads > 1)}")
    print(f"kernels     {won(tuner.ratio)} in all, each by its share of the network's time")
    if network:
        print(f"network     {network[0]:.3f} -> {network[1]:.3f} ms, {won(network[2])}: untuned and tuned took turns")
    print(f"database    {tuner.database.path}")
