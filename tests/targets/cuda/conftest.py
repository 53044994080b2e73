"""Kernels on the emulated CUDA device, called through the driver API."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdsl.ir import SSAValue

from convc.ir.data import CastOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.layout import chunked_weight
from convc.ir.windows import ConvOp
from convc.targets.cuda.compiler import DEVICE_HEADERS, Resources, compile_cuda, compiler_version
from convc.targets.cuda.emulator.build import emulated_driver, emulated_kernels
from convc.targets.toolchain import ToolchainError

KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(")
CLUSTER_DIMENSION, PROGRAMMATIC_SERIALIZATION = 4, 6
DYNAMIC_SHARED_SIZE = 8


class DriverError(Exception):
    """A CUresult other than CUDA_SUCCESS: its name, and what the emulated device had to say."""


class Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("padding", ctypes.c_int), ("value", ctypes.c_uint * 16))


class Configuration(ctypes.Structure):
    _fields_ = (
        *(("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint)),
        *(("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(Attribute)), ("count", ctypes.c_uint)),
    )


class TensorMap(ctypes.Structure):
    _fields_ = (("opaque", ctypes.c_uint64 * 16),)


# As CUtensorMapDataType numbers them; numpy has no bfloat16.
MAP_TYPES = {"uint8": 0, "uint16": 1, "int32": 3, "float16": 6, "float32": 7}


class Device:
    """The emulated device; its methods are the driver's entry points, which raise DriverError."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.library, self.folder = ctypes.CDLL(str(path)), folder
        self.sources: dict[str, bytes] = {}
        self.library.convc_emulator_message.restype = ctypes.c_char_p
        self.cuInit(0)
        self.context = self.handle("cuDevicePrimaryCtxRetain", 0)
        self.cuCtxSetCurrent(self.context)

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if result := getattr(self.library, name)(*arguments):
                text = ctypes.c_char_p()
                self.library.cuGetErrorName(result, ctypes.byref(text))
                message = self.library.convc_emulator_message().decode()
                raise DriverError(f"{text.value.decode() if text.value else result}: {message}")

        return call

    def handle(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What an entry point writes to its first argument."""
        result = ctypes.c_void_p()
        getattr(self, name)(ctypes.byref(result), *arguments)
        return result

    def put(self, array: np.ndarray) -> ctypes.c_void_p:
        """A copy of the array in device memory."""
        place = self.handle("cuMemAlloc_v2", ctypes.c_size_t(array.nbytes))
        self.cuMemcpyHtoD_v2(place, np.ascontiguousarray(array).ctypes.data_as(ctypes.c_void_p), array.nbytes)
        return place

    def get(self, place: ctypes.c_void_p, like: np.ndarray) -> np.ndarray:
        """What device memory holds, with the shape and type of an array."""
        result = np.empty_like(like)
        self.cuMemcpyDtoH_v2(result.ctypes.data_as(ctypes.c_void_p), place, result.nbytes)
        return result

    def compiled(self, source: str) -> bytes:
        """A CUDA source with all its kernels; each is compiled once in a session."""
        if source not in self.sources:
            output = self.folder / f"kernels{len(self.sources)}.so"
            emulated_kernels(source, KERNEL.findall(source), output, DEVICE_HEADERS)
            self.sources[source] = output.read_bytes()
        return self.sources[source]

    def functions(self, source: str, *names: str) -> list[ctypes.c_void_p]:
        """Kernels of a CUDA source."""
        module = self.handle("cuModuleLoadData", self.compiled(source))
        return [self.handle("cuModuleGetFunction", module, name.encode()) for name in names]

    def launch(
        self,
        function: ctypes.c_void_p,
        grid: Sequence[int] | int,
        block: Sequence[int] | int,
        *arguments: Any,
        shared: int = 0,
        stream: ctypes.c_void_p | None = None,
        cluster: Sequence[int] | None = None,
        early: bool = False,
    ) -> None:
        """Issue a kernel with ctypes values, on `shared` bytes of dynamic shared memory; `early`: it may begin before
        the launch before has ended."""

        def shape(value: Sequence[int] | int) -> tuple[int, ...]:
            return (*((value,) if isinstance(value, int) else value), 1, 1)[:3]

        if shared > 48 << 10:
            self.cuFuncSetAttribute(function, DYNAMIC_SHARED_SIZE, shared)
        values = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(value) for value in arguments))
        if cluster is None and not early:
            self.cuLaunchKernel(function, *shape(grid), *shape(block), shared, stream, values, None)
            return
        sizes = (ctypes.c_uint * 16)(*shape(cluster or 1))
        ahead = Attribute(PROGRAMMATIC_SERIALIZATION, 0, (ctypes.c_uint * 16)(early))
        attributes = (Attribute * 2)(Attribute(CLUSTER_DIMENSION, 0, sizes), ahead)
        places = ctypes.cast(attributes, ctypes.POINTER(Attribute))
        configuration = Configuration(shape(grid), shape(block), shared, stream, places, 2)
        self.cuLaunchKernelEx(ctypes.byref(configuration), function, values, None)

    def tensor_map(
        self,
        place: ctypes.c_void_p,
        array: np.ndarray,
        box: Sequence[int],
        steps: Sequence[int] | None = None,
        swizzle: int = 0,
    ) -> TensorMap:
        """Of an array in device memory; boxes and steps are given outermost dimension first, as numpy has shapes."""
        rank = array.ndim
        memory = ctypes.create_string_buffer(ctypes.sizeof(TensorMap) + 64)
        aligned = TensorMap.from_buffer(memory, -ctypes.addressof(memory) % 64)
        self.cuTensorMapEncodeTiled(
            *(ctypes.byref(aligned), MAP_TYPES[str(array.dtype)], rank, place),
            (ctypes.c_uint64 * rank)(*array.shape[::-1]),
            (ctypes.c_uint64 * rank)(*array.strides[-2::-1]),
            (ctypes.c_uint * rank)(*box[::-1]),
            (ctypes.c_uint * rank)(*(steps or (1,) * rank)[::-1]),
            *(0, swizzle, 0, 0),
        )
        return aligned

    def run(self, source: str, name: str, grid: Any, block: Any, *arguments: Any, **options: Any) -> list[np.ndarray]:
        """Launch one kernel on arrays, and numbers as ctypes values; what the arrays hold after it."""
        (function,) = self.functions(source, name)
        places = [self.put(value) if isinstance(value, np.ndarray) else value for value in arguments]
        self.launch(function, grid, block, *places, **options)
        self.cuCtxSynchronize()
        pairs = zip(places, arguments, strict=True)
        return [self.get(place, value) for place, value in pairs if isinstance(value, np.ndarray)]


@pytest.fixture(scope="session")
def _device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    return Device(emulated_driver(), tmp_path_factory.mktemp("emulator"))


@pytest.fixture
def device(_device: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The emulated device (sm_90), as after a reset."""
    monkeypatch.setenv("CONVC_EMULATED_SM", "90")
    _device.cuCtxSetCurrent(_device.context)
    yield _device
    _device.cuDevicePrimaryCtxReset_v2(0)


@pytest.fixture(name="DriverError", scope="session")
def _driver_error() -> type[DriverError]:
    return DriverError


@pytest.fixture
def machine_code(capfd: pytest.CaptureFixture[str]) -> Callable[[str, str, str], Resources]:
    """`machine_code(source, name, arch)`: what the kernel takes on a GPU of an architecture, where nothing may be kept
    from being as fast as it is written."""

    def compiled(source: str, name: str, arch: str) -> Resources:
        try:
            compiler_version()
        except ToolchainError as error:
            pytest.skip(str(error))
        resources = compile_cuda(source, arch, [name]).resources[name]
        assert (resources.stack_bytes, resources.spilled_bytes) == (0, 0)
        # What it says where it must keep the products of a warpgroup from overlapping.
        assert "warpgroup." not in capfd.readouterr().err
        return resources

    return compiled


@pytest.fixture(scope="session")
def conv(build_kernel: Callable[..., KernelOp]) -> Callable[..., KernelOp]:
    """`conv(x, outputs, window, dtype="float32", group=1, **geometry)`: a kernel of a convolution, its bias, a residual
    sum and a ReLU, on tensors in blocked layouts; those of a narrower type are converted."""
    return partial(_conv, build_kernel)


def _conv(
    build_kernel: Callable[..., KernelOp],
    x: Sequence[int],
    outputs: int,
    window: Sequence[int],
    *,
    dtype: str = "float32",
    group: int = 1,
    **geometry: Any,
) -> KernelOp:
    rank, block = len(x), 4 if dtype == "float32" else 8
    layout = "CN" + "DHW"[5 - rank :] + f"{block}c"
    weight = ((outputs, x[1] // group, *window), dtype, str(chunked_weight(rank, block)))

    def sums(x: SSAValue, w: SSAValue, b: SSAValue) -> SSAValue:
        return ConvOp(x, w, b, group=group, **geometry).result

    def wide(value: SSAValue) -> SSAValue:
        return value if dtype == "float32" else CastOp(value, from_numpy("float32")).result

    def body(x: SSAValue, w: SSAValue, b: SSAValue, r: SSAValue) -> SSAValue:
        total = ElementwiseOp(Fn.ADD, sums(wide(x), wide(w), b), wide(r)).result
        result = ElementwiseOp(Fn.RELU, total).result
        return result if dtype == "float32" else CastOp(result, from_numpy(dtype)).result

    probe = build_kernel([(x, "float32"), (weight[0], "float32"), ((outputs,), "float32")], sums)
    shape = probe.outputs[0].type.get_shape()
    operands = [(x, dtype, layout), weight, ((outputs,), "float32", f"O{block}o"), (shape, dtype, layout)]
    return build_kernel(operands, body, layout)
