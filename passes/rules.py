"""The driver of rewrites: rules by class of operation, applied until none fires.

A rule looks at one operation and returns the value that its result becomes, or None where it does not apply. What it
emits stands before the operation. Dead operations are removed on the way, so a rule may ask how many readers a value
has. Operations with layouts are left alone: rules speak of the graph as it was imported.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, layout_of, shape_of, tensor
from convc.ir.data import ConstantOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.passes.options import positive
from convc.passes.rewriting import main_block, users

Rule: TypeAlias = Callable[[Any, "Rewriter"], SSAValue | None]
Function = TypeVar("Function", bound=Rule)
_FEW = 8  # readers, or operands; rules wait for a value to have one reader, or two


class RuleSet:
    """Rules in the order in which they are tried, by the class of operation that they apply to."""

    def __init__(self, *parts: RuleSet) -> None:
        self.rules: dict[type[Operation], list[Rule]] = defaultdict(list)
        for part in parts:
            for class_, rules in part.rules.items():
                self.rules[class_] += rules

    def on(self, *classes: type[Operation]) -> Callable[[Function], Function]:
        """Add the decorated rule."""

        def add(rule: Function) -> Function:
            for class_ in classes:
                self.rules[class_].append(rule)
            return rule

        return add


class Rewriter:
    """What a rule works with: known arrays, and a place to put new operations."""

    def __init__(self, context: CompilerContext) -> None:
        self.context = context
        self.fresh: list[Operation] = []
        self.at: Operation
        self.agreed: set[SSAValue] = set()
        """Values whose readers have all been asked, and agree: a rule that goes by all of them asks once, not again for
        each reader that it rewrites."""

    def emit(self, op: Operation) -> SSAValue:
        """Put an operation before the one that is being rewritten; its result."""
        assert self.at.parent is not None
        self.at.parent.insert_op_before(op, self.at)
        self.fresh.append(op)
        return op.results[0]

    def elementwise(self, fn: Fn, *inputs: SSAValue, **params: float) -> SSAValue:
        return self.emit(ElementwiseOp(fn, *inputs, result=None, **params))

    def known(self, value: SSAValue) -> np.ndarray | None:
        """The array of a weight or a constant, or None for what is computed at run time."""
        op = value.owner
        if isinstance(op, ConstantOp):
            return np.broadcast_to(np.asarray(op.value.value.data, to_numpy(element_type(value))), shape_of(value))
        if isinstance(op, WeightOp) and layout_of(value) is None:
            return self.context.weights.get(op.key)  # None: the text was read without its weights
        return None

    def constant(self, array: np.ndarray, hint: str = "folded") -> SSAValue:
        """A value that holds an array: a constant if all its elements are equal, a weight otherwise."""
        array = np.asarray(array)  # numpy's functions turn arrays of no axes into scalars
        type_ = tensor(from_numpy(array.dtype), array.shape)
        uniform = splat(array)
        if uniform is not None:
            return self.emit(ConstantOp(uniform, type_))
        return self.emit(WeightOp(self.context.weights.add(array, hint), type_))

    def weight(self, array: np.ndarray, like: SSAValue, suffix: str = "") -> SSAValue:
        """A weight that takes the place of another value, and nearly its name."""
        hint = like.owner.key if isinstance(like.owner, WeightOp) else like.name_hint or "folded"
        type_ = tensor(from_numpy(array.dtype), array.shape)
        return self.emit(WeightOp(self.context.weights.add(array, hint + suffix), type_))


def splat(array: np.ndarray) -> float | None:
    """The one number in an array whose elements are all equal, if a double holds it; None otherwise."""
    if array.size == 0 or array.item(0) != array.item(-1):
        return None
    number = array.item(0)
    if array.dtype.kind in "iu" and abs(number) > 1 << 53:
        return None
    if not (array == number).all() or (number == 0 and array.dtype.kind == "f" and np.signbit(array).any()):
        return None  # minus zero equals zero but is another number
    return float(number)


def rewrite(block: Block, context: CompilerContext, *sets: RuleSet) -> bool:
    """Apply rules until none fires; whether any did. Dead operations are removed."""
    with np.errstate(all="ignore"):  # rules look for what is not finite where it matters
        return _rewrite(block, context, RuleSet(*sets).rules)


@dataclass(frozen=True)
class BlockRules(ModulePass):
    """A pass of rules that depend on `channel_block`: how many channels a block holds, the target's f32 lanes."""

    channel_block: int = 8

    def __post_init__(self) -> None:
        positive(self.name, "channel_block", self.channel_block)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        rewrite(main_block(op), ctx, self.rules(self.channel_block))

    @staticmethod
    @abstractmethod
    def rules(block: int) -> RuleSet:
        """The rules for such blocks."""


