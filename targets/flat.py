"""A kernel's operands and result as flat memory, and expressions over elements of it.

For templates that write their loops out: the index space of a result is a box, whose loops are the digits of a
position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from xdsl.ir import SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.kernel import KernelOp
from convc.targets.emit import Emitter, Index, dtype_of
from convc.targets.indexing import flattened, strides_of


@dataclass(frozen=True)
class Digit:
    """One loop: it moves `weight` elements along a physical axis of the result, `stride` elements in memory."""

    axis: int
    weight: int
    extent: int
    stride: int


@dataclass(frozen=True)
class Box:
    """A part of the result: `origin` is its first position, on each physical axis; loops are outermost first."""

    origin: tuple[int, ...]
    digits: tuple[Digit, ...]

    def part(self, number: int, begin: int, end: int) -> Box:
        """The part in which a loop runs from `begin` to `end` only."""
        digit = self.digits[number]
        origin = list(self.origin)
        origin[digit.axis] += begin * digit.weight
        shorter = (replace(digit, extent=end - begin),) if end - begin > 1 else ()
        return Box(tuple(origin), self.digits[:number] + shorter + self.digits[number + 1 :])

    def split(self, number: int, factor: int) -> Box:
        """The same box with one loop as two, the inner one of extent `factor`."""
        digit = self.digits[number]
        outer = Digit(digit.axis, digit.weight * factor, digit.extent // factor, digit.stride * factor)
        pair = tuple(d for d in (outer, replace(digit, extent=factor)) if d.extent > 1)
        return Box(self.origin, self.digits[:number] + pair + self.digits[number + 1 :])


@dataclass(frozen=True)
class Memory:
    """A kernel's operands and its result as flat buffers, and as the `parameters` of its function."""

    operands: Sequence[tirx.Var]
    result: tirx.Var
    shape: tuple[int, ...]
    """The physical shape of the result."""
    parameters: Sequence[tirx.Var]

    @staticmethod
    def of(kernel: KernelOp) -> Memory:
        values = (*kernel.block.args, kernel.yielded[0])
        names = [f"arg{i}" for i in range(len(kernel.block.args))] + ["y"]
        shapes = [physical_shape(value) for value in values]
        types = [dtype_of(value) for value in values]
        parameters = [tirx.decl_buffer(*each) for each in zip(shapes, types, names)]
        flat = [
            tirx.decl_buffer((prod(shape),), dtype, f"{name}_flat") for shape, dtype, name in zip(shapes, types, names)
        ]
        return Memory(flat[:-1], flat[-1], shapes[-1], parameters)

    def function(self, body: tirx.Stmt) -> tirx.PrimFunc:
        """The function of some statements over the flat buffers."""
        flat = (*self.operands, self.result)
        declared = [tirx.DeclBuffer(view, data=buffer.data) for view, buffer in zip(flat, self.parameters)]
        function = tirx.PrimFunc(self.parameters, tirx.stmt_seq(*declared, body))
        function = function.with_attr({"global_symbol": "main", "tirx.noalias": True, "s_tir": True})
        # Main loops and their last vectors repeat the names of an expression.
        return tirx.transform.ConvertSSA()(ir.IRModule({"main": function}))["main"]

    def offset(self, position: Sequence[int]) -> int:
        """Where in the result's memory a position lies."""
        return int(flattened(position, self.shape))


@dataclass(frozen=True)
class Load:
    """A load of one operand, named `name` in the expression that uses it; without an operand, `address` itself."""

    operand: int | None
    address: Any
    name: tirx.Var


class FlatReader(Emitter):
    """Reads a kernel's operands as flat arrays, inside one box of its result."""

    def __init__(self, kernel: KernelOp, box: Box, memory: Memory, *, guarded: bool) -> None:
        super().__init__(kernel)
        self.memory = memory
        self.guarded = guarded
        self.loads: list[Load] = []
        self.variables = [tirx.Var(f"i{n}", "int32") for n in range(len(box.digits))]
        self.bind_axes(self.variables, [digit.extent for digit in box.digits])
        for number, argument in enumerate(kernel.block.args):
            self.bind_element(argument, partial(self._load, number))

    def choose(self, condition: Any, value: Any, otherwise: Any) -> Any:
        return super().choose(condition, value, otherwise) if self.guarded else tirx.Select(condition, value, otherwise)

    def named(self, value: Any, size: int | None = None) -> Any:
        if self.guarded:
            return value
        self.loads.append(Load(None, value, tirx.Var(f"x{len(self.loads)}", value.ty)))
        if size is not None:
            self.bind_axes([self.loads[-1].name], [size])
        return self.loads[-1].name

    def element_at(self, value: SSAValue, position: Index) -> Any:
        """The element at a physical position, zero in the padding of the layout."""
        layout, shape = layout_of(value), shape_of(value)
        if layout is None:
            return self.read(value, position)
        index = [self.simplify(i) for i in layout.logical_index(position)]
        zero = tirx.const(0, dtype_of(value))
        inside = []
        for axis, (i, size) in enumerate(zip(index, shape, strict=True)):
            if size % layout.block(axis):
                known = self.known(i < size)
                if known is False:
                    return zero
                if known is None:
                    inside.append(i < size)
        element = self.read(value, index)
        return self.choose(tirx.all(*inside), element, zero) if inside else element

    def _load(self, number: int, index: Index) -> Any:
        argument = self.kernel.block.args[number]
        layout = layout_of(argument)
        place = layout.physical_index(index) if layout else index
        address = self.simplify(flattened(place, physical_shape(argument)))
        if self.guarded:
            return tirx.BufferLoad(self.memory.operands[number], [address])
        for load in self.loads:
            if load.operand == number and tvm_ffi.structural_equal(load.address, address):
                return load.name
        load = Load(number, address, tirx.Var(f"x{len(self.loads)}", dtype_of(argument)))
        self.loads.append(load)
        return load.name


def whole(shape: Sequence[int]) -> Box:
    """All positions of a tensor of this physical shape."""
    places = enumerate(zip(shape, strides_of(shape)))
    digits = [Digit(axis, 1, size, stride) for axis, (size, stride) in places if size > 1]
    return Box((0,) * len(shape), tuple(digits))


def without_elements(kernel: KernelOp) -> tirx.PrimFunc | None:
    """The function of a kernel whose results have no elements: it does nothing. None where there is something to do;
    raises NotImplementedError if that is a reduction of no elements."""
    if all(0 in physical_shape(value) for value in kernel.outputs):
        values = (*kernel.block.args, *kernel.yielded)
        buffers = [tirx.decl_buffer(physical_shape(value), dtype_of(value), f"p{i}") for i, value in enumerate(values)]
        function = tirx.PrimFunc(buffers, tirx.Evaluate(tirx.const(0, "int32")))
        return function.with_attr({"global_symbol": "main", "tirx.noalias": True, "s_tir": True})
    if kernel.anchor is not None:
        for operand in kernel.anchor.operands:
            if 0 in physical_shape(operand):
                raise NotImplementedError(f"reductions of no elements are not supported, found {operand.type}")
    return None
