"""What a GPU is: multiprocessors, their memory and threads, and the instruction set that a build may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from convc.runtime.cuda.driver import capability_of
from convc.targets.target import TargetError

if TYPE_CHECKING:
    import tvm.target

ACCESS_BYTES = 16
"""The widest access of one thread to memory, on every architecture."""
WARP = 32
_PARTS, _UNIT, _SYSTEM_BYTES = 4, 256, 1 << 10
_TF32 = "tf32"


@dataclass(frozen=True)
class CudaTarget:
    """A target description. Schedules take every hardware number from here, never from a constant."""

    name: str
    """As the user wrote it: `cuda`, `cuda:sm_90a`."""
    arch: str
    """What code is generated for: `sm_80`; `sm_90a` with the instructions that only this architecture has."""
    device: str
    """The GPU that the numbers below are of."""
    multiprocessors: int
    shared_bytes: int
    """Shared memory that one block may have, with the driver's leave."""
    multiprocessor_shared_bytes: int
    multiprocessor_threads: int
    """How many threads a multiprocessor keeps at once."""
    l2_bytes: int
    bandwidth: float
    """Of the GPU's memory, in bytes a second."""
    clock: float
    """Cycles a second."""
    tf32: bool = False
    """Whether products of float32 may be rounded to TF32, which tensor cores multiply."""

    @property
    def kind(self) -> str:
        """The first part of the target's name."""
        return "cuda"

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability: (9, 0)."""
        return capability_of(self.arch)

    @property
    def registers(self) -> int:
        """32-bit registers of a multiprocessor."""
        return 1 << 16

    @property
    def threads(self) -> int:
        """How many threads the whole GPU keeps at once."""
        return self.multiprocessors * self.multiprocessor_threads

    def resident(self, threads: int, registers: int, shared_bytes: int) -> int:
        """How many blocks of so many threads, with so many registers each, a multiprocessor keeps at once (CUDA C++
        Best Practices Guide, calculating occupancy). A warp lies in one of its four parts, each with a fourth of the
        registers, and takes these 256 at a time; the system keeps 1 KiB of shared memory for each block."""
        warps = -(-threads // WARP)
        by_registers = self.registers // _PARTS // (-(-registers * WARP // _UNIT) * _UNIT) * _PARTS // warps
        by_shared = self.multiprocessor_shared_bytes // (shared_bytes + _SYSTEM_BYTES)
        return min(by_registers, by_shared, self.multiprocessor_threads // (warps * WARP))

    def with_tf32(self) -> CudaTarget:
        """The same GPU, its products of float32 rounded to TF32."""
        return self if self.tf32 else replace(self, name=f"{self.name}+{_TF32}", tf32=True)

    def lanes(self, dtype: str = "float32") -> int:
        """Elements of a type in the widest access of a thread: the channels of a block."""
        import numpy as np

        return ACCESS_BYTES // (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)

    def tvm(self) -> tvm.target.Target:
        """TVM's description of the same hardware, with a host for what splits functions in two."""
        import tvm.target

        return tvm.target.Target({"kind": "cuda", "arch": self.arch}, host={"kind": "llvm"})

    @property
    def model(self) -> str:
        """What the GPU is known as: H100, where the driver says NVIDIA H100 80GB HBM3."""
        devices = (gpu.device for gpu in _KNOWN.values() if gpu.arch == self.arch)
        return next((device for device in devices if re.search(rf"\b{device}\b", self.device)), self.device)

    @property
    def processor(self) -> str:
        """What the choices of a template carry over to: the same GPU in another machine."""
        return f"{self.model} ({self.arch}), {self.multiprocessors} multiprocessors" + (", TF32" if self.tf32 else "")

    def identity(self) -> dict[str, Any]:
        """What decides which code is made and how fast it is, as plain JSON values. Sizes and rates follow from the
        GPU; data sheets and drivers state them a little differently."""
        facts = {"kind": self.kind, "arch": self.arch, "tf32": self.tf32}
        return facts | {"device": self.model, "multiprocessors": self.multiprocessors}

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.device} ({self.arch}), {self.multiprocessors} multiprocessors, shared memory "
            f"{self.shared_bytes >> 10} KiB, L2 {self.l2_bytes >> 20} MiB, {self.bandwidth / 1e9:.0f} GB/s"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return {"kind": self.kind, **asdict(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> CudaTarget:
        """Raises TypeError for missing or unknown keys."""
        return CudaTarget(**{key: value for key, value in data.items() if key != "kind"})


def _gpu(
    arch: str,
    device: str,
    multiprocessors: int,
    shared: tuple[int, int],
    threads: int,
    l2: int,
    gbs: int,
    mhz: int,
    name: str = "",
) -> CudaTarget:
    block, all_blocks = shared
    numbers = (multiprocessors, block << 10, all_blocks << 10, threads, l2 << 20, gbs * 1e9, mhz * 1e6)
    return CudaTarget(f"cuda:{name or arch}", arch, device, *numbers)


_KNOWN = {
    gpu.name.removeprefix("cuda:"): gpu
    for gpu in (
        _gpu("sm_80", "A100", 108, (163, 164), 2048, 40, 1555, 1410),
        _gpu("sm_86", "RTX 3090", 82, (99, 100), 1536, 6, 936, 1695),
        _gpu("sm_87", "Jetson Orin", 16, (163, 164), 1536, 4, 204, 1300),
        _gpu("sm_89", "RTX 4090", 128, (99, 100), 1536, 72, 1008, 2520),
        _gpu("sm_90", "H100", 132, (227, 228), 2048, 50, 3350, 1755),
        _gpu("sm_90a", "H100", 132, (227, 228), 2048, 50, 3350, 1755),
        _gpu("sm_90a", "H200", 132, (227, 228), 2048, 50, 4800, 1755, name="h200"),
        _gpu("sm_100", "B200", 148, (227, 228), 2048, 126, 8000, 1830),
        _gpu("sm_120", "RTX 5090", 170, (99, 100), 1536, 96, 1792, 2407),
    )
}
"""The GPU that each architecture is best known for, and others by their own names: what was measured on one is chosen
by on the same alone. Vendor's data sheets; CUDA C++ Programming Guide, technical specifications by compute
capability."""


def parse_cuda(text: str) -> CudaTarget:
    """`cuda` (this machine's GPU), `cuda:ARCH` or `cuda:h200`, each with `+tf32`. Raises TargetError."""
    base, *features = text.strip().split("+")
    kind, separator, known_as = base.partition(":")
    if kind != "cuda" or (separator and known_as not in _KNOWN) or set(features) - {_TF32}:
        known = f"cuda (this machine's GPU), {', '.join(cuda_names())}, each also with +{_TF32}"
        raise TargetError(f'unknown target "{text}"; known: {known}')
    gpu = _KNOWN[known_as] if separator else _this_gpu()
    return replace(gpu, name=text.strip(), tf32=bool(features))


def cuda_names() -> list[str]:
    """The targets that can be built for anywhere."""
    return [gpu.name for gpu in _KNOWN.values()]


def _this_gpu() -> CudaTarget:
    from convc.runtime.cuda.driver import CudaError, Driver

    try:
        gpu = Driver().describe()
    except CudaError as error:
        raise TargetError(
            f'target "cuda": {error}; name an architecture to build for another machine: cuda:sm_90a'
        ) from None
    major, minor = gpu.capability
    if major < 8:
        raise TargetError(f'target "cuda": {gpu.name} has compute capability {major}.{minor}, convc needs 8.0 or newer')
    # sm_90a names what Hopper alone has; no other architecture's extras are used.
    arch = "sm_90a" if (major, minor) == (9, 0) else f"sm_{major}{minor}"
    return CudaTarget(
        "cuda",
        arch,
        gpu.name,
        gpu.multiprocessors,
        gpu.shared_bytes,
        gpu.multiprocessor_shared_bytes,
        gpu.multiprocessor_threads,
        gpu.l2_bytes,
        gpu.bandwidth or _KNOWN.get(arch, _KNOWN["sm_87"]).bandwidth,  # where memory is the host's, drivers say 0
        gpu.clock,
    )