def _rewrite(block: Block, context: CompilerContext, rules: Mapping[type[Operation], Sequence[Rule]]) -> bool:
    agenda = _Agenda(block.ops)
    rewriter = Rewriter(context)
    changed = False
    left = 1000 + 100 * len(agenda.queue)  # far more than any graph needs

    def erase(op: Operation) -> None:
        operands = dict.fromkeys(op.operands)  # in order, so that every run goes the same way
        block.erase_op(op)
        for operand in operands:  # they have a reader less, which a rule may have waited for
            agenda.add([operand.owner] if isinstance(operand.owner, Operation) else ())
            agenda.add_readers(operand)

    while left and (op := agenda.take()) is not None:
        if op.parent is None:
            continue
        if op.results and not any(result.uses for result in op.results):
            erase(op)
            changed = True
            continue
        if type(op) not in rules or _laid_out(op):
            continue
        rewriter.at = op
        for rule in rules[type(op)]:
            value = rule(op, rewriter)
            if value is None:
                assert not rewriter.fresh, f"{rule.__name__} emitted operations and then gave up"
                continue
            left -= 1
            if left == 0:  # what is there is right, if not in its last form
                warnings.warn(f"rewriting does not end: {rule.__name__} fired last", RuntimeWarning, stacklevel=2)
            result = op.results[0]
            assert value.type == result.type, f"{rule.__name__}: {value.type} for {result.type}"
            if value.owner in rewriter.fresh:
                value.name_hint = result.name_hint
            readers = users(result)
            result.replace_all_uses_with(value)
            agenda.add(rewriter.fresh)
            agenda.add(readers)
            agenda.add_readers(value)
            rewriter.fresh.clear()
            erase(op)
            changed = True
            break
    return changed


class _Agenda:
    """The operations that rules have yet to look at, each once, first come first served.

    Where a value gains or loses a reader, the others are looked at again, and what reads a value that has become
    another. What comes in crowds waits until all else is done, and is then looked at once: the readers of a shared
    constant, which has n of them to lose one by one, and a join of n values, which are rewritten one by one.
    """

    def __init__(self, ops: Iterable[Operation]) -> None:
        self.queue = deque(ops)
        self._queued = set(self.queue)
        self._wide: dict[Operation, None] = {}
        self._shared: dict[SSAValue, None] = {}

    def add(self, ops: Iterable[Operation]) -> None:
        for op in ops:
            if len(op.operands) > _FEW:
                self._wide[op] = None
            else:
                self._add(op)

    def _add(self, op: Operation) -> None:
        if op not in self._queued:
            self._queued.add(op)
            self.queue.append(op)

    def add_readers(self, value: SSAValue) -> None:
        """Add what reads a value."""
        few = [use.operation for use in islice(value.uses, _FEW + 1)]
        if len(few) <= _FEW:
            self.add(few)
        else:
            self._shared[value] = None

    def take(self) -> Operation | None:
        """The next one; None if there is none left."""
        if not self.queue:
            wide, shared = self._wide, self._shared
            self._wide, self._shared = {}, {}
            for op in (*wide, *(reader for value in shared for reader in users(value))):
                self._add(op)
        if not self.queue:
            return None
        op = self.queue.popleft()
        self._queued.discard(op)
        return op


def _laid_out(op: Operation) -> bool:
    """Whether any value of an operation has a layout."""
    return any(
        isinstance(value.type, TensorType) and layout_of(value) is not None for value in (*op.operands, *op.results)
    )
