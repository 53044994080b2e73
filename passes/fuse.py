"""Fusion is outlining: every operation ends in a kernel, together with what it can share registers with.

    relu(add(conv(x, w), r))  =>  kernel(x, w, r) { conv, add, relu }

An elementwise operation joins the kernel of an operand when nobody else needs that operand: it is then computed
while the result is still in registers. Around an anchor only elementwise operations of its own shape join, since a
schedule computes them at the anchor's tile. Injective operations join one another freely where no work is repeated,
or where what is repeated is only index arithmetic.

It always pays: a value that is not written need not be read. It is legal because a kernel stands where its last
operation stood, so every operand is defined before it, and the value inside has no reader outside.

A join of channels that fill whole blocks stays alone (of a single image, but in chunks of any batch), as does one
along the outermost axis of parts of whole cache lines: `find-views` makes nothing of it. So do reshapes, free views of
plain tensors, but for those in a shuffle of channels: concat, reshape, transpose.

Afterwards @main holds only weights, kernels, other reshapes and the return.
`fuse{mode=single}` gives each operation its own kernel: the yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    PadOp,
    ReshapeOp,
    ResizeOp,
    ShuffleOp,
    SliceOp,
    TransposeOp,
    WeightOp,
)
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.kernel import ANCHORS, KernelOp
from convc.ir.views import ALIGNMENT, nbytes
from convc.passes.options import one_of, positive
from convc.passes.rewriting import copy_kernel, erase_dead, main_block, outline, returned_values, users

MAX_OPS = 32
"""Longest chain in one kernel: beyond this registers spill and compile time grows."""
MAX_OPERANDS = 64
MAX_COMPUTED = 128
"""Operations for an element of a kernel, each counted as often as its result is read: what two read is computed for
both. A chain of `x * tanh(x)` doubles at each step; ten steps in one kernel took LLVM minutes."""

_MOVEMENT = (BroadcastOp, CastOp, ConcatOp, PadOp, ShuffleOp, SliceOp, TransposeOp)
_CHEAP = frozenset({Fn.ABS, Fn.ADD, Fn.CLIP, Fn.MAX, Fn.MIN, Fn.MUL, Fn.NEG, Fn.RELU, Fn.SUB, Fn.HARD_SIGMOID})
"""Functions of an instruction or two: repeating them costs less than a trip to memory."""


@dataclass(eq=False)
class Group:
    """Operations that become one kernel. The last one's result is the group's."""

    ops: list[Operation] = field(default_factory=list)
    anchor: Operation | None = None

    @property
    def output(self) -> SSAValue:
        """What the kernel will compute."""
        return self.ops[-1].results[0]

    def cheap(self) -> bool:
        """Whether its elements may be computed again wherever they are needed."""
        return self.anchor is None and all(
            isinstance(op, _MOVEMENT) or (isinstance(op, ElementwiseOp) and op.function in _CHEAP) for op in self.ops
        )


@dataclass(frozen=True)
class Fuse(ModulePass):
    """`mode`: `all`, or `single` for one operation a kernel. `channel_block`, `chunks`: as in `assign-layouts`."""

    name = "fuse"
    mode: str = "all"
    channel_block: int = 16
    chunks: bool = False

    def __post_init__(self) -> None:
        one_of(self.name, "mode", self.mode, ("all", "single"))
        positive(self.name, "channel_block", self.channel_block)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        block = main_block(op)
        fusion = _Fusion({inner: i for i, inner in enumerate(block.ops)}, self._becomes_view)
        for inner in block.ops:
            if not isinstance(inner, WeightOp | ConstantOp | ReshapeOp | ReturnOp | KernelOp):
                fusion.add(inner, joining=self.mode == "all" and not self._becomes_view(inner))
        for group in fusion.distinct():
            after = group.ops[-1].next_op
            assert after is not None
            outline(group.ops, [group.output], before=after)
        _copy_returned(block)
        erase_dead(block)

    def _becomes_view(self, op: Operation) -> bool:
        """Whether a join can be memory that its parts are computed in, as far as that is known before layouts are."""
        if not isinstance(op, ConcatOp):
            return False
        if op.axis.value.data == 0:  # as the states of a recurrent layer's steps are
            return all(nbytes(part) % ALIGNMENT == 0 for part in op.parts)
        if op.axis.value.data != 1 or (shape_of(op.result)[0] != 1 and not self.chunks):
            return False
        sizes = [shape_of(part)[1] for part in op.parts[:-1]]
        return len(shape_of(op.result)) > 2 and all(size % self.channel_block == 0 for size in sizes)


@dataclass
class _Fusion:
    """The groups so far. Operations stay where they are until all groups are known."""

    order: dict[Operation, int]
    becomes_view: Callable[[Operation], bool]
    groups: dict[Operation, Group] = field(default_factory=dict)

    def distinct(self) -> list[Group]:
        return list({id(group): group for group in self.groups.values()}.values())

    def add(self, op: Operation, joining: bool) -> None:
        group = Group([op], op if isinstance(op, ANCHORS) else None)
        if joining and group.anchor is None and not isinstance(op, ResizeOp):
            group = self._joined(op, group)
        for member in group.ops:
            self.groups[member] = group

    def _joined(self, op: Operation, alone: Group) -> Group:
        """The group of an operation after it has joined those of its operands that it may join."""
        producers = {id(producer): producer for operand in op.operands if (producer := self._producer(op, operand))}
        latest_first = sorted(producers.values(), key=lambda p: self.order[p.ops[-1]], reverse=True)
        # Injective producers first: with them inside, an anchor's result may have no other reader left
        # (x * sigmoid(x)). Where they keep an anchor out instead, the anchor has the right of way.
        best = alone
        for anchors_first in (False, True):
            group = alone
            for producer in sorted(latest_first, key=lambda p: (p.anchor is None) is anchors_first):
                merged = Group(
                    sorted([*producer.ops, *group.ops], key=self.order.__getitem__), group.anchor or producer.anchor
                )
                if _may_join(producer, group, merged, op):
                    group = merged
            if group.anchor is not None or best is alone:
                best = group
            if best.anchor is not None:
                break
        return best

    def _producer(self, op: Operation, operand: SSAValue) -> Group | None:
        """The group that an operand of an operation is the result of: of a transpose's also a join before a reshape, as
        channels are shuffled. (Of two transposes around one, each can be vectorised alone, but not both together.)"""
        value, between = operand, list[Operation]()
        while isinstance(value.owner, ReshapeOp) and isinstance(op, TransposeOp) and len(users(value)) == 1:
            between.insert(0, value.owner)
            value = value.owner.x
        if not isinstance(value.owner, Operation) or (group := self.groups.get(value.owner)) is None:
            return None
        if group.output is not value or self.becomes_view(value.owner):
            return None
        if not between:
            return group
        if len(users(value)) != 1:
            return None
        joins = all(isinstance(member, ConcatOp | SliceOp) for member in group.ops)
        return Group([*group.ops, *between]) if joins else None


def _may_join(producer: Group, group: Group, merged: Group, op: Operation) -> bool:
    if producer.anchor is not None and group.anchor is not None:
        return False
    if len(merged.ops) > MAX_OPS or _operand_count(merged) > MAX_OPERANDS or _computed(merged) > MAX_COMPUTED:
        return False
    inside = set(merged.ops)
    if any(user not in inside for user in users(producer.output)):
        return False
    if merged.anchor is not None:
        shape = shape_of(merged.anchor.results[0])
        after = [member for member in merged.ops if member is not merged.anchor]
        return all(
            isinstance(member, ElementwiseOp | CastOp) and shape_of(member.results[0]) == shape for member in after
        )
    # A broadcast reads an element of the producer several times: worth it only where that is cheap.
    repeats = prod(shape_of(op.results[0])) > prod(shape_of(producer.output)) and not isinstance(op, ConcatOp | PadOp)
    return not repeats or producer.cheap()


def _operand_count(group: Group) -> int:
    inside = set(group.ops)
    return len({operand for op in group.ops for operand in op.operands if operand.owner not in inside})


def _computed(group: Group) -> int:
    """How many operations an element of a group's result takes, what is read several times computed anew."""
    counts: dict[SSAValue, int] = {}
    for op in group.ops:
        inside = sum(counts.get(operand, 0) for operand in op.operands)
        counts[op.results[0]] = 0 if op is group.anchor else 1 + inside
    return counts[group.output]


def _copy_returned(block: Block) -> None:
    """What @main returns is fresh memory: inputs and weights are copied, and what is returned twice."""
    terminator = block.last_op
    assert terminator is not None
    seen: set[SSAValue] = set()
    for position, root in enumerate(returned_values(block)):
        if isinstance(root, BlockArgument) or isinstance(root.owner, WeightOp | ConstantOp) or root in seen:
            terminator.operands[position] = copy_kernel(terminator.operands[position], terminator)
        seen.add(root)
