"""From scheduled functions to CUDA C++ and to how it is launched.

A kernel's function may hold several loop nests over threads; each becomes a `__global__` function, launched one after
another, and what they hand over lies in scratch memory that is planned here. The host's part is never compiled: it is
read for the order of launches and their operands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import tvm
from tvm import ir, s_tir, tirx

from convc.runtime.cuda.launch import TensorMap
from convc.targets.cuda.compiler import Resources
from convc.targets.cuda.target import CudaTarget
from convc.targets.cuda.tensor_maps import read_tensor_map
from convc.targets.lets import to_memory
from convc.targets.lowering import LOOPS, has_blocks, run
from convc.targets.memory import aligned

# TVM's own pipeline for s_tir functions (tvm/s_tir/pipeline.py) without what needs a host.
_BLOCKS = (
    s_tir.transform.CanonicalizeLoop,
    s_tir.transform.LowerCrossThreadReduction,
    s_tir.transform.LowerInitBlock,
    s_tir.transform.PlanAndUpdateBufferAllocationLocation,
    s_tir.transform.ConvertBlocksToOpaque,
    s_tir.transform.LiftThreadBinding,
    s_tir.transform.CompactBufferAllocation,
    s_tir.transform.UnifyThreadBinding,
    s_tir.transform.LowerMatchBuffer,
    s_tir.transform.StmtSimplify,
    s_tir.transform.LowerOpaqueBlock,
    tirx.transform.FlattenBuffer,
    tirx.transform.BF16ComputeLegalize,
    lambda: tirx.transform.NarrowDataType(32),
    *LOOPS,
)
_THREADS = (
    tirx.transform.AnnotateEntryFunc,
    lambda: s_tir.transform.ThreadSync("shared"),
    lambda: s_tir.transform.ThreadSync("shared.dyn"),
    s_tir.transform.LowerThreadAllreduce,
    s_tir.transform.MergeSharedMemoryAllocations,
    tirx.transform.SplitHostDevice,
)
_DEVICE = (
    tirx.transform.LowerWarpMemory,
    tirx.transform.StmtSimplify,
    tirx.transform.LowerIntrin,
    tirx.transform.BF16StorageLegalize,
)
_PREAMBLE = re.compile(r'^extern "C" __global__', re.MULTILINE)
_DEFINITION = re.compile(r'^extern "C" __global__ [^{;]*\{\n', re.MULTILINE)
_DEVICE_FUNCTION = 2  # tvm::CallingConv::kDeviceKernelLaunch
_EARLY = (9, 0)
"""The compute capability from which on launches may begin before the one before has ended (programmatic dependent
launch)."""
_BOUND = re.compile(r"__launch_bounds__\(\d+")
RESIDENT = "convc.resident"
"""The attribute of a function that says how many of its blocks a multiprocessor shall have registers for."""
_WAIT, _BEGIN = "convc_grid_wait()", "convc_grid_begin"


@dataclass(frozen=True)
class Launch:
    """One launch of a device function, with so many bytes of dynamic shared memory; `cluster` says how many blocks of
    the grid run together. `operands` are numbers of the kernel's parameters, the byte offsets of its scratch buffers as
    negative numbers, -1 - offset, or tensor maps."""

    function: str
    grid: tuple[int, int, int]
    cluster: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_bytes: int
    operands: tuple[int | TensorMap, ...]
    early: bool
    """Whether it may begin before the launch before has ended: its function waits for that itself."""


@dataclass
class DeviceCode:
    """What a kernel becomes: source text without the headers that it needs, and its launches in order."""

    source: str
    launches: list[Launch]
    scratch_bytes: int = 0
    headers: list[str] = field(default_factory=list)

    @property
    def functions(self) -> list[str]:
        """The names of its device functions."""
        return [launch.function for launch in self.launches]

    def describe(self, resources: Mapping[str, Resources]) -> dict[str, Any]:
        """What a manifest says of it: plain JSON values."""
        launches = [{**asdict(launch), **asdict(resources[launch.function])} for launch in self.launches]
        return {"launches": launches, "scratch_bytes": self.scratch_bytes}


def generate(symbol: str, function: tirx.PrimFunc, target: CudaTarget) -> DeviceCode:
    """The code of one kernel. Its device functions are named after `symbol`."""
    described = target.tvm()
    module = ir.IRModule({symbol: function.with_attr({"global_symbol": symbol, "tirx.noalias": True})})
    module = tirx.transform.BindTarget(described)(module)
    # What is written as loops says itself how large its buffers are, and passes parts of them to device functions.
    passes = [p for p in _BLOCKS if has_blocks(function) or p is not s_tir.transform.CompactBufferAllocation]
    module = run(passes, module.functions)
    module = ir.IRModule({v.name_hint: to_memory(f, scope="local") for v, f in module.functions.items()})
    module = run(_THREADS, module.functions)
    host = next(f for f in module.functions.values() if not _on_device(f))
    device = {v: f for v, f in module.functions.items() if _on_device(f)}
    if not device:  # a kernel without elements
        return DeviceCode("", [])
    lowered = run(_DEVICE, device)
    text = str(tvm.get_global_func("target.build.cuda")(lowered, described).inspect_source("cuda"))
    functions = _PREAMBLE.search(text)
    assert functions is not None
    launches, scratch = _launches(host, early=target.capability >= _EARLY)
    headers = re.findall(r"^#include (<(?:cuda_\w+|math_constants)\.h>)", text[: functions.start()], re.MULTILINE)
    source = _waiting(text[functions.start() :])
    if resident := int((function.attrs or {}).get(RESIDENT, 0)):
        source = _BOUND.sub(rf"\g<0>, {resident}", source)
    return DeviceCode(source, launches, scratch, headers)


def _waiting(source: str) -> str:
    """Device functions that wait for the launches before them, at the beginning unless they say where."""
    first, *rest = _DEFINITION.split(source)
    heads = _DEFINITION.findall(source)
    bodies = [body if _WAIT in body else f"  {_BEGIN}();\n{body}" for body in rest]
    return first + "".join(head + body for head, body in zip(heads, bodies, strict=True))


def _on_device(function: tirx.PrimFunc) -> bool:
    return int((function.attrs or {}).get("calling_conv", 0)) == _DEVICE_FUNCTION


_SIZES = {"blockIdx": "grid", "clusterCtaIdx": "cluster", "threadIdx": "block"}
_AXES = {f"{tag}.{axis}": (size, i) for tag, size in _SIZES.items() for i, axis in enumerate("xyz")}
_DYNAMIC = "tirx.use_dyn_shared_memory"


def _launches(host: tirx.PrimFunc, early: bool) -> tuple[list[Launch], int]:
    """The launches that a host function makes, in order, and the bytes of its scratch memory."""
    places: list[tuple[Any, int | TensorMap]] = [(parameter, i) for i, parameter in enumerate(host.params)]
    launches: list[Launch] = []
    scratch = 0

    def place(data: Any) -> int | TensorMap:
        buffer = data.args[0] if isinstance(data, ir.Call) else data
        return next(number for known, number in places if known.same_as(buffer))

    statements = host.body.seq if isinstance(host.body, tirx.SeqStmt) else [host.body]
    for statement in statements:
        match statement:
            case tirx.AllocBuffer():
                places.append((statement.buffer, -1 - scratch))
                scratch += aligned(_nbytes(statement.buffer))
            case tirx.DeclBuffer():
                places.append((statement.buffer, place(statement.data)))
            case tirx.Bind():
                pass  # memory for a tensor map
            case tirx.Evaluate() if made := read_tensor_map(statement.value, place):
                places.append(made)
            case tirx.Evaluate() if isinstance(statement.value, ir.Call):
                launches.append(_launch(statement.value, place, early))
            case _:
                raise NotImplementedError(f"a kernel with work for the host: {type(statement).__name__}")
    return launches, scratch


def _launch(call: ir.Call, place: Callable[[Any], int | TensorMap], early: bool) -> Launch:
    name, *rest = call.args
    tags = [str(tag) for tag in call.attrs.launch_params]
    operands, extents = rest[: len(rest) - len(tags)], [int(extent) for extent in rest[len(rest) - len(tags) :]]
    sizes = {size: [1, 1, 1] for size in _SIZES.values()}
    shared = 0
    for tag, extent in zip(tags, extents, strict=True):
        if tag == _DYNAMIC:
            shared = extent
        else:
            what, axis = _AXES[tag]
            sizes[what][axis] = extent
    grid, cluster, block = (tuple(sizes[what]) for what in _SIZES.values())
    return Launch(name.value, grid, cluster, block, shared, tuple(map(place, operands)), early)  # type: ignore[arg-type]


def _nbytes(buffer: Any) -> int:
    dtype = tvm.DataType(str(buffer.dtype))
    return prod(int(extent) for extent in buffer.shape) * (dtype.bits * dtype.lanes + 7) // 8
