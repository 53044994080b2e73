"""The headers that CUDA sources of convc include: `#include "convc_device.cuh"`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from convc.targets.cuda.device.wgmma import wgmma_header

_DEVICE = "convc_device.cuh"


@cache
def device_headers() -> dict[str, str]:
    """The text of each header, by the name that a source includes it by."""
    return {_DEVICE: (Path(__file__).parent / _DEVICE).read_text(), "convc_wgmma.cuh": wgmma_header()}


def write_device_headers(folder: Path) -> None:
    """Write the headers to a folder, for compilers that read them from one."""
    for name, text in device_headers().items():
        (folder / name).write_text(text)
