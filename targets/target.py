"""What the hardware is: vector width, registers, caches, cores, and the instructions a build may use."""

from __future__ import annotations

import difflib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from convc.runtime.cpu import usable_cores

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

    def tvm(self) -> tvm.target.Target:
        """TVM's description of the same hardware."""
        import tvm.target

        options: dict[str, Any] = {"num-cores": self.cores}
        if self.arch == "x86_64":
            # Reducing the strength of loops' addresses, LLVM now and then makes a variable of each address of a tile
            # and keeps hundreds on the stack: a convolution took twice as long for bands of five rows as of four.
            # x86-64 adds what a loop needs within its loads; aarch64's loads cannot.
            options["cl-opt"] = ["-disable-lsr:bool=1"]
        return tvm.target.Target(_tvm_dict(self.triple, self.cpu, self.features) | options)

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
    return parse_cpu(text)


def target_from_dict(data: Mapping[str, Any]) -> AnyTarget:
    """The inverse of a target's `to_dict`. Raises TypeError for missing or unknown keys."""
    if data["kind"] == "cuda":
        from convc.targets.cuda.target import CudaTarget

        return CudaTarget.from_dict(data)
    return CpuTarget.from_dict(data)


def parse_cpu(text: str) -> CpuTarget:
    """The CPU that a string names: `cpu` (this machine), `cpu:NAME` with LLVM's name of an x86-64 or aarch64
    processor, `cpu:TRIPLE`, the last two with any number of `+FEATURE`. Raises TargetError for all else."""
    kind, _, rest = text.strip().partition(":")
    if kind != "cpu" or text.strip().endswith(":"):
        raise TargetError(f'unknown target "{text}"; {_KNOWN}')
    if not rest:
        return _this_machine(text.strip())
    base, *added = rest.split("+")
    if re.fullmatch(r"(x86_64|aarch64)(-\w+)*-linux(-\w+)*", base):
        triple, cpu = base, "x86-64" if base.startswith("x86_64") else "generic"
    else:
        triple, cpu = _triple_of(text, base), base
    for name in added:
        if name not in (known := _known_features(triple.partition("-")[0])):
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {' or '.join(f'+{other}' for other in close)}?" if close else ""
            raise TargetError(f'target "{text}": no processor of {triple} has a feature "{name}"{hint}')
    features = tuple(f"+{name}" for name in added)
    available = llvm_features(triple, cpu, features)
    l1, l2, l3 = _default_caches(triple, available)
    return _describe(text.strip(), triple, cpu, features, available, (l1, l2, l3))


_KNOWN = (
    "known: cpu (this machine), cpu:NAME with LLVM's name of an x86-64 or aarch64 processor (x86-64-v3, haswell, "
    "skylake-avx512, znver4, cortex-a76, neoverse-n1 ...), cpu:TRIPLE such as cpu:aarch64-linux-gnu, "
    "the last two also with +FEATURE; cuda (this machine's GPU), cuda:ARCH such as cuda:sm_90a"
)
_TRIPLES = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


@cache
def known_cpus() -> Mapping[str, tuple[str, ...]]:
    """LLVM's names of the processors that can be built for, by architecture."""
    from tvm.target import Target as TvmTarget
    from tvm.target.codegen import llvm_get_cpu_archlist

    known = {}
    for arch, triple in _TRIPLES.items():
        names = sorted(str(name) for name in llvm_get_cpu_archlist(TvmTarget(_tvm_dict(triple, "", ()))))
        # LLVM spells some x86 names twice, and counts 32-bit processors as x86-64 ones.
        known[arch] = tuple(
            name
            for name in names
            if "_" not in name
            and name != "generic"
            and (arch != "x86_64" or "64bit" in llvm_features(triple, name, ()))
        )
    return known


@cache
def _known_features(arch: str) -> frozenset[str]:
    # LLVM only warns on stderr of a feature that it does not know.
    return frozenset().union(*(llvm_features(_TRIPLES[arch], cpu, ()) for cpu in known_cpus()[arch]))


def llvm_features(triple: str, cpu: str, features: Iterable[str]) -> frozenset[str]:
    """All features that LLVM assumes for a processor."""
    from tvm.target import Target as TvmTarget
    from tvm.target.codegen import llvm_get_cpu_features

    return frozenset(map(str, llvm_get_cpu_features(TvmTarget(_tvm_dict(triple, cpu, features)))))


def _tvm_dict(triple: str, cpu: str, features: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "llvm", "mtriple": triple}
    if cpu:
        found["mcpu"] = cpu
    if attributes := list(features):
        found["mattr"] = attributes
    return found


def _triple_of(text: str, cpu: str) -> str:
    # LLVM itself falls back to a generic processor in silence.
    for arch, names in known_cpus().items():
        if cpu in names:
            return _TRIPLES[arch]
    close = difflib.get_close_matches(cpu, [name for known in known_cpus().values() for name in known], n=3)
    hint = f"did you mean {' or '.join(f'cpu:{name}' for name in close)}? " if close else ""
    raise TargetError(f'unknown target "{text}"; {hint}{_KNOWN}')


