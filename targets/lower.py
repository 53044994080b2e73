"""From a module of kernels to a program: the order of the kernels, where their operands lie, a function for each.

Equal kernels share a function: weights are operands, so only shapes, layouts and operations tell kernels apart.
Reshapes are views of plain memory and cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from tvm import tirx
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import SSAValue

from convc.ir.attributes import element_type, physical_shape
from convc.ir.data import ConstantOp, WeightOp
from convc.ir.dtypes import to_numpy
from convc.ir.kernel import KernelOp
from convc.ir.macs import macs
from convc.ir.signature import Signature, input_signature, output_signature
from convc.ir.text import kernel_text
from convc.ir.views import Placement, nbytes
from convc.ir.weights import WeightStore
from convc.passes.rewriting import kernels_in, main_block
from convc.targets.memory import Lifetime, aligned, plan
from convc.targets.registry import template_named
from convc.targets.select import chosen, notes
from convc.targets.target import AnyTarget

Space = Literal["input", "output", "weight", "arena"]


@dataclass(frozen=True)
class Place:
    """Where an operand lies: in which input or output, by its number, or in the weights or the arena; and the byte
    offset there."""

    space: Space
    number: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Step:
    """One call of a kernel's function, with its operands, then its results. `nbytes` are those it must move."""

    symbol: str
    name: str
    places: tuple[Place, ...]
    macs: int
    nbytes: int


@dataclass
class Program:
    """A network for one set of input shapes, over functions and weights that several may share."""

    inputs: Signature
    outputs: Signature
    steps: list[Step] = field(default_factory=list)
    arena_bytes: int = 0


@dataclass
class Kernel:
    """A distinct kernel: its function, how it was made, and what `select` noted of that choice."""

    function: tirx.PrimFunc
    template: str
    config: dict[str, int]
    notes: dict[str, Any] = field(default_factory=dict)
    launching: dict[str, Any] = field(default_factory=dict)
    """How a GPU's run-time launches it, once it is compiled."""


@dataclass
class Library:
    """What the programs of an artifact share."""

    target: AnyTarget
    kernels: dict[str, Kernel] = field(default_factory=dict)
    weights: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)
    """Name -> (byte offset, array as it lies in memory), in memory order."""
    weight_bytes: int = 0
    compiler: str = ""
    """What made the machine code, where a driver must know that: `NVRTC 13.0`."""
    _symbols: dict[str, str] = field(default_factory=dict)

    def symbol(self, kernel: KernelOp) -> str:
        """The function of a kernel, made if no equal one has been."""
        template, config = chosen(kernel)
        key = f"{kernel_text(kernel)}\n{template} {sorted(config.items())}"
        if key not in self._symbols:
            anchor = kernel.anchor or kernel.ops[-1] if kernel.ops else None
            what = anchor.name.removeprefix("convc.") if anchor is not None else "copy"
            symbol = self._symbols[key] = f"k{len(self._symbols)}_{what}"
            function = template_named(template, self.target).schedule(kernel, config, self.target)
            self.kernels[symbol] = Kernel(function, template, config, notes(kernel))
        return self._symbols[key]

    def place_weight(self, name: str, array: np.ndarray) -> Place:
        """Where a weight lies, in the order of first use."""
        if name not in self.weights:
            self.weights[name] = (self.weight_bytes, array)
            self.weight_bytes += aligned(array.nbytes)
        return Place("weight", 0, self.weights[name][0])


def lower(
    module: ModuleOp, weights: WeightStore, library: Library, on_kernel: Callable[[str], None] = lambda symbol: None
) -> Program:
    """Add a module's kernels and weights to a library; the program over them. Every operation of @main must be a
    kernel with its template chosen, a weight, a reshape or the return."""
    return _Lowering(module, weights, library, on_kernel).program()


@dataclass
class _Lowering:
    module: ModuleOp
    weights: WeightStore
    library: Library
    on_kernel: Callable[[str], None]

    def program(self) -> Program:
        block = main_block(self.module)
        kernels = kernels_in(block)
        returned = block.last_op
        assert isinstance(returned, ReturnOp)
        placement = Placement.of(block)
        assert not placement.misplaced, "joins whose parts lie elsewhere: run the pass `find-views`"
        roots: dict[SSAValue, Place] = {arg: Place("input", i) for i, arg in enumerate(block.args)}
        roots |= {placement.root(value)[0]: Place("output", i) for i, value in enumerate(returned.operands)}
        arena_bytes = _plan_arena(kernels, placement, roots)
        program = Program(input_signature(self.module), output_signature(self.module), arena_bytes=arena_bytes)
        for kernel in kernels:
            symbol = self.library.symbol(kernel)
            self.on_kernel(symbol)
            values = (*kernel.inputs, *kernel.outputs)
            where = tuple(self._place(*placement.root(value), roots) for value in values)
            name = kernel.outputs[0].name_hint or symbol
            program.steps.append(Step(symbol, name, where, macs(kernel), sum(map(nbytes, dict.fromkeys(values)))))
        return program

    def _place(self, root: SSAValue, offset: int, roots: Mapping[SSAValue, Place]) -> Place:
        place = roots[root] if root in roots else self._constant(root)
        return replace(place, offset=place.offset + offset)

    def _constant(self, value: SSAValue) -> Place:
        op = value.owner
        if isinstance(op, WeightOp):
            return self.library.place_weight(op.key, self.weights[op.key])
        assert isinstance(op, ConstantOp), f"{op} is no operand of a kernel"
        array = np.full(physical_shape(value), op.value.value.data, to_numpy(element_type(value)))
        return self.library.place_weight(f"constant.{op.value.value.data!r}.{value.type}", array)


def _plan_arena(kernels: Sequence[KernelOp], placement: Placement, roots: dict[SSAValue, Place]) -> int:
    """Place the values that are neither inputs, outputs nor weights. Returns the size of the arena.

    A root lives from the first write into it to the last read of any view of it.
    """
    spans: dict[SSAValue, tuple[int, int]] = {}
    for number, kernel in enumerate(kernels):
        for value in (*kernel.inputs, *kernel.outputs):
            root = placement.root(value)[0]
            if root not in roots and not isinstance(root.owner, WeightOp | ConstantOp):
                spans[root] = (spans.get(root, (number, number))[0], number)
    offsets, size = plan([Lifetime(nbytes(root), first, last) for root, (first, last) in spans.items()])
    roots.update((root, Place("arena", 0, offset)) for root, offset in zip(spans, offsets, strict=True))
    return size
