"""Choose the layout of every kernel, all at once, and change layouts on the edges that still differ.

    kernel(x: NCHW, w: OIHW) { conv }  =>  kernel(x: NCHW8c, w: OIHW8i8o) { conv }

`passes.layouts` says what each kernel can compute in. What it costs in each, and what `convc.relayout` costs where a
value lies otherwise than a reader wants it, once for each value and layout, are a partitioned Boolean quadratic problem
(Anderson and Gregg, CGO 2018), which `passes.pbqp` solves. A weight lies as its readers want it: `prepack-weights` does
that at compile time, at no cost. What `fuse-prologues` will compute within a convolution goes through no memory.

For a CPU `target` costs are cycles (`targets.cpu.layout_costs`): a kernel costs as much as by the fastest of its
algorithms. All algorithms of a convolution read and write the same layout, so that they need not be alternatives here:
`choose-algorithms` finds the same one again. Without a target costs are bytes to and from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import inf
from typing import Protocol

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of, with_layout
from convc.ir.data import ConstantOp, RelayoutOp, WeightOp
from convc.ir.kernel import KernelOp
from convc.ir.layout import Layout
from convc.ir.views import moves_nothing, nbytes
from convc.passes.fuse_prologues import prologue
from convc.passes.layouts import adopt, alternatives
from convc.passes.options import positive
from convc.passes.outline_relayouts import can_change_layout
from convc.passes.pbqp import Problem
from convc.passes.rewriting import kernels_in, main_block


class Costs(Protocol):
    """What a choice costs, in a unit of its own."""

    def kernel(self, forms: Sequence[KernelOp]) -> Sequence[float]:
        """Of a kernel in each layout that it can compute in."""

    def relayout(self, x: SSAValue, layout: Layout | None, *, within: bool = False) -> float:
        """Of a change of a value's layout, more than nothing; `within` the kernel that computes it."""

    def trip(self, x: SSAValue) -> float:
        """Of writing a value to memory and reading it again."""


class Traffic:
    """Costs in bytes to and from memory."""

    def kernel(self, forms: Sequence[KernelOp]) -> Sequence[float]:
        """Implements `Costs`."""
        return [sum(map(nbytes, (*form.inputs, *form.outputs))) for form in forms]

    def relayout(self, x: SSAValue, layout: Layout | None, *, within: bool = False) -> float:
        """Implements `Costs`."""
        after = with_layout(x.type, layout)
        return 1 if within or moves_nothing(x, after) else nbytes(x) + nbytes(after)

    def trip(self, x: SSAValue) -> float:
        """Implements `Costs`."""
        return 2 * nbytes(x)


@dataclass(frozen=True)
class AssignLayouts(ModulePass):
    """`channel_block`: how many channels a block holds, the target's f32 lanes. `chunks`: as the threads of a GPU want
    them, of weights for all outputs side by side, and of activations for all images, in the first layer too, while the
    weights of matrix products are left as they are; otherwise blocks of inputs and of outputs, as vectors of a CPU do.
    `target`: a CPU, as `--target` takes it, whose cycles are counted; with `measured`, `database` and `threads` as in
    `select`."""

    name = "assign-layouts"
    channel_block: int = 8
    chunks: bool = False
    target: str = ""
    measured: bool = False
    database: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        positive(self.name, "channel_block", self.channel_block)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        block, costs = main_block(op), self._costs(op)
        kernels = kernels_in(block)
        forms = {each: alternatives(each, self.channel_block, chunks=self.chunks) for each in kernels}
        for kernel, form in choose(block, forms, costs, prologues=not self.chunks).items():
            adopt(kernel, form)
        connect([*kernels, *(inner for inner in block.ops if not isinstance(inner, KernelOp))])

    def _costs(self, module: ModuleOp) -> Costs:
        if not self.target:
            return Traffic()
        # The room above is imported when it is asked for, as passes are by their registry.
        from convc.targets.cpu.layout_costs import Cycles

        return Cycles.of(module, self.target, self.measured, self.database, self.threads)


def choose(
    block: Block, forms: dict[KernelOp, list[KernelOp]], costs: Costs, *, prologues: bool
) -> dict[KernelOp, KernelOp]:
    """The form of each kernel of @main with which all of them and all changes of layout cost the least, whether or not
    `prologues` will be fused."""
    network = _Network(forms, costs)
    for value in [*block.args, *(result for op in block.ops for result in op.results)]:
        if not isinstance(value.owner, WeightOp | ConstantOp):
            network.add_value(value)
    for kernel in forms if prologues else ():
        network.add_prologue(kernel)
    return network.solved()


