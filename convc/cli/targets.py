"""convc targets."""

from __future__ import annotations

import argparse
from typing import Any

from convc.cli.arguments import add_json
from convc.cli.show import print_json

HELP = "say what this machine is, and what can be built for"
EXAMPLE = "convc targets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    from convc.targets.cpus import known_cpus, parse_cpu
    from convc.targets.cuda.target import cuda_names

    here, known, gpu = parse_cpu("cpu"), known_cpus(), _gpu()
    if arguments.json:
        every = {**{arch: list(names) for arch, names in known.items()}, "cuda": cuda_names()}
        print_json({"cpu": here.to_dict(), "cuda": gpu, "known": every})
        return 0
    print(f"cpu (this machine)  {here.describe()}")
    print(f"cuda (this machine) {gpu['description'] or gpu['missing']}")
    print(f"                    to build for GPUs: {gpu['compiler'] or gpu['no_compiler']}")
    for arch, names in known.items():
        print(f"\ncpu:NAME for {arch}, each also with +FEATURE:\n  {', '.join(names)}")
    print("\ncpu:TRIPLE, such as cpu:aarch64-linux-gnu or cpu:aarch64-linux-gnu+dotprod")
    print(f"\ncuda:ARCH:\n  {', '.join(cuda_names())}")
    return 0


def _gpu() -> dict[str, Any]:
    """What there is of a GPU, its driver and a compiler for it, and what is missing."""
    from convc.runtime.cuda.driver import CudaError, Driver
    from convc.targets.cuda.compiler import compiler_version
    from convc.targets.cuda.target import parse_cuda
    from convc.targets.target import TargetError
    from convc.targets.toolchain import ToolchainError

    found: dict[str, Any] = dict.fromkeys(("target", "description", "missing", "compiler", "no_compiler"))
    try:
        driver = Driver()
        gpu = parse_cuda("cuda")
        found["target"], found["description"] = gpu.to_dict(), f"{gpu.describe()}, driver of CUDA {driver.version}"
    except (CudaError, TargetError) as error:
        found["missing"] = str(error)
    try:
        found["compiler"] = f"NVRTC {compiler_version()}"
    except ToolchainError as error:
        found["no_compiler"] = str(error)
    return found
