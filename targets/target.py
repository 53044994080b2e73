"""What the hardware is: vector width, registers, caches, cores, and the instructions a build may use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import tvm.target

    from convc.targets.cuda.target import CudaTarget

AnyTarget: TypeAlias = "CpuTarget | CudaTarget"


class TargetError(ValueError):
    """A target that does not exist or cannot be built for. The message is one line for the user."""


@dataclass(frozen=True)
class CpuTarget:
    """A CPU's description. Schedules take every hardware number from here, never from a constant."""

    name: str
    """As the user wrote it: `cpu`, `cpu:znver4`, `cpu:aarch64-linux-gnu+neon`."""
    triple: str
    """The LLVM target triple."""
    cpu: str
    """The LLVM name of the processor: `znver3`, `skylake-avx512`, `cortex-a76`."""
    features: tuple[str, ...]
    """LLVM features to add to or take from those of `cpu`: `+neon`, `-avx512f`."""
    vector_bits: int
    """Width of a vector register: 128 (SSE, NEON), 256 (AVX), 512 (AVX-512)."""
    vector_registers: int
    """How many vector registers an instruction can name: 16 (SSE, AVX), 32 (AVX-512, NEON)."""
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    """Cache sizes: data caches of one core, then the last level that cores share."""
    cores: int
    """How many cores a process may use."""
    required_features: tuple[str, ...] = ()
    """The instruction sets a build may contain, by their names in /proc/cpuinfo: a machine lacking one of them
    must refuse it."""

    @property
    def kind(self) -> str:
        """The first part of the target's name."""
        return "cpu"

    @property
    def arch(self) -> str:
        """`x86_64` or `aarch64`."""
        return self.triple.partition("-")[0]

    def lanes(self, dtype: str = "float32") -> int:
        """Elements of a type in one vector register."""
        import numpy as np

        return self.vector_bits // (8 * np.dtype(dtype).itemsize)

    def tvm(self, hoists: bool = True) -> tvm.target.Target:
        """TVM's description of the same hardware. LLVM then `hoists` constants out of loops into registers, or not."""
        import tvm.target

        flags = [] if hoists else ["-disable-machine-licm:bool=1"]
        if self.arch == "x86_64":
            # Reducing the strength of loops' addresses, LLVM now and then makes a variable of each address of a tile
            # and keeps hundreds on the stack: a convolution took twice as long for bands of five rows as of four.
            # x86-64 adds what a loop needs within its loads; aarch64's loads cannot.
            flags.append("-disable-lsr:bool=1")
        else:
            # Clustering loads of adjacent numbers, to be paired, LLVM loads what a convolution's next steps multiply,
            # and sums go to the stack for it.
            flags.append("-misched-cluster:bool=0")
        options: dict[str, Any] = {"num-cores": self.cores, "cl-opt": flags}
        return tvm.target.Target(llvm_dict(self.triple, self.cpu, self.features) | options)

    def describe(self) -> str:
        """One line for people."""
        caches = " / ".join(_size(n) for n in (self.l1_bytes, self.l2_bytes, self.l3_bytes))
        return (
            f"{self.cpu} ({self.arch}), {self.vector_registers} x {self.vector_bits}-bit vector registers, "
            f"caches {caches}, {self.cores} core{'s' if self.cores > 1 else ''}"
        )

    @property
    def processor(self) -> str:
        """What the choices of a template carry over to: the same core, whatever its machine has of a last cache and
        hides of features."""
        registers = f"{self.vector_registers} x {self.vector_bits} bits"
        return f"{self.cpu}, {registers}, L2 of {self.l2_bytes >> 10} KiB"

    def identity(self) -> dict[str, Any]:
        """All that decides which code is made, as plain JSON values: not the name that the target was given, nor its
        number of cores."""
        return {k: v for k, v in self.to_dict().items() if k not in ("name", "cores", "required_features")}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"kind": self.kind, **values}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> CpuTarget:
        """Raises TypeError for missing or unknown keys."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"}
        return CpuTarget(**fields)

    def __str__(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def parse_target(text: str) -> AnyTarget:
    """The target that a string names: `cuda...` as `parse_cuda` takes it, or a CPU as `parse_cpu` does. Raises
    TargetError for all else."""
    if text.strip().partition(":")[0] == "cuda":
        from convc.targets.cuda.target import parse_cuda

        return parse_cuda(text)
    from convc.targets.cpus import parse_cpu

    return parse_cpu(text)


def target_from_dict(data: Mapping[str, Any]) -> AnyTarget:
    """The inverse of a target's `to_dict`. Raises TypeError for missing or unknown keys."""
    if data["kind"] == "cuda":
        from convc.targets.cuda.target import CudaTarget

        return CudaTarget.from_dict(data)
    return CpuTarget.from_dict(data)


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def llvm_dict(triple: str, cpu: str, features: Iterable[str]) -> dict[str, Any]:
    """The fields of TVM's target for a processor by its LLVM triple and name (empty: none in particular)."""
    found: dict[str, Any] = {"kind": "llvm", "mtriple": triple}
    if cpu:
        found["mcpu"] = cpu
    if attributes := list(features):
        found["mattr"] = attributes
    return found
