"""How near to what the device does at the most each of convc's kernels comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from convc.roofline import Roofline
from convc.runtime import Executable, StepTime

_PROFILES = 9


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
