"""convc targets."""

from __future__ import annotations

import argparse

from convc.cli.arguments import add_json
from convc.cli.show import print_json

HELP = "say what this machine is, and what can be built for"
EXAMPLE = "convc targets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.targets.target import known_cpus, parse_target

    here = parse_target("cpu")
    known = known_cpus()
    if arguments.json:
        print_json({"cpu": here.to_dict(), "known": {arch: list(names) for arch, names in known.items()}})
        return 0
    print(f"cpu (this machine)  {here.describe()}")
    for arch, names in known.items():
        print(f"\ncpu:NAME for {arch}, each also with +FEATURE:\n  {', '.join(names)}")
    print("\ncpu:TRIPLE, such as cpu:aarch64-linux-gnu or cpu:aarch64-linux-gnu+dotprod")
    return 0