def _this_machine(name: str) -> CpuTarget:
    import tvm  # noqa: F401  (registers the functions)
    import tvm_ffi

    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    if arch not in _TRIPLES:
        raise TargetError(f'target "{name}": this machine is {arch}, expected x86_64 or aarch64; name a target')
    host = tvm_ffi.get_global_func
    triple = _TRIPLES[arch] if platform.system() == "Linux" else str(host("tvm.codegen.llvm.GetProcessTriple")())
    cpu = str(host("tvm.codegen.llvm.GetHostCPUName")())
    # A virtual machine may hide what its processor's name promises, so compare feature by feature.
    promised = llvm_features(triple, cpu, ())
    actual = {str(key): bool(value) for key, value in host("tvm.codegen.llvm.GetHostCPUFeatures")().items()}
    features = tuple(
        ("+" if present else "-") + feature
        for feature, present in sorted(actual.items())
        if feature in _CPUINFO[arch] and present != (feature in promised)
    )
    available = llvm_features(triple, cpu, features)
    l1, l2, l3 = (
        found or default for found, default in zip(_sysfs_caches(), _default_caches(triple, available), strict=True)
    )
    return _describe(name, triple, cpu, features, available, (l1, l2, l3))


def _describe(
    name: str,
    triple: str,
    cpu: str,
    features: tuple[str, ...],
    available: frozenset[str],
    caches: tuple[int, int, int],
) -> CpuTarget:
    arch = triple.partition("-")[0]
    bits = 512 if "avx512f" in available else 256 if "avx" in available else 128
    required = sorted({cpuinfo for llvm, cpuinfo in _CPUINFO[arch].items() if llvm in available})
    return CpuTarget(
        name=name,
        triple=triple,
        cpu=cpu,
        features=features,
        vector_bits=bits,
        vector_registers=16 if arch == "x86_64" and bits < 512 else 32,
        l1_bytes=caches[0],
        l2_bytes=caches[1],
        l3_bytes=caches[2],
        cores=usable_cores(),
        required_features=tuple(required),
    )


def _default_caches(triple: str, available: frozenset[str]) -> tuple[int, int, int]:
    # What the smallest common machine of each class has: Cortex-A76, Skylake-SP, Haswell.
    if triple.startswith("aarch64"):
        return 64 << 10, 512 << 10, 2 << 20
    return 32 << 10, (1 << 20 if "avx512f" in available else 256 << 10), 8 << 20


def _sysfs_caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> tuple[int, int, int]:
    """Bytes of the first, second and third data caches; 0 where the kernel does not say."""
    sizes = {1: 0, 2: 0, 3: 0}
    for index in sorted(root.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue  # virtual machines show some entries and hide others
        match = re.fullmatch(r"(\d+)([KMG]?)", size)
        if kind != "Instruction" and match and int(level) in sizes:
            sizes[int(level)] = int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]
    return sizes[1], sizes[2], sizes[3]


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


# LLVM's name of an instruction set that compiled code may use -> its name in /proc/cpuinfo.
_CPUINFO: Mapping[str, Mapping[str, str]] = {
    "x86_64": {
        "sse3": "pni",
        "ssse3": "ssse3",
        "sse4.1": "sse4_1",
        "sse4.2": "sse4_2",
        "popcnt": "popcnt",
        "cx16": "cx16",
        "avx": "avx",
        "avx2": "avx2",
        "fma": "fma",
        "f16c": "f16c",
        "bmi": "bmi1",
        "bmi2": "bmi2",
        "lzcnt": "abm",
        "movbe": "movbe",
        "gfni": "gfni",
        "avxvnni": "avx_vnni",
        "avxifma": "avx_ifma",
        "avxvnniint8": "avx_vnni_int8",
        "avxneconvert": "avx_ne_convert",
        "fma4": "fma4",
        "xop": "xop",
        "tbm": "tbm",
        "avx512f": "avx512f",
        "avx512cd": "avx512cd",
        "avx512bw": "avx512bw",
        "avx512dq": "avx512dq",
        "avx512vl": "avx512vl",
        "avx512ifma": "avx512ifma",
        "avx512vbmi": "avx512vbmi",
        "avx512vbmi2": "avx512_vbmi2",
        "avx512vnni": "avx512_vnni",
        "avx512bitalg": "avx512_bitalg",
        "avx512vpopcntdq": "avx512_vpopcntdq",
        "avx512bf16": "avx512_bf16",
        "avx512fp16": "avx512_fp16",
        "avx512vp2intersect": "avx512_vp2intersect",
    },
    "aarch64": {
        "neon": "asimd",
        "fp-armv8": "fp",
        "lse": "atomics",
        "crc": "crc32",
        "rdm": "asimdrdm",
        "fullfp16": "asimdhp",
        "dotprod": "asimddp",
        "fp16fml": "asimdfhm",
        "complxnum": "fcma",
        "jsconv": "jscvt",
        "rcpc": "lrcpc",
        "i8mm": "i8mm",
        "bf16": "bf16",
        "sve": "sve",
        "sve2": "sve2",
    },
}
