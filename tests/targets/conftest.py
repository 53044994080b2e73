"""One kernel: built, compiled as those of an artifact are, run, and compared with its definition in float64."""

from __future__ import annotations

import ctypes
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, BlockArgument, Region, SSAValue

from convc.ir.attributes import element_type, layout_of, physical_shape, shape_of, tensor, with_layout
from convc.ir.data import RelayoutOp
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.interpreter import interpret
from convc.ir.kernel import KernelOp, YieldOp
from convc.ir.ordering import TopKOp

if TYPE_CHECKING:
    from convc.runtime.cuda.driver import Context
    from convc.targets.cuda.target import CudaTarget
    from convc.targets.target import CpuTarget

GUARD = 1024
"""Bytes around every array, which no kernel may write; read as floating-point numbers they are NaN."""
TOLERANCES = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-13}
"""max|diff| / max|ref| of one operation."""

Operand = tuple[Sequence[int], str] | tuple[Sequence[int], str, str | None]


def build_kernel(operands: Sequence[Operand], body: Callable[..., Any], layout: str | None = None) -> KernelOp:
    """A kernel over operands (shape, dtype[, layout]). `body` makes operations and returns the value to yield, or
    several. As after `assign-layouts`, what it computes lies in `layout` where that has the rank and channels."""
    types = [tensor(from_numpy(dtype), shape, *rest) for shape, dtype, *rest in operands]
    block = Block(arg_types=types)
    result = body(*block.args)
    results = list(result) if isinstance(result, tuple) else [result]
    for value in results:
        _append(block, value, layout)
    block.add_op(YieldOp(*results))
    outer = Block(arg_types=types)
    kernel = KernelOp(list(outer.args), Region(block), [value.type for value in results])
    outer.add_op(kernel)
    kernel.verify()
    return kernel


def _append(block: Block, value: SSAValue, layout: str | None) -> None:
    """Add the operation of a value to a block, after those of its operands."""
    if isinstance(value, BlockArgument) or value.owner.parent is block:
        return
    op = value.owner
    for operand in op.operands:
        _append(block, operand, layout)
    block.add_op(op)
    shape = shape_of(value)
    if layout and not isinstance(op, RelayoutOp) and 1 < len(shape) == tensor_rank(layout) and shape[1] > 1:
        value._type = with_layout(value.type, layout)


def tensor_rank(layout: str) -> int:
    """The number of logical axes of a layout."""
    return sum(letter.isupper() for letter in layout)


def operands_of(kernel: KernelOp, seed: int = 0) -> list[np.ndarray]:
    """Random operands: normal floats, small integers of both signs, booleans."""
    rng = np.random.default_rng(seed)
    arrays = []
    for value in kernel.inputs:
        dtype = to_numpy(element_type(value))
        low = 0 if dtype.kind in "ub" else -9
        numbers = rng.standard_normal if dtype.kind == "f" else lambda n, low=low: rng.integers(low, 10, n)
        arrays.append(numbers(shape_of(value)).astype(dtype))
    return arrays


