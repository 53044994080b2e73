"""Link object files into a shared library, on a machine that may have no compiler.

`ziglang` (the `linker` extra) carries LLVM's lld, which links ELF for every architecture; without it this
machine's `cc` links for this machine. Kernels need no library: what they call is resolved when they are loaded.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class LinkError(Exception):
    """No linker, or one that failed; the message is one line for the user."""


def link(output: Path, objects: Sequence[Path], architecture: str) -> None:
    """Write the shared library `output` from object files for an architecture (`x86_64`, `aarch64`).

    Raises LinkError.
    """
    command = [*_linker(architecture), "-shared", "-o", str(output), *map(str, objects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise LinkError(f"linking {output.name} with {command[0]} failed: {reason}")


def _linker(architecture: str) -> list[str]:
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "ld.lld"]
    native = architecture == platform.machine()
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if native and compiler:
        return [compiler]
    what = "this machine has no cc" if native else f"cc here links for {platform.machine()}, not for {architecture}"
    raise LinkError(f"expected a linker for {architecture}, found none ({what}): pip install 'convc[linker]'")
