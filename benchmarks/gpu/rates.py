"""What the device does at the most, as torch measures it, and how near to that each of convc's kernels comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from convc.roofline import Roofline
from convc.runtime import Executable, StepTime
from gpu.device import Device
from gpu.engines import DTYPES, use_tf32

_ROUNDS = 10
_COPY_BYTES = 1 << 30
_MATMUL = 8192
_PROFILES = 9


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


def kernel_table(executable: Executable, inputs: Mapping[str, Any], roofline: Roofline) -> list[dict[str, Any]]:
    """The kernels of one inference, slowest first. Each is launched by itself here, which costs the short ones
    microseconds that they do not cost in a graph."""
    runs: Sequence[Sequence[StepTime]] = [executable.profile(inputs) for _ in range(_PROFILES)]
    rows = []
    for steps in zip(*runs, strict=True):
        step, nanoseconds = steps[0], max(median(each.nanoseconds for each in steps), 1)
        bound, share = roofline.bound(step.macs, step.nbytes, nanoseconds)
        rows.append(
            {
                "kernel": step.kernel,
                "name": step.name,
                "template": executable.manifest["kernels"][step.kernel]["template"],
                "us": nanoseconds / 1e3,
                "gbytes": step.nbytes / nanoseconds,
                "tflops": 2 * step.macs / nanoseconds / 1e3,
                "bound": bound,
                "share": share,
            }
        )
    return sorted(rows, key=lambda row: -row["us"])
