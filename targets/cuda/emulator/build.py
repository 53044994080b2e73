"""Compile the software CUDA device, and CUDA sources for it.

The device is a `libcuda.so.1` whose kernels are C++ for the host: a run-time that loads it in place of NVIDIA's runs
kernels and graphs on a machine without a GPU, slowly and strictly (`emulated_driver`, `emulated_kernels`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from convc.targets.toolchain import ToolchainError
from convc.tuning.database import default_path

FOLDER = Path(__file__).parent
HEADERS = FOLDER / "include"

_OPTIONS = ("-fPIC", "-shared", "-march=native", "-fno-gnu-unique", "-fno-strict-aliasing", "-fwrapv")
# Fortified longjmp does not know fibres. The library has no soname: NVRTC would take one for NVIDIA's driver.
_DRIVER = ("-std=c++20", "-O2", "-fvisibility=hidden", "-U_FORTIFY_SOURCE")
# As NVRTC is told: products and sums contract. An access that is not aligned to its type traps, as on a device.
_KERNELS = (
    *("-std=c++17", "-O2", "-ffp-contract=fast", "-Wl,-Bsymbolic", "-Wno-attributes", "-Wno-unknown-pragmas"),
    *("-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"),
)
_DYNAMIC = re.compile(
    r"\bextern\s+__shared__\s+(?:(?:__align__|alignas)\((\d+)\)\s*)?([\w:\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;"
)
_BOUNDS = re.compile(r"\b__launch_bounds__\((\d+)[^)]*\)\s*(\w+)\s*\(")


def emulated_driver(folder: Path | None = None) -> Path:
    """The path of the emulated `libcuda.so.1`, compiled unless the folder (the user's cache) has it from the same
    sources and compiler.

    Raises ToolchainError.
    """
    folder = folder or default_path().parent / "emulator"
    sources = sorted(FOLDER.glob("*.cpp"))
    digest = hashlib.sha256(repr((_compiler(), _OPTIONS, _DRIVER)).encode())
    for path in (*sources, *sorted(FOLDER.glob("*.h")), HEADERS / "engine.h"):
        digest.update(path.read_bytes())
    output = folder / digest.hexdigest()[:16] / "libcuda.so.1"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        # Another process may compile the same: each writes a file of its own, and the last one's stays.
        unfinished = output.with_name(f"{os.getpid()}.so")
        _run([*_OPTIONS, *_DRIVER, *map(str, sources), "-ldl", "-o", str(unfinished)], "compiling the emulated driver")
        unfinished.replace(output)
    return output


def emulated_kernels(source: str, symbols: Sequence[str], output: Path, headers: Path | None = None) -> None:
    """Compile a CUDA source for the emulated device: `output` holds what `cuModuleLoadData` takes there.

    `symbols` are the kernels that `cuModuleGetFunction` shall find; `headers` is a folder for the source's includes.
    Raises ToolchainError.
    """
    code = _DYNAMIC.sub(lambda m: f"CONVC_DYNAMIC_SHARED({m[1] or 16}, {m[2]}, {m[3]});", source)
    threads = {name: bound for bound, name in _BOUNDS.findall(code)}
    exports = "".join(f"CONVC_EMULATED_KERNEL({symbol}, {threads.get(symbol, 0)})\n" for symbol in symbols)
    path = output.with_suffix(".cpp")
    path.write_text(f'#line 1 "{output.stem}.cu"\n{code}\n{exports}')
    includes = [f"-I{folder}" for folder in (HEADERS, headers) if folder]
    options = [*_OPTIONS, *_KERNELS, *includes, "-include", str(HEADERS / "emulate.h")]
    _run([*options, str(path), "-o", str(output)], f"compiling {output.stem}.cu for the emulated device")


@cache
def _compiler() -> str:
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return found
    raise ToolchainError("expected a C++ compiler (c++, g++ or clang++) for the emulated CUDA device, found none")


def _run(options: Sequence[str], what: str) -> None:
    done = subprocess.run([_compiler(), *options], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise ToolchainError(f"{what} failed: {next((line for line in lines if 'error' in line), lines[0])}")
