"""From a kernel's region to tensor expressions.

An injective operation is never given a buffer: `Emitter.read` turns "element i of this value" into an expression
over elements of the region's arguments, through any chain of elementwise functions, broadcasts, slices, pads,
joins, transposes and layouts. Prologue fusion, epilogue fusion and layout changes are therefore one mechanism.
Only an anchor's result is a tensor of its own: the template computes it and says so with `Emitter.bind`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tvm import ir, sym, te, tirx
from xdsl.ir import OpResult, SSAValue

from convc.ir.attributes import element_type, layout_of, physical_shape, shape_of
from convc.ir.data import CastOp, ConstantOp, RelayoutOp
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.targets.injective import READERS
from convc.targets.storage import number, stored_as

Index: TypeAlias = Sequence[Any]
"""One expression (or int) for each logical axis."""


class Emitter:
    """Builds the tensor expressions of one kernel. `args` are the placeholders of its operands."""

    def __init__(self, kernel: KernelOp) -> None:
        self.kernel = kernel
        self.analyzer = sym.Analyzer()
        self.args = [
            te.placeholder(physical_shape(argument), dtype_of(argument), name=f"arg{i}")
            for i, argument in enumerate(kernel.block.args)
        ]
        self._readers: dict[SSAValue, Callable[[Index], Any]] = {}
        self._also: dict[SSAValue, Sequence[tuple[SSAValue, int]]] = {}
        self.open_conditions: list[Any] = []
        """What readers asked and the ranges of the loops do not decide: where a loop could be cut in two."""
        for value, tensor in zip(kernel.block.args, self.args, strict=True):
            self.bind(value, tensor)

    def bind(self, value: SSAValue, tensor: te.Tensor) -> None:
        """Say that `tensor` holds a value, in the physical shape of the value's layout."""
        self._readers[value] = lambda index: self.element(value, tensor, index)

    def bind_element(
        self, value: SSAValue, element: Callable[[Index], Any], also: Sequence[tuple[SSAValue, int]] = ()
    ) -> None:
        """Say how to compute an element of a value from its logical index. `also` lists the values that it reads
        beside tensors in the layout of `value`, each with the axis that the channel indexes (see `padded_like`)."""
        self._readers[value] = element
        self._also[value] = also

    def element(self, value: SSAValue, tensor: te.Tensor, index: Index) -> Any:
        """The element at a logical index of a tensor that lies in memory as `value` does."""
        layout = layout_of(value)
        position = layout.physical_index(index) if layout else index
        return tensor(*(self.simplify(i) for i in position))

    def read(self, value: SSAValue, index: Index) -> Any:
        """The element of a value at a logical index, as an expression."""
        if value in self._readers:
            return self._readers[value](index)
        assert isinstance(value, OpResult), f"an unbound {type(value).__name__}"
        op = value.op
        if isinstance(op, ConstantOp):
            return number(op.value.value.data, element_type(value))
        if isinstance(op, RelayoutOp):
            return self.read(op.x, index)
        reader = READERS.get(type(op))
        if reader is None:
            raise NotImplementedError(f"{op.name} has no tensor expression and no template bound it")
        return reader(self, op, index)

    def compute(self, value: SSAValue, name: str) -> te.Tensor:
        """A tensor of the value in its layout, with zeros in the layout's padding."""
        return self.tensor(value, lambda index: self.read(value, index), name)

    def tensor(self, value: SSAValue, element: Callable[[Index], Any], name: str) -> te.Tensor:
        """A tensor in the layout of `value` whose element at each logical index is `element(index)`."""
        extents = physical_shape(value)

        def body(*axes: tirx.Var) -> Any:
            self.bind_axes(axes, extents)
            return self.stored(value, element, axes)

        return te.compute(extents, body, name=name)

    def stored(self, value: SSAValue, element: Callable[[Index], Any], position: Index) -> Any:
        """What lies in memory at a physical position of `value` where each logical index holds `element(index)`."""
        layout, shape = layout_of(value), shape_of(value)
        if layout is None:
            return element(list(position))
        index = [self.simplify(i) for i in layout.logical_index(position)]
        result = element(index)
        if layout.pads(shape):
            inside = [i < n for i, n, axis in zip(index, shape, range(len(shape))) if n % layout.block(axis)]
            # A select vectorises; a test is needed where reading on would leave the memory of an operand.
            choose = tirx.Select if self.padded_like(value, [(value, 1)]) else tirx.if_then_else
            result = choose(tirx.all(*inside), result, tirx.const(0, result.ty.dtype))
        return result

    def padded_like(self, result: SSAValue, reads: Sequence[tuple[SSAValue, int]]) -> bool:
        """Whether an element of `result` may be computed in its padding too, where it reads some values there: each
        is given with the axis that the result's blocked axis indexes."""
        layout = layout_of(result)
        assert layout
        if any(axis != 1 for axis, _ in layout.blocks):
            return False
        return all(self._has_padding(value, axis, layout.block(1)) for value, axis in reads)

    def _has_padding(self, value: SSAValue, axis: int, block: int) -> bool:
        if axis < 0 or shape_of(value)[axis] == 1:  # broadcast
            return True
        if layout := layout_of(value):
            if layout.block(axis) % block:
                return False
        elif shape_of(value)[axis] % block:
            return False
        if value in self._readers:
            return all(self._has_padding(other, at, block) for other, at in self._also.get(value, ()))
        op = value.owner
        if isinstance(op, ConstantOp):
            return True
        if isinstance(op, ElementwiseOp | CastOp):
            rank = len(shape_of(value))
            return all(self._has_padding(x, axis - rank + len(shape_of(x)), block) for x in op.operands)
        return False

    def reduce_axis(self, extent: int, name: str) -> tirx.IterVar:
        """A reduction axis whose range the index simplifier knows."""
        axis = te.reduce_axis((0, extent), name=name)
        self.bind_axes([axis.var], [extent])
        return axis

    def bind_axes(self, axes: Sequence[tirx.Var], extents: Sequence[int]) -> None:
        """Tell the index simplifier the ranges of some loop variables."""
        for axis, extent in zip(axes, extents, strict=True):
            self.analyzer.bind(axis, ir.Range(0, extent))

    def simplify(self, expression: Any) -> Any:
        """Simplify an index by the ranges of its variables: `(co*8 + ci) // 8` becomes `co`."""
        return expression if isinstance(expression, int) else self.analyzer.simplify(expression)

    def known(self, condition: Any) -> bool | None:
        """Whether a condition on indices holds for all values of their variables (True), for none (False), or is
        open (None). Readers take a decided branch alone; see `open_conditions`."""
        simplified = condition if isinstance(condition, bool) else self.analyzer.simplify(condition)
        if isinstance(simplified, bool | tirx.IntImm):
            return bool(simplified)
        self.open_conditions.append(simplified)
        return None

    def choose(self, condition: Any, value: Any, otherwise: Any) -> Any:
        """`value` where the condition holds; it is not computed elsewhere, so it may read outside of memory there."""
        return tirx.if_then_else(condition, value, otherwise)

    def named(self, value: Any, size: int | None = None) -> Any:
        """A value that is used several times; an index into so many elements, if a size is given. Readers of flat
        memory give it a name, even where an address uses it."""
        return value

    def prim_func(self, outputs: Sequence[te.Tensor]) -> tirx.PrimFunc:
        """The unscheduled function: the kernel's operands, then its results."""
        function = te.create_prim_func([*self.args, *outputs])
        # An expression used twice defines its names twice, which schedules refuse.
        return tirx.transform.ConvertSSA()(ir.IRModule({"main": function}))["main"]


def dtype_of(value: SSAValue) -> str:
    """The element type of a value by TVM's name for it, or for the integer that it is stored as."""
    return stored_as(to_numpy(element_type(value)))
