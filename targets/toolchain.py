"""Compile the C parts of an artifact and link its library, on a machine that may have no compiler.

`ziglang` (the `linker` extra) carries clang and lld for every architecture; without it this machine's `cc` serves for
this machine.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from convc.scratch import Scratch

NATIVE = Path(__file__).parent / "native"
"""The folder of convc's own C code."""

_GLIBC = "2.17"  # the oldest that Python's binary packages still run on
_LIBRARIES = ("libm.so.6", "libc.so.6")


class ToolchainError(Exception):
    """No compiler, or one that failed; the message is one line for the user."""


def compile_c(source: Path, output: Path, architecture: str, *, optimised: bool = True) -> None:
    """Write the object file `output` from a C file, for an architecture (`x86_64`, `aarch64`) on Linux.

    Raises ToolchainError.
    """
    if zig := _zig():
        compiler = [zig, "cc", "-target", f"{architecture}-linux-gnu.{_GLIBC}", "-fno-sanitize=undefined"]
    else:
        compiler = [_native_compiler(architecture)]
    options = ["-std=gnu11", "-O2" if optimised else "-O0", "-g0", "-fPIC", f"-I{NATIVE}"]
    _run([*compiler, *options, "-c", str(source), "-o", str(output)], f"compiling {source.name}")


@cache
def runtime_object(architecture: str) -> bytes:
    """The object file of convc's runtime, compiled once in a process. Raises ToolchainError."""
    with Scratch() as folder:
        output = folder / "runtime.o"
        compile_c(NATIVE / "runtime.c", output, architecture)
        return output.read_bytes()


def link(output: Path, objects: Sequence[Path], architecture: str) -> None:
    """Write the shared library `output` from object files. Raises ToolchainError."""
    inputs, what = [*map(str, objects), "-o", str(output)], f"linking {output.name}"
    zig = _zig()
    if zig is None:
        _run([_native_compiler(architecture), "-shared", "-Wl,-z,nodelete", *inputs, "-lm"], what)
        return
    with Scratch() as folder:
        stubs = [folder / name for name in _LIBRARIES]
        for stub in stubs:
            stub.write_bytes(_stub(zig, stub.name, architecture))
        _run([zig, "ld.lld", "-shared", "-z", "nodelete", "--no-as-needed", *inputs, *map(str, stubs)], what)


@cache
def _stub(zig: str, name: str, architecture: str) -> bytes:
    """An empty library of this name. lld needs no C library to link against, only to be told which ones to ask for when
    the result is loaded."""
    with Scratch() as folder:
        output, emulation = folder / name, _EMULATIONS[architecture]
        options = ["-shared", "-m", emulation, "-soname", name, os.devnull, "-o", str(output)]
        _run([zig, "ld.lld", *options], f"linking {name}")
        return output.read_bytes()


_EMULATIONS = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}


def _zig() -> str | None:
    """The program of `ziglang`, called without the Python around it, which takes longer to start than lld to link."""
    found = importlib.util.find_spec("ziglang")
    return str(Path(found.origin).with_name("zig")) if found and found.origin else None


def _native_compiler(architecture: str) -> str:
    native = architecture == platform.machine()
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if native and compiler:
        return compiler
    what = "this machine has no cc" if native else f"cc here compiles for {platform.machine()}, not for {architecture}"
    raise ToolchainError(
        f"expected a C compiler and linker for {architecture}, found none ({what}): pip install 'convc[linker]'"
    )


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        reason = next((line for line in lines if "error" in line), lines[0])
        raise ToolchainError(f"{what} with {command[0]} failed: {reason}")
