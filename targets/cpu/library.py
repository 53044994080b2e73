"""An artifact's code for a CPU: kernels, the program that calls them and the runtime, in one shared library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from convc.scratch import Scratch
from convc.targets.cpu.codegen import compile_objects
from convc.targets.emit_c import to_c
from convc.targets.lower import Library, Program
from convc.targets.target import CpuTarget
from convc.targets.toolchain import compile_c, link, runtime_object


def write_library(
    library: Library, programs: Sequence[Program], target: CpuTarget, output: Path, on_step: Callable[[str], None]
) -> None:
    """Write kernels.so. Raises CodegenError, ToolchainError and OSError."""
    with Scratch() as folder:  # rather than beside the output: clang fails where a quote is in a path
        source, program, runtime = (folder / name for name in ("program.c", "program.o", "runtime.o"))
        source.write_text(to_c(programs))
        functions = {symbol: kernel.function for symbol, kernel in library.kernels.items()}
        kernels = compile_objects(functions, target, folder, lambda n, m: on_step(f"{n} of {m} kernels"))
        compile_c(source, program, target.arch, optimised=False)
        runtime.write_bytes(runtime_object(target.arch))
        link(output, [*kernels, program, runtime], target.arch)
