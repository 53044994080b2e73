"""What the run-time tells the driver, held against NVIDIA's own header: names of functions, their parameters, values of
constants, layouts of structures. The software device would take a wrong one as readily as it was written."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.runtime.cuda import driver, launch, memory, streams
from convc.runtime.cuda.dlpack import DeviceArray
from convc.runtime.cuda.driver import Driver
from convc.targets.cuda import compiler
from convc.targets.cuda.compiler import compile_cuda
from convc.targets.cuda.emulator.build import HEADERS, emulated_driver
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.toolchain import ToolchainError

SOURCE = """
#include <stddef.h>
#include <stdio.h>
#include <cuda.h>
#define VALUE(name) printf(#name " %lld\\n", (long long)(name));
#define FIELD(type, field) printf(#type "." #field " %zu %zu\\n", offsetof(type, field), sizeof(((type *)0)->field));
int main(void) {
"""


@pytest.fixture(scope="module")
def include() -> Path:
    """The folder of cuda.h."""
    try:
        folder = next(compiler._cuda_headers())
    except ToolchainError as error:
        pytest.skip(str(error))
    if not (folder / "cuda.h").exists():
        pytest.skip("the CUDA headers here lack cuda.h")
    return folder


@pytest.fixture(scope="module")
def cc() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not found:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="module")
def header(include: Path, cc: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, list[int]]]:
    """`header(lines)`: what a program of some lines prints of cuda.h, by name."""

    def printed(lines: str) -> dict[str, list[int]]:
        folder = tmp_path_factory.mktemp("header")
        (folder / "facts.c").write_text(f"{SOURCE}{lines}return 0; }}\n")
        subprocess.run([cc, f"-I{include}", "facts.c", "-o", "facts"], cwd=folder, check=True)
        text = subprocess.run([folder / "facts"], capture_output=True, text=True, check=True).stdout
        return {name: [int(n) for n in rest] for name, *rest in map(str.split, text.splitlines())}

    return printed


CONSTANTS = {
    "CUDA_ERROR_OUT_OF_MEMORY": driver._OUT_OF_MEMORY,
    "CUDA_ERROR_INVALID_IMAGE": driver._INVALID_IMAGE,
    "CUDA_ERROR_NO_BINARY_FOR_GPU": driver._NO_BINARY_FOR_GPU,
    "CUDA_ERROR_NO_DEVICE": driver._NO_DEVICE,
    "CUDA_ERROR_NOT_READY": streams._NOT_READY,
    "CU_DEVICE_ATTRIBUTE_CLOCK_RATE": driver._CLOCK_KHZ,
    "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": driver._MULTIPROCESSORS,
    "CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE": driver._MEMORY_CLOCK_KHZ,
    "CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH": driver._MEMORY_BITS,
    "CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE": driver._L2_BYTES,
    "CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR": driver._MULTIPROCESSOR_THREADS,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": driver._MAJOR,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": driver._MINOR,
    "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": driver._MULTIPROCESSOR_SHARED_BYTES,
    "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": driver._BLOCK_SHARED_BYTES,
    "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES": driver._DYNAMIC_SHARED_BYTES,
    "CU_STREAM_NON_BLOCKING": driver._STREAM_NON_BLOCKING,
    "CU_TENSOR_MAP_DATA_TYPE_UINT64": launch._UINT64,
    "CU_TENSOR_MAP_L2_PROMOTION_L2_128B": launch._L2_128_BYTES,
    "CU_TENSOR_MAP_INTERLEAVE_NONE": 0,
    "CU_TENSOR_MAP_SWIZZLE_NONE": 0,
    "CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE": 0,
    "CU_MEM_ALLOCATION_TYPE_PINNED": memory._PINNED,
    "CU_MEM_HANDLE_TYPE_NONE": 0,
    "CU_MEM_LOCATION_TYPE_DEVICE": memory._DEVICE,
    "CU_MEMPOOL_ATTR_RELEASE_THRESHOLD": memory._RELEASE_THRESHOLD,
    "CU_STREAM_LEGACY": streams.LEGACY,
    "CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION": streams._CLUSTER_DIMENSION,
    "CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION": streams._PROGRAMMATIC_SERIALIZATION,
    "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": streams._CAPTURE_THREAD_LOCAL,
    "CU_EVENT_DISABLE_TIMING": streams._DISABLE_TIMING,
    "sizeof(CUtensorMap)": launch._MAP_BYTES,
    "_Alignof(CUtensorMap)": launch._MAP_ALIGNMENT,
}


def test_constants_are_the_headers(header: Callable[[str], dict[str, list[int]]]) -> None:
    found = header("".join(f"VALUE({name})\n" for name in CONSTANTS))
    assert {name: value for name, (value,) in found.items()} == CONSTANTS


PROPERTIES = {
    "kind": "allocType",
    "handles": "handleTypes",
    "location": "location.type",
    "device": "location.id",
    "security": "win32SecurityAttributes",
    "most_bytes": "maxSize",
    "usage": "usage",
    "reserved": "reserved",
}
CONFIGURATION = {"dynamic_bytes": "sharedMemBytes", "stream": "hStream", "attributes": "attrs", "count": "numAttrs"}
STRUCTURES = [
    ("CUmemPoolProps", memory._Properties, PROPERTIES),
    ("CUlaunchAttribute", streams._Attribute, {"id": "id", "padding": "pad", "value": "value"}),
    ("CUlaunchConfig", streams._Configuration, CONFIGURATION),
]
"""Ours, and what its fields are called in the header."""


def test_structures_lie_as_the_headers(header: Callable[[str], dict[str, list[int]]]) -> None:
    for name, structure, fields in STRUCTURES:
        lines = "".join(f"FIELD({name}, {field})\n" for field in fields.values())
        found = header(f"VALUE(sizeof({name}))\n{lines}")
        assert found.pop(f"sizeof({name})") == [ctypes.sizeof(structure)]
        ours = {theirs: getattr(structure, field) for field, theirs in fields.items()}
        assert found == {f"{name}.{theirs}": [field.offset, field.size] for theirs, field in ours.items()}
    triples = header("FIELD(CUlaunchConfig, gridDimX)\nFIELD(CUlaunchConfig, blockDimX)\n")
    for theirs, field in (("gridDimX", "grid"), ("blockDimX", "block")):
        assert triples[f"CUlaunchConfig.{theirs}"][0] == getattr(streams._Configuration, field).offset


def test_tensor_maps_are_as_aligned_in_kernels(header: Callable[[str], dict[str, list[int]]]) -> None:
    """Of the GPU and of the software device: the compiler places parameters by it."""
    (aligned,) = header("VALUE(_Alignof(CUtensorMap))")["_Alignof(CUtensorMap)"]
    kernel = f'extern "C" __global__ void k() {{ static_assert(alignof(CUtensorMap) == {aligned}); }}'
    compile_cuda(f'#include "convc_device.cuh"\n{kernel}', "sm_90a", ["k"])
    check = f'#include "engine.h"\nstatic_assert(alignof(CUtensorMap) == {aligned});'
    command = ["c++", "-std=c++17", "-fsyntax-only", f"-I{HEADERS}", "-x", "c++", "-"]
    subprocess.run(command, input=check, text=True, check=True)


@dataclass(frozen=True)
class Parameter:
    """Of a function in cuda.h: its C type, and its bytes."""

    text: str
    size: int


@pytest.fixture(scope="module")
def declared(include: Path, cc: str) -> dict[str, list[Parameter]]:
    """The functions of cuda.h, those that newer ones have replaced too, under the names that libraries export."""
    # With it the header renames nothing and declares all versions.
    command = [cc, "-x", "c", "-E", "-P", "-D__CUDA_API_VERSION_INTERNAL", f"-I{include}", "-"]
    text = subprocess.run(command, input="#include <cuda.h>", capture_output=True, text=True, check=True).stdout
    wide = set(re.findall(r"typedef (?:struct \w+ ?\*|unsigned long long|size_t) ?(CU\w+|cuuint64_t);", text))
    functions = {}
    for name, parameters in re.findall(r"\bCUresult\s+(cu\w+)\s*\(([^()]*)\);", text):
        functions[name] = [_parameter(one, wide | {"CUdeviceptr", "size_t"}) for one in parameters.split(",")]
        if parameters.strip() == "void":
            functions[name] = []
    return functions


def _parameter(text: str, wide: set[str]) -> Parameter:
    kind = re.sub(r"\bconst\b", "", text).strip()
    words = kind.split()
    return Parameter(kind, 8 if "*" in kind or words[0] in wide or kind.startswith("unsigned long long") else 4)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """What the driver is asked meanwhile: the arguments by the function's name."""
    found: dict[str, tuple[Any, ...]] = {}
    begin = Driver.__init__

    class Library:
        def __init__(self, library: Any) -> None:
            self._library = library

        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                found[name] = arguments
                return getattr(self._library, name)(*arguments)

            return call

    def recording(self: Any, library: Path | None = None) -> None:
        begin(self, library)
        self._library = Library(self._library)

    monkeypatch.setattr(Driver, "__init__", recording)
    return found


def width(argument: Any) -> int:
    """Bytes of an argument as ctypes passes it."""
    if argument is None or isinstance(argument, bytes):
        return 8
    if isinstance(argument, int):
        return 4
    if not isinstance(argument, ctypes._SimpleCData):
        return 8  # passed by its address
    return ctypes.sizeof(argument)


def test_functions_are_called_as_they_are_declared(
    declared: dict[str, list[Parameter]],
    calls: dict[str, tuple[Any, ...]],
    build_text: Callable[..., None],
    two_layers_text: str,
    tmp_path: Path,
) -> None:
    """All that networks ask: on arrays of the host and of the GPU, on a caller's stream, timed, and when it ends."""
    path = tmp_path / "two.convc"
    build_text(path, two_layers_text, target="cuda:sm_90a")
    executable = load_emulated(path)
    engine = executable._engine
    inputs = {"image": np.ones((2, 3, 5, 7), np.float32), "gain": np.ones((1, 1, 1, 7), np.float32)}
    executable.run(inputs)
    executable.profile(inputs)
    context = engine._context
    place = context.memory(inputs["image"].nbytes)
    image = DeviceArray(place, (2, 3, 5, 7), np.dtype(np.float32), None)
    outputs = executable.run(inputs | {"image": image}, stream=context.stream.handle.value)
    outputs["flat"].numpy()
    _ = outputs["flat"].__cuda_array_interface__
    context.free_bytes()
    engine._context.driver.describe()
    _ = engine._context.driver.version
    launch.TensorMap(0, (12, 5), (128,), (4, 2), (1, 1)).encoded(context, place, 1024)
    del outputs, image
    engine._pool.context.close()
    context.close()
    wrong = []
    for name, arguments in calls.items():
        if name not in declared:
            wrong.append(f"{name} is not in cuda.h")
            continue
        ours, theirs = [width(argument) for argument in arguments], [p.size for p in declared[name]]
        if ours != theirs:
            wrong.append(f"{name}{arguments}: bytes {ours}, declared {theirs} ({declared[name]})")
    assert not wrong
    assert {"cuLaunchKernelEx", "cuMemAllocFromPoolAsync", "cuMemFreeAsync", "cuGraphLaunch"} <= calls.keys()


def test_every_function_that_is_named_is_declared(declared: dict[str, list[Parameter]]) -> None:
    folder = Path(driver.__file__).parent
    named = {n for path in folder.glob("*.py") for n in re.findall(r'["\'(.](cu[A-Z]\w+)', path.read_text())}
    assert len(named) > 30
    assert named - declared.keys() == set()


def test_the_software_device_exports_what_the_driver_does(declared: dict[str, list[Parameter]]) -> None:
    text = subprocess.run(["nm", "-D", "--defined-only", emulated_driver()], capture_output=True, text=True, check=True)
    exported = {name for name in re.findall(r" T (\w+)", text.stdout) if name.startswith("cu")}
    assert len(exported) > 30
    assert exported - declared.keys() == set()
