"""Kernels whose loops a template writes itself: operands and results as buffers of a PrimFunc being built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.data import CastOp, RelayoutOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.targets.cpu.contraction import bound, loop, split
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


def padded_shape(value: SSAValue, pads: Sequence[int]) -> tuple[int, ...]:
    """The physical shape of a value with `pads` around its spatial axes."""
    rank, physical = len(pads) // 2, physical_shape(value)
    spatial = (size + pads[i] + pads[rank + i] for i, size in enumerate(physical[2 : 2 + rank]))
    return (*physical[:2], *spatial, *physical[2 + rank :])


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

    def heavy_epilogue(self) -> bool:
        """Whether results take many instructions to compute from the anchor's."""
        light = {Fn.ADD, Fn.SUB, Fn.MUL, Fn.MAX, Fn.MIN, Fn.RELU, Fn.CLIP, Fn.NEG, Fn.ABS, Fn.LEAKY_RELU, Fn.PRELU}
        ops = [op for op in self.kernel.ops if isinstance(op, ElementwiseOp)]
        return len(ops) > 4 or any(op.function not in light for op in ops)

    def vector(self, lanes: int, write: Callable[[Any], None]) -> None:
        """A vector loop: `write` makes the store of one lane."""
        with T.vectorized(0, lanes) as lane:
            self.bind_axes([lane], [lanes])
            write(lane)

    def must_copy(self, value: SSAValue, pads: Sequence[int]) -> bool:
        """Whether a value with pads around it is not in memory as it is."""
        return any(pads) or value not in self.buffers

    def padded(self, value: SSAValue, pads: Sequence[int], target: Target) -> Any:
        """A flat buffer of a value with zeros around its spatial axes (`pads`: begins, then ends)."""
        shape = padded_shape(value, pads)
        if not self.must_copy(value, pads):
            return self.buffers[value].view(prod(shape))
        buffer = T.alloc_buffer([prod(shape)], dtype_of(value))
        rows = shape[: len(shape_of(value)) - 1]
        with loop(prod(rows), prod(shape)) as task:
            index = [bound(i) for i in split(task, rows)]
            self.bind_axes([i for i in index if not isinstance(i, int)], [n for n in rows if n > 1])
            self.padded_row(buffer, task * prod(shape[len(rows) :]), value, pads, index, target)
        return buffer

    def padded_row(
        self, buffer: Any, base: Any, value: SSAValue, pads: Sequence[int], index: Sequence[Any], target: Target
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

    def store_vector(self, element: Callable[[Any], Any], index: Callable[[Any], Index], lanes: int) -> None:
        """Write a vector of the kernel's result, in plain layout: `index` gives the place of a lane, `element` the
        anchor's result there."""
        value, anchor = self.kernel.yielded[0], self.kernel.anchor
        assert anchor is not None
        with T.vectorized(0, lanes) if lanes > 1 else T.serial(0, 1) as lane:
            self.bind_axes([lane], [lanes])
            self.bind_element(anchor.results[0], lambda _: element(lane))
            place = [self.simplify(i) for i in index(lane)]
            T.buffer_store(self.outputs[0], self.read(value, place), place)
