"""Keep what travels between kernels in a 16-bit float; compute as before.

    kernel(x: f32, w: f32, b: f32) { conv, relu }: f32
    =>  kernel(x: f16, w: f16, b: f32) { cast, cast, conv, relu, cast }: f16

Sums, softmax, normalisation and everything else inside a kernel stay in float32: rounded are only the values that lie
in memory, and the weights that are multiplied by activations. Inputs and results of the network keep their types. A
kernel that only moves data moves the narrow type.

It halves the memory traffic, and lets matrix instructions multiply. It is legal where the user asks for it: results
differ by the rounding of each value, and a value beyond the type's range becomes infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Attribute, Block, BlockArgument, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, layout_of, shape_of, tensor
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    ReshapeOp,
    ShuffleOp,
    SliceOp,
    TransposeOp,
    WeightOp,
)
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.kernel import KernelOp, YieldOp
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.options import OrderError, one_of
from convc.passes.rewriting import erase_dead, main_block, outline, parent_of, returned_values, set_type

_MOVEMENT = (BroadcastOp, ConcatOp, ShuffleOp, SliceOp, TransposeOp)


@dataclass(frozen=True)
class Narrow(ModulePass):
    """`storage`: `float16` or `bfloat16`."""

    name = "narrow"
    storage: str = "float16"

    def __post_init__(self) -> None:
        one_of(self.name, "storage", self.storage, ("float16", "bfloat16"))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        _check_order(main_block(op))
        _Narrowing(main_block(op), ctx, from_numpy(self.storage)).run()


def _check_order(block: Block) -> None:
    """What stands beside kernels and reads their memory would not get the type that it was made for."""
    if not any(isinstance(op, KernelOp) for op in block.ops):
        return
    for op in block.ops:
        if not isinstance(op, ConstantOp | KernelOp | ReshapeOp | ReturnOp | WeightOp):
            raise OrderError(
                f"narrow: expected kernels and reshapes alone in @main, as fuse leaves it, got {op.name}: "
                "run narrow after fuse and before assign-layouts"
            )


class _Narrowing:
    def __init__(self, block: Block, context: CompilerContext, storage: Attribute) -> None:
        self.block, self.context, self.storage = block, context, storage
        self.returned = set(returned_values(block))
        self.copies: dict[SSAValue, SSAValue] = {}
        """The narrow copies of the network's inputs and of weights."""

    def run(self) -> None:
        for op in list(self.block.ops):
            match op:
                case KernelOp():
                    self._kernel(op)
                case ReshapeOp() if self._is_narrow(op.x):
                    set_type(op.result, self._narrowed(op.result))
        erase_dead(self.block)

    def _kernel(self, kernel: KernelOp) -> None:
        factors = _factors(kernel)
        for number, argument in enumerate(kernel.block.args):
            value = kernel.operands[number]
            if argument in factors and element_type(value) == f32:
                if isinstance(value.owner, WeightOp):
                    kernel.operands[number] = self._weight(value, value.owner)
                elif isinstance(value, BlockArgument):
                    kernel.operands[number] = self._input(value)
        pairs = zip(kernel.block.args, kernel.operands, strict=True)
        narrow = [n for n, (inner, value) in enumerate(pairs) if inner.type != value.type]
        results = [n for n, r in enumerate(kernel.outputs) if element_type(r) == f32 and r not in self.returned]
        wide = [v for v in kernel.operands if element_type(v) == f32]
        if results and not wide and all(isinstance(op, _MOVEMENT) for op in kernel.ops):
            for value in (*kernel.block.args, *(r for op in kernel.ops for r in op.results), *kernel.outputs):
                if element_type(value) == f32:
                    set_type(value, self._narrowed(value))
            return
        for number in narrow:
            self._widen(kernel, kernel.block.args[number], kernel.operands[number].type)
        for number in results:
            self._narrow_result(kernel, number)

    def _widen(self, kernel: KernelOp, argument: SSAValue, type_: Attribute) -> None:
        """Convert an argument that has become narrow when it is read."""
        set_type(argument, type_)
        cast = CastOp(argument, f32)
        first = kernel.block.first_op
        assert first is not None
        kernel.block.insert_op_before(cast, first)
        argument.replace_uses_with_if(cast.result, lambda use: use.operation is not cast)

    def _narrow_result(self, kernel: KernelOp, number: int) -> None:
        last = kernel.block.last_op
        assert isinstance(last, YieldOp)
        cast = CastOp(last.operands[number], self.storage)
        kernel.block.insert_op_before(cast, last)
        last.operands[number] = cast.result
        set_type(kernel.outputs[number], cast.result.type)

    def _weight(self, value: SSAValue, op: WeightOp) -> SSAValue:
        if value not in self.copies:
            array = self.context.weights[op.key]
            with np.errstate(over="ignore"):
                rounded = array.astype(to_numpy(self.storage))
            if not np.isfinite(rounded.astype(np.float32)).all() and np.isfinite(array).all():
                return value  # beyond the type's range: it stays as it is
            key = self.context.weights.add(rounded, f"{op.key}.{to_numpy(self.storage)}")
            new = WeightOp(key, self._narrowed(value))
            parent_of(op).insert_op_after(new, op)
            self.copies[value] = new.result
        return self.copies[value]

    def _input(self, value: SSAValue) -> SSAValue:
        if value not in self.copies:
            cast, first = CastOp(value, self.storage), self.block.first_op
            assert first is not None
            self.block.insert_op_before(cast, first)
            self.copies[value] = outline([cast], [cast.result], before=first).outputs[0]
        return self.copies[value]

    def _is_narrow(self, value: SSAValue) -> bool:
        return element_type(value) == self.storage

    def _narrowed(self, value: SSAValue) -> TensorType:
        return tensor(self.storage, shape_of(value), layout_of(value))


def _factors(kernel: KernelOp) -> set[SSAValue]:
    """The operands that the anchor multiplies by one another."""
    match kernel.anchor:
        case ConvOp() | ConvTransposeOp() as op:
            return {op.x, op.w}
        case MatMulOp() as op:
            return {op.a, op.b}
    return set()
