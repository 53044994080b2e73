"""Kernels whose loops a template writes itself: operands and results as buffers of a PrimFunc being built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import tvm.script.ir_builder.tirx as T
from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp, ConvTransposeOp, WinogradConvOp
from convc.targets.anchors import bind_with_bias
from convc.targets.emit import Emitter, Index, dtype_of


def build(body: Callable[[], None]) -> tirx.PrimFunc:
    """The function of a kernel whose parameters and statements `body` writes, with an emitter."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        body()
    # An expression used twice defines its names twice.
    return tirx.transform.ConvertSSA()(ir.IRModule({"main": builder.get()}))["main"]


def lane_of(buffer: Any, begin: Any) -> Callable[[Any], Any]:
    """The element of a flat buffer at a lane counted from `begin`, a function of the lane."""
    return lambda lane: buffer[begin + lane]


Put = Callable[[Index, Any], None]
"""Writes an element of a kernel's result, given its place in the physical shape."""


class BufferEmitter(Emitter):
    """An emitter over buffers of the kernel's `operands`. It writes to those of its `results`, the first of them unless
    the kernel is within another, which has memory of its own to `put` elements to."""

    def __init__(
        self, kernel: KernelOp, operands: Sequence[Any], results: Sequence[Any] = (), put: Put | None = None
    ) -> None:
        super().__init__(kernel)
        self.buffers: dict[SSAValue, Any] = {}
        self.results = results
        self.put = put or self._put
        for argument, buffer in zip(kernel.block.args, operands, strict=True):
            self.bind_buffer(argument, buffer)

    @classmethod
    def of_parameters(cls, kernel: KernelOp) -> Self:
        """Over the parameters of the function that is being built, which are declared here."""
        operands, results = (
            [T.arg(f"{name}{i}", T.buffer(physical_shape(x), dtype_of(x))) for i, x in enumerate(values)]
            for name, values in (("arg", kernel.block.args), ("y", kernel.yielded))
        )
        return cls(kernel, operands, results)

    def _put(self, place: Index, value: Any) -> None:
        T.buffer_store(self.results[0], value, list(place))

    def bind_buffer(self, value: SSAValue, buffer: Any) -> None:
        """Say that a buffer holds a value, in the physical shape of the value's layout."""
        self.buffers[value] = buffer
        self.bind(value, lambda *position: buffer[tuple(position)])

    def vector(self, lanes: int, write: Callable[[Any], None]) -> None:
        """A vector loop: `write` makes the store of one lane."""
        with T.vectorized(0, lanes) as lane:
            self.bind_axes([lane], [lanes])
            write(lane)

    def store(self, index: Callable[[Any], Index], lanes: int) -> None:
        """Write `lanes` elements of the kernel's result: those at the logical indices that `index` gives, the
        anchor's channel axis moving with the lane."""
        value = self.kernel.yielded[0]
        layout, shape = layout_of(value), shape_of(value)

        def write(lane: Any) -> None:
            at = index(lane)
            place = layout.physical_index(at) if layout else at
            place = [self.simplify(i) for i in place]
            self.put(place, self.stored(value, lambda i: self.read(value, i), place))

        if layout is not None:
            self.vector(lanes, write)
            return
        with T.serial(0, lanes) as lane:
            self.bind_axes([lane], [lanes])
            channel = index(lane)[1]
            with T.If(channel < shape[1]), T.Then():
                write(lane)

    def store_channels(
        self,
        op: ConvOp | ConvTransposeOp | WinogradConvOp,
        at: Index,
        first: Any,
        lanes: int,
        sums: Callable[[Any], Any],
    ) -> None:
        """Write results of a convolution: those of `lanes` channels from `first` on, at an index `[n, *spatial]`.
        `sums` gives the sum of products of a lane."""
        bind_with_bias(self, op, lambda index: sums(self.simplify(index[1] - first)))
        n, *spatial = at
        self.store(lambda lane: [n, first + lane, *spatial], lanes)

    def store_vector(self, element: Callable[[Any], Any], index: Callable[[Any], Index], lanes: int) -> None:
        """Write a vector of the kernel's result, in plain layout: `index` gives the place of a lane, `element` the
        anchor's result there."""
        value, anchor = self.kernel.yielded[0], self.kernel.anchor
        assert anchor is not None
        with T.vectorized(0, lanes) if lanes > 1 else T.serial(0, 1) as lane:
            self.bind_axes([lane], [lanes])
            self.bind_element(anchor.results[0], lambda _: element(lane))
            place = [self.simplify(i) for i in index(lane)]
            self.put(place, self.read(value, place))
