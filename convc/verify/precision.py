"""What may be asked of a network's outputs in each precision that it can be built in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """`tolerance`: the max|diff|/max|ref| that a whole network may reach. `unit`: by how much of itself a number may
    move when it is rounded; 0 means to the next float."""

    tolerance: float
    unit: float = 0.0


FP32 = Precision(1e-4)
"""Sums of a few thousand terms in another order."""
PRECISIONS = {
    "fp32": FP32,
    "tf32": Precision(1e-2, 2.0**-12),
    "fp16": Precision(1e-2, 2.0**-12),
    "bf16": Precision(5e-2, 2.0**-9),
}
"""By the names of `--precision`: factors and values of 11 bits, and of 8, between some hundred layers."""
