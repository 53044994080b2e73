"""What the hardware is: vector width, registers, caches, cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A target description. Schedules take every hardware number from here, never from a constant."""

    name: str
    """As the user wrote it: `cpu`, `cpu:znver4`, `cpu:aarch64-linux-gnu+neon`."""
    triple: str
    """The LLVM target triple, or "" for this machine's."""
    cpu: str
    """The LLVM name of the processor: `znver3`, `skylake-avx512`, `cortex-a76`."""
    features: tuple[str, ...]
    """Further LLVM features, as in `+neon`."""
    vector_bits: int
    """Width of a vector register: 128 (SSE, NEON), 256 (AVX2), 512 (AVX-512)."""
    vector_registers: int
    """How many vector registers an instruction can name: 16 (AVX2), 32 (AVX-512, NEON)."""
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int

    def lanes(self, dtype: str = "float32") -> int:
        """Elements of a type in one vector register."""
        import numpy as np

        return self.vector_bits // (8 * np.dtype(dtype).itemsize)
