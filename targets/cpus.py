"""CPUs by name, and the one that this is: what LLVM and the system say of them, as a `CpuTarget`."""

from __future__ import annotations

import difflib
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from convc.runtime.cpu import usable_cores
from convc.targets.target import CpuTarget, TargetError, llvm_dict


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
        names = sorted(str(name) for name in llvm_get_cpu_archlist(TvmTarget(llvm_dict(triple, "", ()))))
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

    return frozenset(map(str, llvm_get_cpu_features(TvmTarget(llvm_dict(triple, cpu, features)))))


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