def reference(kernel: KernelOp, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The kernel's results by its definition, computed in float64 and rounded to their types."""
    main = Block(arg_types=[value.type for value in kernel.inputs])
    copy = KernelOp(list(main.args), kernel.body.clone(), [value.type for value in kernel.outputs])
    main.add_op(copy)
    main.add_op(ReturnOp(*copy.outputs))
    types = ([value.type for value in main.args], [value.type for value in copy.outputs])
    module = ModuleOp([FuncOp("main", types, Region(main))])
    inputs = {f"input{i}": array for i, array in enumerate(arrays)}
    results = interpret(module, {}, inputs, np.float64).values()
    with np.errstate(over="ignore"):
        return [r.astype(to_numpy(element_type(value))) for r, value in zip(results, kernel.outputs, strict=True)]


class Image:
    """An array in its layout, 64-byte-aligned between guards, as the bytes of one piece of memory."""

    def __init__(self, value: SSAValue, array: np.ndarray | None = None) -> None:
        self.shape, self.dtype, self.layout = shape_of(value), to_numpy(element_type(value)), layout_of(value)
        self.physical = physical_shape(value)
        self.nbytes = int(np.prod(self.physical)) * self.dtype.itemsize
        size = GUARD + -(-self.nbytes // 64) * 64 + GUARD
        memory = np.empty(size + 64, np.uint8)
        self.bytes = memory[-memory.ctypes.data % 64 :][:size]
        self.bytes[:] = 0xFF
        if array is None:
            self.inside[:] = 77  # whatever the memory held before must not show
        else:
            packed = self.layout.pack(array) if self.layout else np.ascontiguousarray(array)
            self.inside[:] = packed.astype(self.dtype).reshape(-1).view(np.uint8)

    @property
    def inside(self) -> np.ndarray:
        """The bytes of the array."""
        return self.bytes[GUARD : GUARD + self.nbytes]

    @property
    def around(self) -> bytes:
        """The bytes of the guards."""
        return self.bytes[:GUARD].tobytes() + self.bytes[GUARD + self.nbytes :].tobytes()

    def array(self) -> np.ndarray:
        """The logical array. The padding of a layout must hold zeros, and booleans be 0 or 1."""
        if self.dtype == bool:
            assert self.inside.max(initial=0) <= 1, "a boolean is neither 0 nor 1"
        physical = self.inside.view(self.dtype).reshape(self.physical)
        if self.layout is None:
            return physical.copy()
        logical = self.layout.unpack(physical, self.shape)
        np.testing.assert_array_equal(
            self.layout.pack(logical), physical, err_msg="the padding of a layout holds zeros"
        )
        return logical


Call = Callable[[Sequence[Image], int], None]
"""Runs a kernel on the memory of its operands and results, with so many threads."""

_numbers = count()


def compiled(
    kernel: KernelOp,
    template: Any,
    target: str | CpuTarget | CudaTarget,
    config: Mapping[str, int] | None,
    folder: Path,
) -> Call:
    """The kernel as machine code, linked with the runtime; one for a GPU as what the software device runs."""
    from convc.targets.cpu.codegen import lowered
    from convc.targets.target import parse_target

    described = parse_target(target) if isinstance(target, str) else target
    assert template.applies(kernel, described), f"{template.name} does not apply"
    config = config if config is not None else template.candidates(kernel, described)[0]
    stem, arguments = f"kernel{next(_numbers)}", len(kernel.inputs) + len(kernel.outputs)
    path, function = folder / f"{stem}.o", template.schedule(kernel, config, described)
    if described.kind == "cuda":
        return _on_software_device(function, described, path, indexed_arrays=isinstance(kernel.anchor, TopKOp))
    lowered({"kernel": function}, described).write_to_file(str(path), "o")
    if described.arch == platform.machine():
        return _in_process(path)
    return _emulated(path, arguments, described.arch)


def _in_process(path: Path) -> Call:
    from convc.targets.toolchain import link

    output = path.with_suffix(".so")
    link(output, [path, _runtime(path.parent, platform.machine())], platform.machine())
    library = ctypes.CDLL(str(output))

    def call(images: Sequence[Image], threads: int) -> None:
        library.convc_use_threads(threads)
        status = library.kernel(*(ctypes.c_void_p(image.inside.ctypes.data) for image in images))
        assert status == 0

    return call


def _on_software_device(function: Any, target: CudaTarget, path: Path, indexed_arrays: bool) -> Call:
    from convc.runtime.cuda.launch import Launch, memory_of
    from convc.targets.cuda.codegen import generate
    from convc.targets.cuda.compiler import DEVICE_HEADERS, compile_cuda
    from convc.targets.cuda.emulator.build import emulated_kernels
    from convc.targets.cuda.library import source_of

    code = generate("kernel", function, target)
    source = source_of([code])
    resources = compile_cuda(source, target.arch, code.functions).resources
    for name, taken in resources.items():
        assert not taken.spilled_bytes, f"{name} does not fit into registers: {taken}"
        assert indexed_arrays or not taken.stack_bytes, f"{name} has arrays that are no registers: {taken}"
    emulated_kernels(source, code.functions, path, DEVICE_HEADERS)
    launches = json.loads(json.dumps(code.describe(resources)["launches"]))

    def call(images: Sequence[Image], threads: int) -> None:
        context = _software_device()
        module = context.module(path.read_bytes())
        addresses = [context.memory(image.bytes.nbytes) for image in images]
        scratch = context.memory(code.scratch_bytes)
        places = [(a + GUARD, image.nbytes) for a, image in zip(addresses, images, strict=True)]
        for image, address in zip(images, addresses, strict=True):
            context.stream.upload(address, image.bytes.ctypes.data, image.bytes.nbytes)
        for launch in launches:
            made = context.function(module, launch["function"], launch["dynamic_bytes"])
            memory = partial(memory_of, places, (scratch, scratch + code.scratch_bytes))
            context.stream.launch(Launch(context, made, launch, memory))
        for image, address in zip(images, addresses, strict=True):
            context.stream.download(image.bytes.ctypes.data, address, image.bytes.nbytes)
        context.close()

    return call


def _software_device() -> Context:
    from convc.runtime.cuda.driver import Context, Driver
    from convc.targets.cuda.emulator.build import emulated_driver

    return Context(Driver(emulated_driver()))


RUN = """
#include <stdio.h>
#include <stdlib.h>
int kernel({types});
void convc_use_threads(int threads);
int main(int count, char **words) {{
    char *p[{count}];
    for (int i = 0; i < {count}; ++i) {{
        size_t size = atol(words[2 + i]);
        p[i] = aligned_alloc(64, size);
        if (fread(p[i], 1, size, stdin) != size) return 1;
        p[i] += {guard};
    }}
    convc_use_threads(atoi(words[1]));
    if (kernel({operands})) return 2;
    for (int i = 0; i < {count}; ++i) fwrite(p[i] - {guard}, 1, atol(words[2 + i]), stdout);
    return 0;
}}
"""
"""A program that reads the memory of a kernel's operands and results, and writes what the kernel has made of it."""


def _emulated(path: Path, arguments: int, arch: str) -> Call:
    source, program = path.with_suffix(".c"), path.with_suffix("")
    types, operands = ", ".join(["char *"] * arguments), ", ".join(f"p[{i}]" for i in range(arguments))
    source.write_text(RUN.format(types=types, operands=operands, count=arguments, guard=GUARD))
    compile_program(program, [source, path, _runtime(path.parent, arch)], arch)

    def call(images: Sequence[Image], threads: int) -> None:
        command = [emulator(arch), str(program), str(threads), *(str(image.bytes.size) for image in images)]
        memory = b"".join(image.bytes.tobytes() for image in images)
        done = subprocess.run(command, input=memory, capture_output=True, check=True, timeout=120)
        after = np.frombuffer(done.stdout, np.uint8)
        assert after.size == len(memory)
        for image in images:
            image.bytes[:], after = after[: image.bytes.size], after[image.bytes.size :]

    return call


def runnable(target: CpuTarget) -> CpuTarget:
    """A processor's description where this machine, or QEMU on it, runs its code. Else its vectors and registers with
    this machine's instructions: the schedules are the same, and LLVM makes several vectors of one."""
    from convc.targets.target import parse_target

    here = parse_target("cpu")
    if target.arch == here.arch:
        runs = set(target.required_features) <= set(here.required_features)
    else:
        runs = _qemu(target.arch) is not None
    return target if runs else replace(target, triple=here.triple, cpu=here.cpu, features=here.features)


def _qemu(arch: str) -> str | None:
    return shutil.which(f"qemu-{arch}") or shutil.which(f"qemu-{arch}-static")


def emulator(arch: str) -> str:
    """QEMU's emulator of Linux programs of an architecture, or a skipped test."""
    found = _qemu(arch)
    if found is None:
        pytest.skip(f"qemu-{arch} (Debian package qemu-user) is not installed")
    return found


def compile_program(program: Path, inputs: Sequence[Path], arch: str) -> None:
    """A static executable for another architecture; musl, since no system library of that one is needed then."""
    pytest.importorskip("ziglang", reason="only ziglang compiles for other architectures")
    emulator(arch)
    from convc.targets.toolchain import NATIVE

    options = ["-target", f"{arch}-linux-musl", "-static", "-O1", "-g0", "-fno-sanitize=undefined", f"-I{NATIVE}"]
    command = [sys.executable, "-m", "ziglang", "cc", *options, *map(str, inputs), "-lm", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def _runtime(folder: Path, arch: str) -> Path:
    from convc.targets.toolchain import NATIVE, compile_c

    compile_c(NATIVE / "runtime.c", path := folder / f"runtime.{arch}.o", arch)
    return path


def run(call: Call, kernel: KernelOp, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The kernel's results as logical arrays: the same on one thread and on three, with nothing else written."""
    inputs = [Image(value, array) for value, array in zip(kernel.inputs, arrays, strict=True)]
    before = [image.bytes.copy() for image in inputs]
    found = []
    for threads in (1, 3):
        outputs = [Image(value) for value in kernel.outputs]
        guards = [image.around for image in outputs]
        call([*inputs, *outputs], threads)
        assert all(map(np.array_equal, before, (image.bytes for image in inputs))), "an operand was written"
        assert [image.around for image in outputs] == guards, "memory outside of a result was written"
        found.append(outputs)
    for alone, shared in zip(*found, strict=True):
        np.testing.assert_array_equal(alone.inside, shared.inside, err_msg="threads change the result")
    return [image.array() for image in found[0]]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> None:
    """Infinities and NaN must be where they are expected, all else within max|diff| / max|ref|; integers be equal."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    tolerance = TOLERANCES[str(expected.dtype)] if tolerance is None else tolerance
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    exact = expected[finite].astype(np.float64)
    worst = np.abs(actual[finite] - exact).max(initial=0)
    assert worst <= tolerance * np.abs(exact).max(initial=0), f"{worst=:.3g} at a largest of {np.abs(exact).max():.3g}"


@pytest.fixture(scope="session")
def run_kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[np.ndarray]]:
    """`run_kernel(kernel, template, arrays, target="cpu", config=None)`: the kernel's results."""
    folder = tmp_path_factory.mktemp("kernels")

    def run_(
        kernel: KernelOp,
        template: Any,
        arrays: Sequence[np.ndarray],
        target: str | CpuTarget | CudaTarget = "cpu",
        config: Mapping[str, int] | None = None,
    ) -> list[np.ndarray]:
        return run(compiled(kernel, template, target, config, folder), kernel, arrays)

    return run_


@pytest.fixture(scope="session")
def check(run_kernel: Callable[..., list[np.ndarray]]) -> Callable[..., None]:
    """`check(kernel, template, arrays=None, target="cpu", config=None, tolerance=None)`: what the machine code
    computes, from random operands unless some are given, is what the kernel's definition says."""

    def check_(
        kernel: KernelOp,
        template: Any,
        arrays: Sequence[np.ndarray] | None = None,
        target: str | CpuTarget | CudaTarget = "cpu",
        config: Mapping[str, int] | None = None,
        tolerance: float | None = None,
    ) -> None:
        arrays = operands_of(kernel) if arrays is None else arrays
        for actual, expected in zip(
            run_kernel(kernel, template, arrays, target, config), reference(kernel, arrays), strict=True
        ):
            assert_close(actual, expected, tolerance)

    return check_


@pytest.fixture(name="build_kernel", scope="session")
def _build_kernel() -> Callable[..., KernelOp]:
    return build_kernel


@pytest.fixture(name="operands_of", scope="session")
def _operands_of() -> Callable[..., list[np.ndarray]]:
    return operands_of


@pytest.fixture(name="assert_close", scope="session")
def _assert_close() -> Callable[..., None]:
    return assert_close


@pytest.fixture(name="runnable", scope="session")
def _runnable() -> Callable[[CpuTarget], CpuTarget]:
    return runnable


@pytest.fixture(name="emulator", scope="session")
def _emulator() -> Callable[[str], str]:
    return emulator


@pytest.fixture(name="compile_program", scope="session")
def _compile_program() -> Callable[..., None]:
    return compile_program
