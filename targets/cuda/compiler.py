"""From CUDA C++ to machine code on a machine that may have neither a GPU nor a CUDA toolkit.

NVRTC, the compiler as a library, comes from PyPI (the `cuda` extra); a toolkit's own is taken where there is none. What
it was built into is asked of the result: an ELF file that holds every function asked for, with the registers, the
shared memory and the spills that its compiler reports.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convc.targets.toolchain import ToolchainError

DEVICE_HEADERS = Path(__file__).parent / "device"
"""convc's own header of device functions."""

_INSTALL = "pip install 'convc[cuda]'"
_ELF = b"\x7fELF"


@dataclass(frozen=True)
class Resources:
    """What one thread (or block) of a device function takes, as the compiler reports it."""

    registers: int
    shared_bytes: int
    stack_bytes: int
    """Of local memory: arrays with indices that are not constant, and registers that did not fit."""
    spilled_bytes: int


@dataclass(frozen=True)
class MachineCode:
    """A compiled module, and what each of its functions takes."""

    cubin: bytes
    resources: dict[str, Resources]


def compile_cuda(source: str, arch: str, functions: Sequence[str]) -> MachineCode:
    """The machine code of a source for an architecture (`sm_90a`). Raises ToolchainError, also where one of the
    `functions` is missing from the result."""
    nvrtc = _nvrtc()
    options = [
        f"--gpu-architecture={arch}",
        "--std=c++17",
        "--fmad=true",
        "--split-compile=0",  # as many threads as there are cores
        "--ptxas-options=-v",
        "--extra-device-vectorization",
        *(f"--include-path={folder}" for folder in (DEVICE_HEADERS, *_cuda_headers())),
    ]
    cubin, log = nvrtc.compile(source, options)
    if not cubin.startswith(_ELF):
        raise ToolchainError(
            f"NVRTC {nvrtc.version} made no machine code for {arch}, but {len(cubin)} bytes of something else"
        )
    resources = dict(_resources(log))
    if missing := [name for name in functions if name not in resources]:
        raise ToolchainError(f"NVRTC {nvrtc.version} made no machine code of {missing[0]}")
    return MachineCode(cubin, resources)


def compiler_version() -> str:
    """Of NVRTC, as `13.0`. Raises ToolchainError where there is none."""
    return _nvrtc().version


def _resources(log: str) -> Iterator[tuple[str, Resources]]:
    """Per function, from the compiler's report."""
    for part in log.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        found = {key: int(m[1]) if (m := re.search(pattern, part)) else 0 for key, pattern in _REPORTED.items()}
        yield name, Resources(found["registers"], found["shared"], found["stack"], found["stores"] + found["loads"])


_REPORTED = {
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "stack": r"(\d+) bytes stack frame",
    "stores": r"(\d+) bytes spill stores",
    "loads": r"(\d+) bytes spill loads",
}


class _Nvrtc:
    """The library's C interface, as far as it is needed (nvrtc.h)."""

    def __init__(self, path: Path) -> None:
        # NVRTC asks the system for its second library by name, which it finds if it is loaded already.
        for builtins in path.resolve().parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(str(path))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: str, options: Sequence[str]) -> tuple[bytes, str]:
        """The machine code and the compiler's report."""
        library, program = self._library, ctypes.c_void_p()
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        text = source.encode()
        self._check(library.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None))
        try:
            status = library.nvrtcCompileProgram(program, len(options), arguments)
            log = self._bytes(program, "ProgramLog").decode(errors="replace")
            if status:
                lines = log.strip().splitlines() or [self._reason(status)]
                raise ToolchainError(
                    f"NVRTC {self.version} failed: {next((x for x in lines if 'error' in x), lines[0])}"
                )
            return self._bytes(program, "CUBIN"), log
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        memory = ctypes.create_string_buffer(max(size.value, 1))
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, memory))
        return memory.raw[: size.value].rstrip(b"\0") if what == "ProgramLog" else memory.raw[: size.value]

    def _check(self, status: int) -> None:
        if status:
            raise ToolchainError(f"NVRTC failed: {self._reason(status)}")

    def _reason(self, status: int) -> str:
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return str(self._library.nvrtcGetErrorString(status).decode())


@cache
def _nvrtc() -> _Nvrtc:
    for path in _libraries():
        try:
            return _Nvrtc(path)
        except OSError:
            continue  # of another system, or without its own libraries
    raise ToolchainError(f"expected NVRTC to compile for a GPU, found none: {_INSTALL}")


def _libraries() -> Iterator[Path]:
    for folder in _wheels():
        yield from sorted(folder.glob("*/lib/libnvrtc.so.*"), reverse=True)
    for folder in _toolkits():
        yield from sorted(folder.glob("lib64/libnvrtc.so"), reverse=True)


def _cuda_headers() -> Iterator[Path]:
    """The folders of cuda_fp16.h and what it includes."""
    for folder in [
        *(path for wheel in _wheels() for path in wheel.glob("*/include")),
        *(t / "include" for t in _toolkits()),
    ]:
        if (folder / "cuda_fp16.h").exists():
            yield folder
            return
    raise ToolchainError(f"expected the CUDA headers to compile for a GPU, found none: {_INSTALL}")


def _wheels() -> list[Path]:
    found = importlib.util.find_spec("nvidia")
    return [Path(folder) for folder in found.submodule_search_locations or ()] if found else []


def _toolkits() -> list[Path]:
    named = [Path(folder) for name in ("CUDA_PATH", "CUDA_HOME") if (folder := os.environ.get(name))]
    return [folder for folder in (*named, Path("/usr/local/cuda")) if folder.is_dir()]
