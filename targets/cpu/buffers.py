"""Kernels whose loops a template writes itself: operands and results as buffers of a PrimFunc being built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.data import CastOp, RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.targets.cpu.contraction import loop
from convc.targets.emit import Emitter, Index, dtype_of
from convc.targets.target import Target


def build(kernel: KernelOp, body: Callable[[BufferEmitter], None]) -> tirx.PrimFunc:
    """The function of a kernel whose statements `body` writes."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        body(BufferEmitter(kernel))
    # An expression used twice defines its names twice.
    return tirx.transform.ConvertSSA()(ir.IRModule({"main": builder.get()}))["main"]


def elementwise_epilogue(kernel: KernelOp) -> bool:
    """Whether the kernel's one result depends on its anchor's place by place, in whatever layout."""
    anchor = kernel.anchor
    if anchor is None or len(kernel.yielded) != 1:
        return False
    after = {anchor.results[0]}
    for op in kernel.ops:
        if any(operand in after for operand in op.operands):
            if not isinstance(op, ElementwiseOp | CastOp | RelayoutOp):
                return False
            if shape_of(op.results[0]) != shape_of(anchor.results[0]):
                return False
            after.add(op.results[0])
    return kernel.yielded[0] in after


class BufferEmitter(Emitter):
    """An emitter over the function's parameters. `outputs` are the buffers of the kernel's results."""

    def __init__(self, kernel: KernelOp) -> None:
        super().__init__(kernel)
        self.buffers: dict[SSAValue, Any] = {}
        for i, argument in enumerate(kernel.block.args):
            buffer = T.arg(f"arg{i}", T.buffer(physical_shape(argument), dtype_of(argument)))
            self.bind_buffer(argument, buffer)
        self.outputs = [
            T.arg(f"y{i}", T.buffer(physical_shape(value), dtype_of(value))) for i, value in enumerate(kernel.yielded)
        ]

    def bind_buffer(self, value: SSAValue, buffer: Any) -> None:
        """Say that a buffer holds a value, in the physical shape of the value's layout."""
        self.buffers[value] = buffer
        self.bind(value, lambda *position: buffer[tuple(position)])

    def vector(self, lanes: int, write: Callable[[Any], None]) -> None:
        """A vector loop: `write` makes the store of one lane."""
        with T.vectorized(0, lanes) as lane:
            self.bind_axes([lane], [lanes])
            write(lane)

    def padded_copy(self, value: SSAValue, pads: Sequence[int], target: Target) -> tuple[Any, tuple[int, ...]]:
        """A buffer of a value with zeros around its spatial axes (`pads`: begins, then ends), and its shape."""
        rank = len(pads) // 2
        physical = physical_shape(value)
        blocked = len(physical) - len(shape_of(value))
        spatial = physical[2 : 2 + rank]
        padded = [size + pads[i] + pads[rank + i] for i, size in enumerate(spatial)]
        inner = prod(physical[2 + rank :])
        shape = (*physical[:2], *padded, *physical[2 + rank :])
        buffer = T.alloc_buffer([prod(shape)], dtype_of(value))
        *rows, _ = padded
        row = padded[-1] * inner
        lanes = target.lanes(dtype_of(value))
        extents = (*physical[:2], *rows)

        def fill(base: Any, first: int, count: int, element: Callable[[Any], Any]) -> None:
            whole = count // lanes
            if whole:
                with T.serial(0, whole) as i, T.vectorized(0, lanes) as lane:
                    self.bind_axes([i, lane], [whole, lanes])
                    k = i * lanes + lane
                    T.buffer_store(buffer, element(k), [base + first + k])
            if count % lanes:
                with T.serial(0, count % lanes) as i:
                    k = whole * lanes + i
                    self.bind_axes([i], [count % lanes])
                    T.buffer_store(buffer, element(k), [base + first + k])

        zero = T.cast(0, dtype_of(value))
        with loop(prod(extents), prod(shape) * lanes, target) as task:
            index, rest = [], task
            for extent in reversed(extents):
                index.append(rest % extent)
                rest = rest // extent
            index = [T.bind(i) for i in reversed(index)]
            self.bind_axes(index, extents)
            at = [*index[:2], *(i - pads[axis] for axis, i in enumerate(index[2:]))]
            inside = [
                condition
                for axis, i in enumerate(at[2:])
                if pads[axis] or pads[rank + axis]
                for condition in (i >= 0, i < spatial[axis])
            ]

            def element(k: Any) -> Any:
                place = [*at, k // inner, k % inner] if blocked else [*at, k]
                return self.stored(value, lambda i: self.read(value, i), place)

            base = task * row
            with ExitStack() as stack:
                if inside:
                    stack.enter_context(T.If(tirx.all(*inside)))
                    with T.Then():
                        self._row(fill, base, spatial[-1], pads[rank - 1], pads[-1], inner, element, zero)
                    with T.Else():
                        fill(base, 0, row, lambda _: zero)
                else:
                    self._row(fill, base, spatial[-1], pads[rank - 1], pads[-1], inner, element, zero)
        return buffer, shape

    @staticmethod
    def _row(fill: Any, base: Any, width: int, left: int, right: int, inner: int, element: Any, zero: Any) -> None:
        fill(base, 0, left * inner, lambda _: zero)
        fill(base, left * inner, width * inner, element)
        fill(base, (left + width) * inner, right * inner, lambda _: zero)

    def store(self, index: Callable[[Any], Index], lanes: int) -> None:
        """Write `lanes` elements of the kernel's result: those at the logical indices that `index` gives, the
        anchor's channel axis moving with the lane."""
        value, buffer = self.kernel.yielded[0], self.outputs[0]
        layout, shape = layout_of(value), shape_of(value)

        def write(lane: Any) -> None:
            at = index(lane)
            place = layout.physical_index(at) if layout else at
            place = [self.simplify(i) for i in place]
            T.buffer_store(buffer, self.stored(value, lambda i: self.read(value, i), place), place)

        if layout is not None:
            self.vector(lanes, write)
            return
        with T.serial(0, lanes) as lane:
            self.bind_axes([lane], [lanes])
            channel = index(lane)[1]
            with T.If(channel < shape[1]), T.Then():
                write(lane)
