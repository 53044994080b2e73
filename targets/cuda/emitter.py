"""Operands and results of kernels that GPU templates write statement by statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convc.ir.attributes import layout_of, shape_of
from convc.targets import buffers


class BufferEmitter(buffers.BufferEmitter):
    """One that writes element by element where a layout's padding is to be zeros: TVM's CUDA generator has no vectors
    of conditions for 16-bit elements."""

    def vector(self, lanes: int, write: Callable[[Any], None]) -> None:
        value = self.kernel.yielded[0]
        layout = layout_of(value)
        if layout is None or not layout.pads(shape_of(value)):
            super().vector(lanes, write)
            return
        for lane in range(lanes):
            write(lane)
