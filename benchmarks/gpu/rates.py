"""What the device does at the most, as torch measures it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from convc.roofline import Roofline
from gpu.device import Device
from gpu.engines import DTYPES, use_tf32

_ROUNDS = 10
_COPY_BYTES = 1 << 30
_MATMUL = 8192


def measure(precision: str, device: Device, nbytes: int = _COPY_BYTES, size: int = _MATMUL) -> Roofline:
    """The rates of copying `nbytes` (read and written both count), and of a product of matrices `[size, size]` in a
    precision: medians of 10."""
    use_tf32(precision == "tf32")
    source = torch.zeros(nbytes // 4, device=device.name)
    copy = _milliseconds(device, torch.empty_like(source).copy_, source)
    a, b = (torch.randn(size, size, device=device.name).to(DTYPES[precision]) for _ in range(2))
    product = _milliseconds(device, torch.matmul, a, b)
    return Roofline(gflops=2 * size**3 / product / 1e6, gbytes=2 * nbytes / copy / 1e6)


def _milliseconds(device: Device, function: Callable[..., object], *arguments: Any) -> float:
    work = partial(function, *arguments)
    device.milliseconds(work)
    return median(device.milliseconds(work) for _ in range(_ROUNDS))
