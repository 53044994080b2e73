"""Kernels whose loops a template writes itself: operands and results as buffers of a PrimFunc being built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx
from xdsl.ir import SSAValue

from convc.ir.attributes import physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.targets import buffers
from convc.targets.cpu.loops import bound, loop, split
from convc.targets.emit import dtype_of
from convc.targets.epilogues import heavy_epilogue
from convc.targets.target import CpuTarget

ROLLED = "convc.rolled"
"""The attribute of functions whose tiles store their sums in a loop that takes many constants."""


def build(kernel: KernelOp, body: Callable[[BufferEmitter], None], *, rolls: bool = False) -> tirx.PrimFunc:
    """The function of a kernel whose statements `body` writes. One that `rolls` stores the sums of a tile in a loop
    where its kernel, or the one within, has a heavy epilogue."""
    function = buffers.build(lambda: body(BufferEmitter.of_parameters(kernel)))
    heavy = heavy_epilogue(kernel) or (kernel.inner is not None and heavy_epilogue(kernel.inner))
    return function.with_attr(ROLLED, True) if rolls and heavy else function


def padded_shape(value: SSAValue, pads: Sequence[int]) -> tuple[int, ...]:
    """The physical shape of a value with `pads` around its spatial axes."""
    rank, physical = len(pads) // 2, physical_shape(value)
    spatial = (size + pads[i] + pads[rank + i] for i, size in enumerate(physical[2 : 2 + rank]))
    return (*physical[:2], *spatial, *physical[2 + rank :])


def must_copy(kernel: KernelOp, value: SSAValue, pads: Sequence[int]) -> bool:
    """Whether a value with pads around it is not in memory as it is."""
    return any(pads) or value not in kernel.block.args


class BufferEmitter(buffers.BufferEmitter):
    """One that can copy a value with the padding around it."""

    def padded(self, value: SSAValue, pads: Sequence[int], target: CpuTarget) -> Any:
        """A flat buffer of a value with zeros around its spatial axes (`pads`: begins, then ends)."""
        shape = padded_shape(value, pads)
        if not must_copy(self.kernel, value, pads):
            return self.buffers[value].view(prod(shape))
        buffer = T.alloc_buffer([prod(shape)], dtype_of(value))
        rows = shape[: len(shape_of(value)) - 1]
        with loop(prod(rows), prod(shape)) as task:
            index = [bound(i) for i in split(task, rows)]
            self.bind_axes([i for i in index if not isinstance(i, int)], [n for n in rows if n > 1])
            self.padded_row(buffer, task * prod(shape[len(rows) :]), value, pads, index, target)
        return buffer

    def padded_row(
        self, buffer: Any, base: Any, value: SSAValue, pads: Sequence[int], index: Sequence[Any], target: CpuTarget
    ) -> None:
        """Write one row of a padded value: `index` is its place along all axes but the last, `pads` counted in."""
        rank = len(pads) // 2
        physical = physical_shape(value)
        inner, width = prod(physical[2 + rank :]), physical[1 + rank]
        blocked = len(physical) > len(shape_of(value))
        at = [*index[:2], *(i - pads[axis] for axis, i in enumerate(index[2:]))]
        inside = [
            condition
            for axis, i in enumerate(at[2:])
            if pads[axis] or pads[rank + axis]
            for condition in (i >= 0, i < physical[2 + axis])
        ]
        zero = T.cast(0, dtype_of(value))

        def element(k: Any) -> Any:
            place = [*at, k // inner, k % inner] if blocked else [*at, k]
            return self.stored(value, lambda i: self.read(value, i), place)

        def fill(first: int, count: int, element: Callable[[Any], Any]) -> None:
            lanes = min(target.lanes(dtype_of(value)), 1 << (count.bit_length() - 1)) if count else 1

            def vector(start: Any) -> None:
                with T.vectorized(0, lanes) if lanes > 1 else T.serial(0, 1) as lane:
                    self.bind_axes([lane], [lanes])
                    T.buffer_store(buffer, element(start + lane), [base + first + start + lane])

            if count // lanes:
                with T.serial(0, count // lanes) as i:
                    self.bind_axes([i], [count // lanes])
                    vector(i * lanes)
            if count % lanes:  # the last vector overlaps the one before
                vector(count - lanes)

        def row() -> None:
            fill(0, pads[rank - 1] * inner, lambda _: zero)
            fill(pads[rank - 1] * inner, width * inner, element)
            fill((pads[rank - 1] + width) * inner, pads[-1] * inner, lambda _: zero)

        if not inside:
            row()
            return
        with T.If(tirx.all(*inside)):
            with T.Then():
                row()
            with T.Else():
                fill(0, (pads[rank - 1] + width + pads[-1]) * inner, lambda _: zero)