class _Network:
    """The problem of a network: a node for each kernel, and one for each value that could lie in several layouts."""

    def __init__(self, forms: dict[KernelOp, list[KernelOp]], costs: Costs) -> None:
        self.forms, self.costs, self.problem = forms, costs, Problem()
        self.numbers: dict[Operation, int] = {
            kernel: self.problem.node(costs.kernel(each)) for kernel, each in forms.items()
        }

    def add_value(self, value: SSAValue) -> None:
        """What the relayouts of a value cost. Its node says in which layout it is made, and in which it is there to be
        read: that one and what is made of it, or another alone, where the kernel itself makes that of it
        (`outline-relayouts`)."""
        places: dict[Operation, list[int]] = {}
        for use in value.uses:
            places.setdefault(use.operation, []).append(use.index)
        wanted = {reader: self._wanted(reader, each) for reader, each in places.items()}
        made, producer = self._made(value), value.owner if isinstance(value.owner, KernelOp) else None
        sources = {layout_of(source): source for source in made}
        every = list(dict.fromkeys([*sources, *chain.from_iterable(chain.from_iterable(wanted.values()))]))
        if len(every) < 2:
            return
        states: list[tuple[Layout | None, set[Layout | None]]] = []
        prices: list[float] = []
        for layout, source in sources.items():
            others = [other for other in every if other != layout]
            for some in chain.from_iterable(combinations(others, count) for count in range(len(every))):
                states.append((layout, {layout, *some}))
                prices.append(sum(self.costs.relayout(source, other) for other in some))
            if producer is not None and can_change_layout(producer):
                states += [(layout, {other}) for other in others]
                prices += [self.costs.relayout(source, other, within=True) for other in others]
        node = self.problem.node(prices)
        if producer is not None:
            fits = [[_only(layout_of(source) == layout) for layout, _ in states] for source in made]
            self.problem.edge(self.numbers[producer], node, fits)
        for reader, each in wanted.items():
            number = self.numbers[reader] if reader in self.numbers else self.problem.node([0])
            self.problem.edge(number, node, [[_only(some <= held) for _, held in states] for some in each])

    def add_prologue(self, kernel: KernelOp) -> None:
        """What is saved where an elementwise kernel and the convolution that reads it are one, in blocked layout."""
        if (producer := prologue(kernel)) is None:
            return
        (value,) = producer.outputs
        place = kernel.operands.index(value)
        reads = [layout_of(form.block.args[place]) for form in self.forms[kernel]]
        saved = [
            [-self.costs.trip(made) if layout_of(made) == layout is not None else 0 for layout in reads]
            for made in self._made(value)
        ]
        self.problem.edge(self.numbers[producer], self.numbers[kernel], saved)

    def solved(self) -> dict[KernelOp, KernelOp]:
        """The best form of each kernel."""
        choices = self.problem.solve().choices
        return {kernel: each[choices[self.numbers[kernel]]] for kernel, each in self.forms.items()}

    def _made(self, value: SSAValue) -> list[SSAValue]:
        """A value in each form of the kernel that computes it."""
        if not isinstance(owner := value.owner, KernelOp):
            return [value]
        place = owner.outputs.index(value)
        return [form.outputs[place] for form in self.forms[owner]]

    def _wanted(self, reader: Operation, places: Sequence[int]) -> list[set[Layout | None]]:
        """The layouts in which an operation reads some of its operands, in each of its forms."""
        if isinstance(reader, KernelOp):
            return [{layout_of(form.block.args[i]) for i in places} for form in self.forms[reader]]
        return [set()] if isinstance(reader, RelayoutOp) else [{None}]


def _only(allowed: bool) -> float:
    return 0 if allowed else inf


def connect(ops: Iterable[Operation]) -> None:
    """Put a relayout on each operand whose value lies otherwise than its reader wants it."""
    made: dict[tuple[SSAValue, str], SSAValue] = {}
    for op in ops:
        if isinstance(op, RelayoutOp):  # reads any layout
            continue
        for position, value in enumerate(op.operands):
            wanted = layout_of(op.block.args[position]) if isinstance(op, KernelOp) else None
            if layout_of(value) == wanted:
                continue
            key = (value, str(wanted))
            if key not in made:
                relayout = RelayoutOp(value, wanted)
                owner = value.owner
                if isinstance(owner, Operation):
                    assert owner.parent is not None
                    owner.parent.insert_op_after(relayout, owner)
                else:
                    assert owner.first_op is not None  # @main ends with its return
                    owner.insert_op_before(relayout, owner.first_op)
                made[key] = relayout.result
            op.operands[position] = made[key]
