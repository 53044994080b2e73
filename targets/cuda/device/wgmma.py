"""The products of a warpgroup, one function a width: their operands are registers by the hundred, listed one by one.

`convc_wgmma_m64n64k16_f16(d, a, b, accumulate)` computes d = a b, or d += a b, of 64 x k and N x k matrices that
descriptors name (convc_wgmma_descriptor), both contiguous in k. `d` are the thread's N / 2 accumulators: of rows r and
r + 8, where r = 16 * warp + lane / 4, columns c and c + 1 of each eight, where c = 2 * (lane % 4), as d[4j], d[4j + 1] of row
r and d[4j + 2], d[4j + 3] of row r + 8 for columns 8j + c and 8j + c + 1 (PTX ISA, wgmma.mma_async, matrix D).
"""

from __future__ import annotations

WIDTHS = range(8, 257, 8)
# The type's name in the instruction, the depth in elements, and the operands that only types of 16 bits have: neither
# matrix is transposed.
_TYPES = (("f16", 16, ", 0, 0"), ("bf16", 16, ", 0, 0"), ("tf32", 8, ""))


def wgmma_header() -> str:
    """The text of convc_wgmma.cuh."""
    functions = (_function(n, *kind) for kind in _TYPES for n in WIDTHS)
    return "// Written by wgmma.py.\n#pragma once\n\n" + "\n".join(functions)


def _function(n: int, kind: str, k: int, transposed: str) -> str:
    count = n // 2
    registers = ", ".join(f"%{i}" for i in range(count))
    operands = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    return f"""\
__device__ __forceinline__ void convc_wgmma_m64n{n}k{k}_{kind}(float *d, unsigned long long a, unsigned long long b, int accumulate) {{
#ifdef CONVC_EMULATED
    convc_emulated::emulated_wgmma(d, a, b, {n}, convc_emulated::{kind.upper()}, accumulate != 0);
#else
    asm volatile("{{ .reg .pred p; setp.ne.b32 p, %{count + 2}, 0;"
                 " wgmma.mma_async.sync.aligned.m64n{n}k{k}.f32.{kind}.{kind}"
                 " {{{registers}}}, %{count}, %{count + 1}, p, 1, 1{transposed}; }}"
                 : {operands}
                 : "l"(a), "l"(b), "r"(accumulate));
#endif
}}
"""
