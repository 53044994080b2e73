"""An artifact's code for a GPU: one module of machine code that holds all kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convc.artifact.manifest import SOURCE
from convc.targets.cuda.codegen import DeviceCode, generate
from convc.targets.cuda.compiler import compile_cuda, compiler_version
from convc.targets.cuda.target import CudaTarget
from convc.targets.lower import Library

HEADERS = '#include "convc_types.cuh"\n#include "convc_device.cuh"\n'


def write_library(library: Library, target: CudaTarget, output: Path, on_step: Callable[[str], None]) -> None:
    """Write kernels.cubin and its source; note in each kernel how it is launched. Raises ToolchainError, OSError."""
    codes = {}
    for number, (symbol, kernel) in enumerate(library.kernels.items(), 1):
        on_step(f"{number} of {len(library.kernels)} kernels")
        codes[symbol] = generate(symbol, kernel.function, target)
    on_step("machine code")
    source = source_of(list(codes.values()))
    output.with_name(SOURCE).write_text(source)
    made = compile_cuda(source, target.arch, [f for code in codes.values() for f in code.functions])
    output.write_bytes(made.cubin)
    library.compiler = f"NVRTC {compiler_version()}"
    for symbol, code in codes.items():
        library.kernels[symbol].launching = code.describe(made.resources)


def source_of(codes: list[DeviceCode]) -> str:
    """The CUDA C++ of several kernels in one file."""
    headers = dict.fromkeys(header for code in codes for header in code.headers)
    return "".join([*(f"#include {header}\n" for header in headers), HEADERS, *(code.source for code in codes)])
