"""Compute no elements that every reader steps over.

    conv 1x1 strides s (f(x))  =>  conv 1x1 (f'(x)), where f' computes each s-th element along an axis
    slice[::s] (f(x))  =>  f'(x)

A 1 x 1 convolution at stride 2 reads a quarter of its input. Where all readers of a value step so, it is enough to
compute that quarter: a convolution or a pool above takes the stride as its own, an elementwise operation hands it on
to what it reads, and slices what others read whole. In the first ResNets, as Keras and Caffe have them, each stage
begins with such convolutions, and the last block of the stage before then has a quarter of the work: 12 % of
ResNet-50. Legal always: what is left is computed as before. Always pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, shape_of, tensor
from convc.ir.data import CastOp, ConcatOp, SliceOp
from convc.ir.dialect import CompilerContext
from convc.ir.elementwise import ElementwiseOp
from convc.ir.op import ints
from convc.ir.windows import ConvOp, PoolOp, window_of
from convc.passes.rewriting import erase_dead, main_block

Steps: TypeAlias = tuple[int, ...]
"""Of a value, for each of its axes: how far apart the elements are that are wanted, the first of which is at 0."""

SPATIAL = 2
"""The first axis in space of what convolutions read."""


class _Hoisting:
    def __init__(self, block: Block) -> None:
        self.block = block
        self.wanted: dict[SSAValue, Steps] = {}
        """Of all values that need not be computed whole."""
        self.made: dict[SSAValue, SSAValue] = {}
        """What holds the wanted elements of each of those."""

    def run(self) -> None:
        for op in reversed(list(self.block.ops)):
            if _can_step(op) and max(steps := self._wanted(op.results[0])) > 1:
                self.wanted[op.results[0]] = steps
        for op in list(self.block.ops):
            if not self.wanted.keys().isdisjoint((*op.operands, *op.results)):
                self._rebuild(op)
        erase_dead(self.block)

    def _wanted(self, value: SSAValue) -> Steps:
        read = [self._read(use.operation, use.index) for use in value.uses]
        return tuple(max(gcd(*along), 1) for along in zip(*read, strict=True)) or (1,)

    def _steps(self, value: SSAValue) -> Steps:
        return self.wanted.get(value, (1,) * len(shape_of(value)))

    def _read(self, op: Operation, number: int) -> Steps:
        """How far apart the elements are that an operation reads of an operand to compute what is wanted of itself."""
        shape = shape_of(op.operands[number])
        if not _can_step(op) or (isinstance(op, ConvOp) and number > 0):
            return (1,) * len(shape)
        steps = self._steps(op.results[0])
        match op:
            case ConvOp() | PoolOp() | SliceOp():
                skips = zip(_own_steps(op), steps, steps_over(op), strict=True)
                return tuple(own * step if over else 1 for own, step, over in skips)
            case _:  # an axis of one element is the same to every reader: 0 is divided by any number
                return tuple(0 if size == 1 else step for size, step in zip(shape, steps[len(steps) - len(shape) :]))

    def _rebuild(self, op: Operation) -> None:
        (result,) = op.results
        steps = self._steps(result)
        new = _at_steps(op, self._operands(op, steps), self._own(op, steps), _part(result, steps))
        self.block.insert_op_before(new, op)
        new.results[0].name_hint = result.name_hint
        if result in self.wanted:
            self.made[result] = new.results[0]
        else:
            result.replace_all_uses_with(new.results[0])

    def _own(self, op: Operation, steps: Steps) -> Steps:
        """The steps of the operation itself between the elements that there are of its operand."""
        if not isinstance(op, ConvOp | PoolOp | SliceOp):
            return steps
        there = self._steps(op.x)
        return tuple(own * step // made for own, step, made in zip(_own_steps(op), steps, there, strict=True))

    def _operands(self, op: Operation, steps: Steps) -> list[SSAValue]:
        if isinstance(op, ConvOp | PoolOp | SliceOp):
            return [self.made.get(op.x, op.x), *op.operands[1:]]
        return [self._sliced(x, steps[len(steps) - len(shape_of(x)) :], op) for x in op.operands]

    def _sliced(self, value: SSAValue, steps: Steps, before: Operation) -> SSAValue:
        """The elements of an operand at these steps, out of those that there are."""
        source, there = self.made.get(value, value), self._steps(value)
        left = [1 if size == 1 else a // b for size, a, b in zip(shape_of(value), steps, there, strict=True)]
        if max(left, default=1) == 1:
            return source
        op = slice_at(source, left)
        self.block.insert_op_before(op, before)
        return op.result


def slice_at(value: SSAValue, steps: Sequence[int]) -> SliceOp:
    """A value's elements at some steps, from the first one on."""
    return SliceOp(value, [0] * len(steps), _part(value, steps), steps)


def _part(value: SSAValue, steps: Sequence[int]) -> list[int]:
    """The shape of a value's elements at some steps."""
    return [ceil(size / step) for size, step in zip(shape_of(value), steps, strict=True)]


def _can_step(op: Operation) -> bool:
    """Whether an operation could compute every second element, say, of its result along each axis in space, and hand
    on that it reads fewer itself."""
    match op:
        case ConvOp() | ElementwiseOp() | CastOp() | SliceOp():
            return True
        case PoolOp():
            return op.ceil_mode is None  # the last window of each axis may be of another kind
        case ConcatOp():
            return op.axis.value.data < SPATIAL
        case _:
            return False


def _own_steps(op: ConvOp | PoolOp | SliceOp) -> Steps:
    return tuple(op.steps.get_values()) if isinstance(op, SliceOp) else (1, 1, *op.strides.get_values())


def steps_over(op: ConvOp | PoolOp | SliceOp) -> list[bool]:
    """For each axis of the operand, whether the elements that are read begin at the first and lie as far apart as the
    operation's own steps: elsewhere neighbours are read too."""
    if isinstance(op, SliceOp):
        each = enumerate(zip(op.starts.get_values(), op.steps.get_values()))
        return [axis >= SPATIAL and start == 0 and step > 0 for axis, (start, step) in each]
    window = window_of(op) if isinstance(op, ConvOp) else op.kernel.get_values()
    pads = op.pads.get_values()
    alone = [taps == 1 and not before and not after for taps, before, after in zip(window, pads, pads[len(window) :])]
    return [False, False, *alone]


def _at_steps(op: Operation, operands: Sequence[SSAValue], steps: Steps, shape: Sequence[int]) -> Operation:
    """The same operation of other operands, at other steps, for a result of this shape."""
    own: dict[str, Attribute] = {}
    if isinstance(op, SliceOp):
        own = {"steps": ints(steps)}
    elif isinstance(op, ConvOp | PoolOp):
        own = {"strides": ints(steps[SPATIAL:])}
    result = tensor(element_type(op.results[0]), shape)
    return op.create(operands=operands, properties=op.properties | own, result_types=[result])


@dataclass(frozen=True)
class HoistStrides(ModulePass):
    name = "hoist-strides"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        _Hoisting(main_block(op)).run()
